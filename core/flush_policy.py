"""When to call CoinGecko, and for which coins: the flush policy. Pure, on any clock.

    plan(batches, budget, now) -> the calls to make now, and when to look again

The server, the simulation and the benchmarks all ask it. A call is made when a batch is ripe: full, due, abandoned by
its flusher, or drained. Whatever else is open rides along, since CoinGecko bills a call the same for one coin or for
hundreds. To flush all that is pending at the earliest deadline makes exactly as few calls as an optimum that knows
the future: the requests' windows are intervals, the calls are points, and every interval must hold one.
"""

from collections.abc import Iterable

import msgspec

from core.batches import Trigger

_NEVER = float("inf")

# CoinGecko takes 515 ids; long before that the address of the call may be too long for it.
MOST_ID_CHARACTERS = 5000


class View(msgspec.Struct):
    """What is known of a batch; times in seconds."""

    batch_id: str
    coin_id: str
    due_at: float
    size: int = 0  # requests over all instances, as far as is known
    waited_for: bool = True  # here; what others wait for only rides along, they act for it themselves
    flushing: bool = False  # by this instance
    claimed: bool = False  # by another instance
    held_until: float = -_NEVER  # the end of another's lease on this batch or on the coin's one before it
    draining: bool = False


class Budget(msgspec.Struct, frozen=True):
    """What may be asked of the upstream; times in seconds."""

    threshold: int
    ride_along: bool
    max_ids: int  # of one call
    next_call_at: float = -_NEVER
    interval_s: float = 0  # between permits; 0: any number of calls at once


Call = list[tuple[View, Trigger]]


class Plan(msgspec.Struct, frozen=True):
    """What to do now, and when to look again if nothing happens before."""

    calls: list[Call]
    look_again_at: float


def next_step(view: View, now: float, threshold: int) -> Trigger | float:
    """Why a batch is ripe, or when to look at it again if nothing happens before."""
    if view.flushing or not view.waited_for:
        return _NEVER
    if now < view.held_until:
        return view.held_until
    if view.claimed:
        return "takeover"
    if view.size >= threshold:
        return "threshold"
    if now >= view.due_at:
        return "window"
    return "drain" if view.draining else view.due_at


def plan(batches: Iterable[View], budget: Budget, now: float) -> Plan:
    """Which calls to make now, the earliest deadlines first, and when to look again."""
    ripe: Call = []
    riders: Call = []
    look_again_at = _NEVER
    for view in sorted(batches, key=lambda view: view.due_at):
        step = next_step(view, now, budget.threshold)
        if isinstance(step, str):
            ripe.append((view, step))
            continue
        look_again_at = min(look_again_at, step)
        if _may_ride(view, now):
            riders.append((view, "ride-along"))
    if not ripe:
        return Plan([], look_again_at)
    if now < budget.next_call_at:
        return Plan([], budget.next_call_at)
    calls = _calls(ripe, riders, budget)
    if budget.interval_s and len(calls) > 1:
        return Plan(calls[:1], now + budget.interval_s)
    return Plan(calls, look_again_at)


def _may_ride(view: View, now: float) -> bool:
    return not view.flushing and not view.claimed and now >= view.held_until


def _calls(ripe: Call, riders: Call, budget: Budget) -> list[Call]:
    if not budget.ride_along:
        return [[each] for each in ripe]
    calls: list[Call] = [[]]
    room = _Room(budget.max_ids)
    for each in ripe:
        if not room.take(each[0].coin_id):
            calls.append([])
            room = _Room(budget.max_ids)
            room.take(each[0].coin_id)
        calls[-1].append(each)
    calls[-1] += [each for each in riders if room.take(each[0].coin_id)]
    return calls


class _Room:
    """What a call still has room for."""

    def __init__(self, max_ids: int) -> None:
        self._ids = max_ids
        self._characters = MOST_ID_CHARACTERS
        self._coin_ids: set[str] = set()

    def take(self, coin_id: str) -> bool:
        """Take a coin in, or say that there is no room; a coin that is in already needs none."""
        if coin_id in self._coin_ids:
            return True
        length = len(coin_id) + 1  # and its comma
        if not self._ids or length > self._characters:
            return False
        self._coin_ids.add(coin_id)
        self._ids -= 1
        self._characters -= length
        return True
