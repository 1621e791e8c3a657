"""When to call CoinGecko, and for which coins: the flush policy. Pure, on any clock.

    plan(batches, budget, now) -> the calls to make now, and when to look again
    ride_along(call, others)   -> what else goes with a call

The server, the simulation and the benchmarks all ask it. Two things the server leaves to scripts: what rides along,
since others may have opened it (claiming.lua, and a test holds that to `ride_along`), and a batch that one admission
fills exactly (admit.lua).

A call is made when a batch is ripe: full, due, abandoned by its flusher, or drained. Whatever else is open rides along,
since CoinGecko bills a call the same for one coin or for hundreds. To flush all that is pending at the earliest
deadline makes exactly as few calls as an optimum that knows the future: the requests' windows are intervals, the calls
are points, and every interval must hold one.
"""

from collections.abc import Iterable, Sequence

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


class Call(msgspec.Struct):
    """One upstream call: the batches that it is for, and what else there is room for."""

    coins_left: int  # how many more coins may go along
    characters_left: int = MOST_ID_CHARACTERS  # how long their ids may be in all, each with a comma
    batches: list[tuple[View, Trigger]] = []
    coin_ids: set[str] = set()

    def take(self, view: View, trigger: Trigger) -> bool:
        """Take a batch in, or say that there is no room; of a coin that is in already it needs none."""
        if view.coin_id not in self.coin_ids:
            length = len(view.coin_id) + 1
            if not self.coins_left or length > self.characters_left:
                return False
            self.coin_ids.add(view.coin_id)
            self.coins_left -= 1
            self.characters_left -= length
        self.batches.append((view, trigger))
        return True


class Plan(msgspec.Struct, frozen=True):
    """What to do now, and when to look again if nothing happens before."""

    calls: list[Call]
    look_again_at: float


def next_step(view: View, now: float, threshold: int) -> Trigger | float:
    """Why a batch is ripe, or when to look at it again if nothing happens before."""
    if view.flushing:
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
    """Which calls to make now for what is ripe, the earliest deadlines first, and when to look again."""
    ripe: list[tuple[View, Trigger]] = []
    look_again_at = _NEVER
    for view in sorted(batches, key=_due_at):
        step = next_step(view, now, budget.threshold)
        if isinstance(step, str):
            ripe.append((view, step))
        else:
            look_again_at = min(look_again_at, step)
    if not ripe:
        return Plan([], look_again_at)
    if now < budget.next_call_at:
        return Plan([], budget.next_call_at)
    calls = _calls(ripe, budget)
    for call in calls[:-1]:
        call.coins_left = 0  # or what is ripe for the next call would ride along with this one
    if budget.interval_s and len(calls) > 1:
        return Plan(calls[:1], now + budget.interval_s)
    return Plan(calls, look_again_at)


def ride_along(call: Call, others: Iterable[View]) -> None:
    """Let batches that are not ripe ride along, the earliest due first, as far as there is room."""
    if call.coins_left:
        for view in sorted(others, key=_due_at):
            call.take(view, "ride-along")


def _calls(ripe: Sequence[tuple[View, Trigger]], budget: Budget) -> list[Call]:
    if not budget.ride_along:
        return [Call(coins_left=0, batches=[each]) for each in ripe]
    calls = [Call(budget.max_ids)]
    for view, trigger in ripe:
        if not calls[-1].take(view, trigger):
            calls.append(Call(budget.max_ids))
            calls[-1].take(view, trigger)
    return calls


def _due_at(view: View) -> float:
    return view.due_at
