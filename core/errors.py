"""Everything that can go wrong for a caller, as one small tree.

    CryptoPulseError
        BadInput                   400   BadCoin, BadCurrency
        Unauthorized               401
        NotFound                   404   UnknownCoin, UnlistedCurrency
        LimitReached               429   the caller is over its limit
        TooManyStreams             429   the caller has as many streams open as it may
        UpstreamLimited            429   CoinGecko itself answered 429
        OverBudget                 429   no upstream call may be made in time
        UpstreamFailed             502
        Unavailable                503   RedisUnavailable, HistoryUnavailable, OutboxFull, TooBusy, ShuttingDown
        ResultTimeout              504   NotAtHand

Each class hints at its HTTP status; only `server/` renders it. A message is read by the caller: it says what went
wrong and what to do, and never holds a token, a key or an internal address.
"""

from math import ceil
from typing import ClassVar

# From how many seconds on a wait is told in larger units.
_MINUTES = 300
_HOURS = 4 * 3600


class CryptoPulseError(Exception):
    """The root of the tree."""

    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class BadInput(CryptoPulseError):
    """The request is malformed."""

    status = 400


class BadCoin(BadInput):
    """The coin id has not the form of one."""


class BadCurrency(BadInput):
    """CoinGecko does not support this currency."""


class Unauthorized(CryptoPulseError):
    """No valid token, or wrong credentials."""

    status = 401


class NotFound(CryptoPulseError):
    """What was asked for does not exist."""

    status = 404


class UnknownCoin(NotFound):
    """CoinGecko does not know the coin."""


class UnlistedCurrency(NotFound):
    """CoinGecko knows the coin, but lists no price of it in this currency."""


class LimitReached(CryptoPulseError):
    """The caller is over its own rate limit."""

    status = 429


class TooManyStreams(CryptoPulseError):
    """The caller has as many streams open on this instance as it may have."""

    status = 429

    def __init__(self, most: int) -> None:
        super().__init__(f"You have {most} streams open, and may have no more. Close one first.", retry_after_s=10)


class UpstreamLimited(CryptoPulseError):
    """CoinGecko answered 429.

    `billed` says whether the call may have cost a credit of the month all the same: CoinGecko was seen to send that
    refusal under status 200.
    """

    status = 429

    def __init__(self, message: str, *, retry_after_s: int | None = None, billed: bool = False) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.billed = billed

    def no_sooner_than(self, wait_s: int) -> "UpstreamLimited":
        """The same refusal, where our own pace makes callers wait for longer than CoinGecko says."""
        if (self.retry_after_s or 0) >= wait_s:
            return self
        later = upstream_limited(wait_s, billed=self.billed)
        later.__cause__ = self.__cause__
        return later


def upstream_limited(wait_s: int, *, billed: bool) -> UpstreamLimited:
    """CoinGecko's refusal for so many seconds."""
    message = f"CoinGecko takes no more calls for now. Try again in {wait_s} s."
    return UpstreamLimited(message, retry_after_s=wait_s, billed=billed)


class OverBudget(CryptoPulseError):
    """The earliest upstream call that could carry the request comes after its deadline."""

    status = 429


def over_budget(call_in_s: float, patience_s: float) -> OverBudget:
    """The refusal of a request that no upstream call can reach in time; the next one is so many seconds away.

    It is to come again when it can wait for that call: whoever came just when it is made would find it gone, taken by
    those who came a little sooner.
    """
    wait_s = max(1, ceil(call_in_s - patience_s))
    return OverBudget(
        f"No call to CoinGecko can be made in time. Try again in {told_wait(wait_s)}.", retry_after_s=wait_s
    )


def told_wait(wait_s: int) -> str:
    """A time to wait, in the unit that people would choose."""
    if wait_s < _MINUTES:
        return f"{wait_s} s"
    return f"{-(-wait_s // 60)} minutes" if wait_s < _HOURS else f"{-(-wait_s // 3600)} hours"


class UpstreamFailed(CryptoPulseError):
    """CoinGecko failed, timed out, or answered something that is no price.

    `billed` says whether the call may have cost a credit of the month; only an answer other than 200, or a connection
    that never was, is known to cost none.
    """

    status = 502

    def __init__(self, message: str, *, retry_after_s: int | None = None, billed: bool = True) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.billed = billed


class Unavailable(CryptoPulseError):
    """Something this request needs is away for now."""

    status = 503


class RedisUnavailable(Unavailable):
    """Redis did not answer in time, or cannot be reached."""

    def __init__(self, message: str = "The price service is briefly unavailable. Try again shortly.") -> None:
        super().__init__(message, retry_after_s=1)


class HistoryUnavailable(Unavailable):
    """Postgres did not answer in time, or cannot be reached."""

    def __init__(self, message: str = "Price history is briefly unavailable. Try again shortly.") -> None:
        super().__init__(message, retry_after_s=5)


class OutboxFull(Unavailable):
    """So many prices wait for Postgres that no more may be fetched."""

    def __init__(self, message: str = "Prices cannot be kept at the moment. Try again in a minute.") -> None:
        super().__init__(message, retry_after_s=60)


class TooBusy(Unavailable):
    """As many requests wait on this instance as it may hold."""

    def __init__(self, message: str = "This server is at its limit. Send the request again in a moment.") -> None:
        super().__init__(message, retry_after_s=1)


class ShuttingDown(Unavailable):
    """This instance is going away; another one will answer."""

    def __init__(self, message: str = "This server is shutting down. Send the request again.") -> None:
        super().__init__(message, retry_after_s=1)


class ResultTimeout(CryptoPulseError):
    """No result within the result timeout."""

    status = 504


class NotAtHand(ResultTimeout):
    """The request allowed no fetch, and no price is at hand that is fresh enough."""
