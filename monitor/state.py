"""What the monitor knows, and how each thing it hears changes that. Pure: no screen, no Redis, no clock.

state = apply(state, heard, now_s)        # now_s: any clock that never goes back
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from core.events import Claimed, Event, Flushed, Kept, Limited, Message, Started
from monitor import sentences
from monitor.flushes import Flush, flushes_of
from monitor.instances import (
    FORGOTTEN_AFTER_S,
    Instance,
    after,
    condition,
    is_old,
    is_restart,
    lost_before,
    shifted,
)
from monitor.rows import EventRow
from monitor.sentences import Sentence, sentence

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

KEPT_FLUSHES = 500
KEPT_EVENTS = 1000
KEPT_INSTANCES = 100
KEPT_REFUSALS = 100
# Leases last 1.5 s, so a takeover comes before its victim is called silent; by then it missed four messages.
_QUIET_S = 1.0


class Connected(msgspec.Struct, frozen=True):
    """Redis hears the monitor, and the monitor hears Redis."""


class Lost(msgspec.Struct, frozen=True):
    """Redis cannot be heard; the source tries again by itself."""

    reason: str


class Unreadable(msgspec.Struct, frozen=True):
    """Something was said that is no event this monitor knows."""


Heard = Message | Connected | Lost | Unreadable


class Refusal(msgspec.Struct, frozen=True):
    """A caller that was over its limit, until it may send again."""

    caller: str
    limit: int
    until_s: float
    times: int  # since this monitor watches


class State(msgspec.Struct, frozen=True):
    """Everything the monitor knows. The mappings are replaced, never changed."""

    link: Literal["connecting", "connected", "lost"] = "connecting"
    lost_reason: str = ""
    lost_at_s: float = 0.0
    offset_ms: float = 0.0  # from the monitor's clock to unix time, for as long as no instance tells its own
    instances: Mapping[str, Instance] = {}  # {name: Instance}, the one heard last at the end
    flushes: tuple[Flush, ...] = ()  # newest first
    flushes_heard: int = 0
    kept: Mapping[int, float] = {}  # {flush id: when Postgres had its prices}, the latest at the end
    events: tuple[EventRow, ...] = ()  # newest first
    events_heard: int = 0
    refusals: Mapping[str, Refusal] = {}  # {caller: Refusal}, the latest at the end
    gaps: int = 0  # messages that were lost
    unreadable: int = 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether to ask for whole snapshots: an instance that is there was not told of with its coins since a gap."""
        return any(
            instance.lacks_coins and instance.condition in {"up", "draining"} for instance in self.instances.values()
        )


def apply(state: State, heard: Heard, now_s: float) -> State:
    """The state after one thing was heard."""
    match heard:
        case Connected():
            state = _connected(state, now_s)
        case Lost():
            state = _lost(state, heard, now_s)
        case Unreadable():
            state = replace(state, unreadable=state.unreadable + 1)
        case _:
            state = _told(state, heard, now_s)
    return tick(state, now_s)


def tick(state: State, now_s: float) -> State:
    """The state after time went by: who fell silent, who is to be forgotten. `apply` does it each time."""
    if state.link == "lost":
        return state
    turned: dict[str, Instance] = {}
    rows: list[EventRow] = []
    for name, instance in state.instances.items():
        now = condition(instance, now_s)
        if now != instance.condition:
            turned[name] = replace(instance, condition=now)
            rows.append(_row(sentences.on_turn(name, instance.condition, now), wall_ms(state, now_s), name))
    if turned:
        state = _noted(state, rows, {**state.instances, **turned})
    return _without_forgotten(state, now_s)


def wall_ms(state: State, now_s: float) -> int:
    """Unix time as the instances have it: the median of their clocks, so that a wrong one does no harm."""
    offsets = [instance.offset_ms for instance in state.instances.values()]
    return round(now_s * 1000 + (median(offsets) if offsets else state.offset_ms))


def shown_s(state: State, now_s: float) -> float:
    """The moment to show: while Redis is lost, that of the loss."""
    return state.lost_at_s if state.link == "lost" else now_s


def _connected(state: State, now_s: float) -> State:
    """Nobody could be heard while Redis was lost: that time counts as nobody's silence."""
    if state.link != "lost":
        return state if state.link == "connected" else replace(state, link="connected")
    away_s = max(0.0, now_s - state.lost_at_s)
    instances = {name: shifted(instance, away_s, now_s) for name, instance in state.instances.items()}
    back = sentence("redis", f"Redis is heard again after {away_s:.0f} s")
    state = replace(state, link="connected")
    return _noted(state, [_row(back, wall_ms(state, now_s))], instances)


def _lost(state: State, lost: Lost, now_s: float) -> State:
    if state.link == "lost":
        return replace(state, lost_reason=lost.reason)
    gone = sentence("redis", f"Redis lost: {lost.reason}", alarm=True)
    state = _noted(state, [_row(gone, wall_ms(state, now_s))], state.instances)
    return replace(state, link="lost", lost_reason=lost.reason, lost_at_s=now_s)


def _told(state: State, message: Message, now_s: float) -> State:
    known = state.instances.get(message.instance)
    if known is not None and is_old(known, message):
        return state
    rows = _event_rows(state, known, message)
    instance = after(known, message, now_s)
    if known is None or is_restart(known, message):
        instance = replace(instance, condition=instance.said)
    instances = _latest(state.instances, [(message.instance, instance)], KEPT_INSTANCES)
    lost = lost_before(known, message) if known is not None else 0
    return _remembered(_noted(replace(state, gaps=state.gaps + lost), rows, instances), message, now_s)


def _event_rows(state: State, known: Instance | None, message: Message) -> list[EventRow]:
    said = [(event.at_ms, _sentence(state, message, event)) for event in message.events]
    unsaid = [(message.at_ms, told) for told in _unsaid(known, message)]
    return [_row(told, at_ms, message.instance) for at_ms, told in [*said, *unsaid] if told is not None]


def _sentence(state: State, message: Message, event: Event) -> Sentence | None:
    if isinstance(event, Claimed) and event.trigger == "takeover":
        victim = _flusher_before(state, message.instance, event)
        is_quiet = victim is not None and _is_quieter(state, victim)
        return sentences.on_takeover(message.instance, event, victim.name if victim else "", is_quiet=is_quiet)
    return sentences.on_event(message.instance, event)


def _flusher_before(state: State, taker: str, claim: Claimed) -> Instance | None:
    """Of the other instances that were last known to flush one of these coins, the one not heard for longest."""
    coins = frozenset(claim.coins)
    others = [one for one in state.instances.values() if one.name != taker and _flushes(one, coins)]
    return min(others, key=lambda one: one.heard_s, default=None)


def _flushes(instance: Instance, coins: frozenset[str]) -> bool:
    if any(not coins.isdisjoint(claim.coins) for claim in instance.claims):
        return True
    views = instance.snapshot.batches if instance.snapshot else []
    return any(view.flushing and view.coin_id in coins for view in views)


def _is_quieter(state: State, victim: Instance) -> bool:
    """Whether it said goodbye, or missed several turns to speak while another spoke."""
    last_word_s = max(instance.heard_s for instance in state.instances.values())
    return victim.said == "stopped" or last_word_s - victim.heard_s > _QUIET_S


def _unsaid(known: Instance | None, message: Message) -> list[Sentence]:
    """What a message tells beside its events."""
    told = []
    if message.missed > 0:
        told.append(sentence("gap", f"{message.instance} had {message.missed:,} events more than it could tell"))
    restarted = known is not None and is_restart(known, message)
    if restarted and not any(isinstance(event, Started) for event in message.events):
        told.append(sentence("instance", f"{message.instance} started again"))
    return told


def _remembered(state: State, message: Message, now_s: float) -> State:
    """The state with the flushes, what Postgres keeps, and the refusals that a message tells of."""
    flushes = [event for event in message.events if isinstance(event, Flushed)]
    kept = [event for event in message.events if isinstance(event, Kept)]
    limited = [event for event in message.events if isinstance(event, Limited)]
    if not (flushes or kept or limited):
        return state
    ago_s = now_s - message.at_ms / 1000
    return replace(
        state,
        flushes=_newest(state.flushes, flushes_of(message.instance, flushes, state.flushes_heard, ago_s), KEPT_FLUSHES),
        flushes_heard=state.flushes_heard + len(flushes),
        kept=_kept(state.kept, kept, ago_s),
        refusals=_refusals(state.refusals, limited, ago_s),
    )


def _kept(known: Mapping[int, float], told: Sequence[Kept], ago_s: float) -> Mapping[int, float]:
    """Of a flush that is kept in parts, the latest counts. The word may come before that of the flush's end."""
    times = {flush_id: kept.at_ms / 1000 + ago_s for kept in told for flush_id in kept.flush_ids}
    return _latest(known, [(key, max(known.get(key, at_s), at_s)) for key, at_s in times.items()], KEPT_FLUSHES)


def _refusals(known: Mapping[str, Refusal], told: Sequence[Limited], ago_s: float) -> Mapping[str, Refusal]:
    refused: dict[str, Refusal] = {}
    for one in told:
        before = refused.get(one.caller) or known.get(one.caller)
        times = one.times + (before.times if before else 0)
        refused[one.caller] = Refusal(one.caller, one.limit, one.at_ms / 1000 + ago_s + one.reset_s, times)
    return _latest(known, refused.items(), KEPT_REFUSALS)


def _row(told: Sentence, at_ms: int, instance: str = "") -> EventRow:
    return EventRow("", at_ms, instance, *told)


def _noted(state: State, rows: Sequence[EventRow], instances: Mapping[str, Instance]) -> State:
    """The state with these events, the oldest first, and these instances."""
    if not rows:
        return replace(state, instances=instances)
    numbered = [replace(row, key=str(number)) for number, row in enumerate(rows, state.events_heard + 1)]
    return replace(
        state,
        instances=instances,
        events=_newest(state.events, numbered, KEPT_EVENTS),
        events_heard=state.events_heard + len(rows),
    )


def _without_forgotten(state: State, now_s: float) -> State:
    kept = {name: one for name, one in state.instances.items() if now_s - one.heard_s <= FORGOTTEN_AFTER_S}
    return state if len(kept) == len(state.instances) else replace(state, instances=kept)


def _newest(known: tuple[_Value, ...], told: Sequence[_Value], kept: int) -> tuple[_Value, ...]:
    """Newest first; `told` comes with the oldest first."""
    return (*reversed(told), *known)[:kept]


def _latest(known: Mapping[_Key, _Value], told: Iterable[tuple[_Key, _Value]], kept: int) -> Mapping[_Key, _Value]:
    """The same mapping with values put at its end, the oldest forgotten beyond `kept`."""
    merged = dict(known)
    for key, value in told:
        merged.pop(key, None)
        merged[key] = value
    for key in list(merged)[: max(0, len(merged) - kept)]:
        del merged[key]
    return merged
