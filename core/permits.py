"""The budget's permits: the right to one upstream call, over all instances, and what a call says of the next one."""

from math import ceil
from typing import Literal

import msgspec

from core.errors import UpstreamFailed, UpstreamLimited
from core.settings import Settings

# A permit for an upstream call that is not used so soon is dropped.
PERMIT_S = 0.5
# Beyond its time-out an upstream call takes this long at most to be settled, or was never made.
_SETTLE_MS = 1000

# Why the budget must be restored before the next call: Redis lost it, or a new month began.
Unsure = Literal["lost", "new month"]


class Permit(msgspec.Struct, frozen=True):
    """The right to an upstream call that is no flush, or when to ask for it again."""

    now_ms: int  # unix time, by Redis' clock
    wait_ms: int | Unsure  # 0: it is granted
    calls: int  # of the month, before this one


class Called(msgspec.Struct, frozen=True):
    """What an upstream call says of the next one; `dropped` is one that was not made."""

    outcome: Literal["answered", "limited", "failed", "dropped"]
    wait_s: int = 0  # as the upstream says, if it limits us
    billed: bool = True  # whether it may have cost a credit of the month


DROPPED = Called("dropped", billed=False)


def failed(error: UpstreamFailed | UpstreamLimited) -> Called:
    """What a call that failed says of the next one."""
    if isinstance(error, UpstreamLimited):
        return Called("limited", wait_s=error.retry_after_s or 0, billed=error.billed)
    return Called("failed", billed=error.billed)


def terms(settings: Settings) -> list[int]:
    """The limits as the scripts take them: ms between calls, most calls a month, ms that a probe may take."""
    probe_ms = settings.upstream_timeout_ms + _SETTLE_MS
    interval = interval_ms(settings.upstream_calls_per_minute, settings.upstream_timeout_ms)
    return [interval, settings.upstream_calls_per_month or 0, probe_ms]


def interval_ms(per_minute: int | None, upstream_timeout_ms: int) -> int:
    """Milliseconds between two permits; 0 where calls are not limited by the minute.

    No 60 s may see more calls than allowed, though one call leaves at once and another at the last moment: when its
    permit nearly ended before it began to connect, and connecting took as long as the whole call may.
    """
    spread_ms = 60_000 + round(PERMIT_S * 1000) + upstream_timeout_ms
    return -(-spread_ms // per_minute) if per_minute else 0


def let_in_again_s(settings: Settings) -> int:
    """How soon after a call, at the latest, a request can be let in again to wait for the next one, in seconds."""
    interval = interval_ms(settings.upstream_calls_per_minute, settings.upstream_timeout_ms)
    return ceil(interval / 1000 - settings.patience_s)


def call_in(ms: int) -> int | Unsure:
    """When the next call may be made, as the scripts answer."""
    return {-1: "lost", -2: "new month"}.get(ms, ms)  # type: ignore[return-value] # the literals are Unsure's
