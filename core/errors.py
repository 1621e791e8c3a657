"""Everything that can go wrong for a caller, as one small tree.

    CryptoPulseError
        BadInput                   400   BadCoin, BadCurrency
        Unauthorized               401
        NotFound                   404   UnknownCoin, UnlistedCurrency
        LimitReached               429   the caller is over its limit
        UpstreamLimited            429   CoinGecko itself answered 429
        UpstreamFailed             502
        Unavailable                503   RedisUnavailable, HistoryUnavailable, OutboxFull, TooBusy, ShuttingDown
        ResultTimeout              504

Each class hints at its HTTP status; only `server/` renders it. A message is read by the caller: it says what went
wrong and what to do, and never holds a token, a key or an internal address.
"""

from typing import ClassVar


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


class UpstreamLimited(CryptoPulseError):
    """CoinGecko answered 429."""

    status = 429


class UpstreamFailed(CryptoPulseError):
    """CoinGecko failed, timed out, or answered something that is no price."""

    status = 502


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
