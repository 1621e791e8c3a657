"""What the monitor knows, and how each thing it hears changes that. Pure: no screen, no Redis, no clock.

state = apply(state, heard, now_s)        # now_s: any clock that never goes back
"""

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from core.batches import Trigger
from core.events import Event, Flushed, Limited, Snapshot, Stopped

_Value = TypeVar("_Value")

KEPT_FLUSHES = 100
KEPT_INSTANCES = 100
KEPT_REFUSALS = 100


class Connected(msgspec.Struct, frozen=True):
    """Redis hears the monitor, and the monitor hears Redis."""


class Lost(msgspec.Struct, frozen=True):
    """Redis cannot be heard; the source tries again by itself."""

    reason: str


class Unreadable(msgspec.Struct, frozen=True):
    """Something was said that is no event this monitor knows."""


Heard = Event | Connected | Lost | Unreadable


class Instance(msgspec.Struct, frozen=True):
    """One instance, as last heard."""

    name: str
    heard_s: float
    snapshot: Snapshot | None = None
    stopped: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """A caller that was over its limit, until it may send again."""

    limited: Limited
    until_s: float


class State(msgspec.Struct, frozen=True):
    """Everything the monitor knows. The mappings are replaced, never changed."""

    link: Literal["connecting", "connected", "lost"] = "connecting"
    lost_reason: str = ""
    lost_at_s: float = 0.0
    instances: Mapping[str, Instance] = {}  # {name: Instance}, the one heard last at the end
    flushes: tuple[Flushed, ...] = ()  # newest first
    flushes_heard: int = 0
    triggers: Mapping[Trigger, int] = {}  # flushes heard, by trigger
    refusals: Mapping[str, Refusal] = {}  # {caller: Refusal}, the latest at the end
    unreadable: int = 0


def apply(state: State, heard: Heard, now_s: float) -> State:
    """The state after one thing was heard."""
    match heard:
        case Connected():
            return _connected(state, now_s)
        case Lost():
            return _lost(state, heard, now_s)
        case Unreadable():
            return replace(state, unreadable=state.unreadable + 1)
        case _:
            return _told(_spoken(state, heard, now_s), heard, now_s)


def _connected(state: State, now_s: float) -> State:
    """Nobody could be heard while Redis was lost: that time counts as nobody's silence."""
    if state.link != "lost":
        return replace(state, link="connected")
    away_s = now_s - state.lost_at_s
    instances = {
        name: replace(instance, heard_s=instance.heard_s + away_s) for name, instance in state.instances.items()
    }
    return replace(state, link="connected", instances=instances)


def _lost(state: State, lost: Lost, now_s: float) -> State:
    lost_at_s = state.lost_at_s if state.link == "lost" else now_s
    return replace(state, link="lost", lost_reason=lost.reason, lost_at_s=lost_at_s)


def _spoken(state: State, event: Event, now_s: float) -> State:
    known = state.instances.get(event.instance) or Instance(event.instance, now_s)
    snapshot = event if isinstance(event, Snapshot) else known.snapshot
    instance = Instance(known.name, now_s, snapshot=snapshot, stopped=isinstance(event, Stopped))
    return replace(state, instances=_latest(state.instances, instance.name, instance, KEPT_INSTANCES))


def _told(state: State, event: Event, now_s: float) -> State:
    match event:
        case Flushed():
            return _flushed(state, event)
        case Limited():
            return _limited(state, event, now_s)
        case _:
            return state  # its instance was heard, that is all


def _flushed(state: State, flushed: Flushed) -> State:
    return replace(
        state,
        flushes=(flushed, *state.flushes[: KEPT_FLUSHES - 1]),
        flushes_heard=state.flushes_heard + 1,
        triggers={**state.triggers, flushed.trigger: state.triggers.get(flushed.trigger, 0) + 1},
    )


def _limited(state: State, limited: Limited, now_s: float) -> State:
    refusal = Refusal(limited, now_s + limited.reset_s)
    return replace(state, refusals=_latest(state.refusals, limited.caller, refusal, KEPT_REFUSALS))


def _latest(known: Mapping[str, _Value], name: str, value: _Value, kept: int) -> Mapping[str, _Value]:
    """The same mapping with one value put at its end, the oldest forgotten beyond `kept`."""
    others = [item for item in known.items() if item[0] != name]
    return dict([*others[-(kept - 1) :], (name, value)])
