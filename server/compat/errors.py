"""Errors in CoinGecko's forms, for whatever goes wrong below `/api/v3`."""

from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from core.errors import BadInput

ROOT = "/api/v3"
# Most clients sleep as long as they are told, be it days; the coingecko-sdk for Python takes no more than this for
# serious, and comes back within a second. So this is the longest wait that all of them heed.
LONGEST_WAIT_S = 60
NOT_SERVED = (
    "This path of CoinGecko's is not served here. Served are /simple/price, /simple/supported_vs_currencies, "
    "/coins/list and /ping."
)

# {status: CoinGecko's own code for it}; these two have a form apart.
_CODES = {HTTPStatus.UNAUTHORIZED: 10002, HTTPStatus.TOO_MANY_REQUESTS: 429}


class MissingParameter(BadInput):
    """A parameter without which a request to the drop-in makes no sense, in CoinGecko's words."""

    status = 422

    def __init__(self, name: str) -> None:
        super().__init__(f"Missing parameter {name}")


class FlatError(msgspec.Struct):
    """What went wrong."""

    error: str


class Status(msgspec.Struct):
    """What went wrong, with CoinGecko's number for it."""

    timestamp: str
    error_code: int
    error_message: str


class StatusError(msgspec.Struct):
    """Why the caller may not, or not now."""

    status: Status


def is_drop_in(path: str) -> bool:
    """Whether a path is one that CoinGecko's clients ask for."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def error_form(status: int) -> type[FlatError | StatusError]:
    """The form of the errors of a status."""
    return StatusError if status in _CODES else FlatError


def coingecko_error(status: int, message: str) -> FlatError | StatusError:
    """The body of an error."""
    if status not in _CODES:
        return FlatError(message)
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return StatusError(Status(timestamp, _CODES[HTTPStatus(status)], message))


def with_short_wait(headers: dict[str, str]) -> dict[str, str]:
    """An error's headers, with no more of a wait than a client should sleep."""
    if "Retry-After" not in headers:
        return headers
    return headers | {"Retry-After": str(min(int(headers["Retry-After"]), LONGEST_WAIT_S))}
