"""What happened, told to people: a kind to filter by, a sentence that stands by itself, whether it is an alarm. Pure.

Claims and what Postgres keeps are no sentences, but for takeovers: each flush tells of both, and would be drowned.
"""

from collections.abc import Sequence
from typing import NamedTuple

from core.events import Claimed, Event, Flushed, Limited, NextCall, Started
from monitor.instances import GONE_AFTER_S
from monitor.rows import Condition

_LONGEST = 500  # characters: whatever names come, a thousand sentences stay small
_NAMED_COINS = 3


class Sentence(NamedTuple):
    """One thing that happened."""

    kind: str
    text: str
    alarm: bool = False


def sentence(kind: str, text: str, *, alarm: bool = False) -> Sentence:
    """A sentence that is not too long."""
    return Sentence(kind, text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…", alarm)


def on_event(instance: str, event: Event) -> Sentence | None:
    """What an instance tells of; None for what is told otherwise or not worth a line."""
    match event:
        case Started():
            return sentence("instance", f"{instance} started")
        case Flushed():
            return on_flush(event)
        case Limited():
            times = f", {event.times} times" if event.times > 1 else ""
            return sentence("limit", f"{event.caller} is over its limit of {event.limit}{times}")
        case NextCall():
            return sentence("budget", f"next upstream call moved: in {event.in_ms / 1000:.1f} s")
        case _:
            return None


def on_flush(flush: Flushed) -> Sentence:
    """How a flush ended."""
    coins = len({batch.coin_id for batch in flush.batches})
    text = (
        f"flush {flush.trigger} {_count(coins, 'coin')} {_count(flush.requests, 'waiter')} {flush.upstream_ms:.0f} ms"
    )
    if flush.outcome != "answered":
        text += f" {flush.outcome}"
    if flush.reason:
        text += f": {flush.reason}"
    return sentence("flush", text, alarm=flush.outcome != "answered")


def on_takeover(instance: str, claim: Claimed, previous: str, *, is_quiet: bool) -> Sentence:
    """Who took over what, and from whom where that is known."""
    text = f"{instance} took over {_named(claim.coins, claim.batches)}"
    if previous:
        text = f"{previous} silent; {text}" if is_quiet else f"{text} from {previous}"
    return sentence("lease", text, alarm=True)


def on_turn(instance: str, before: Condition, now: Condition) -> Sentence:
    """What an instance turned to be."""
    match now:
        case "silent":
            return sentence("instance", f"{instance} silent", alarm=True)
        case "gone":
            return sentence("instance", f"{instance} gone: no word for {GONE_AFTER_S:.0f} s", alarm=True)
        case "draining" if before == "up":
            return sentence("instance", f"{instance} drains")
        case "stopped":
            return sentence("instance", f"{instance} stopped")
        case _:
            return sentence("instance", f"{instance} is heard again")


def _named(coins: Sequence[str], batches: int) -> str:
    named = ", ".join(coins[:_NAMED_COINS]) or _count(batches, "batch", "batches")
    more = max(batches, len(coins)) - len(coins[:_NAMED_COINS])
    return f"{named} and {more} more" if coins and more > 0 else named


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
