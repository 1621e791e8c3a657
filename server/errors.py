"""The one place that turns errors into answers: a status, headers, and a JSON body in the form of the path."""

from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from core.errors import CryptoPulseError, Unauthorized
from core.limits import OverLimit
from server.answers import Answer, ProblemBody, encode, error_body
from server.auth import InvalidToken
from server.compat.errors import NOT_SERVED, coingecko_error, is_drop_in, with_short_wait
from server.http1.asgi import Scope
from server.notes import notes_of
from server.problems import MEDIA_TYPE, asks_for_problem, problem_type

# For what Quart and Werkzeug refuse by themselves.
_MESSAGES = {
    400: "The request is malformed.",
    404: "There is nothing here. /docs shows what there is.",
    408: "The body came too slowly. Send the request again.",
    413: "The body is too large.",
    414: "The address is too long.",
    431: "The headers are too large, or too many.",
    500: "Something went wrong on our side. Try again, and tell us the X-Request-Id if it stays.",
    501: "Only the transfer encoding 'chunked' is known here.",
}
_DEFAULT_RETRY_AFTER_S = 1
_OF_EVERY_ERROR = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What a client is told of an error, whatever the form."""

    status: int
    message: str
    headers: dict[str, str]


def answer_to(error: BaseException) -> ErrorAnswer:
    """Say what a client is told of an error; of one that nobody foresaw, only that it happened."""
    if isinstance(error, CryptoPulseError):
        return ErrorAnswer(error.status, error.message, _headers_of(error))
    if isinstance(error, HTTPException) and error.code is not None:
        return _answer_to_http(error, error.code)
    return ErrorAnswer(500, _MESSAGES[500], {})


def render(error: BaseException, scope: Scope) -> Answer:
    """Spell an error as its client wants it: CoinGecko's clients read only CoinGecko's forms, on its paths."""
    told, path = answer_to(error), scope["path"]
    if is_drop_in(path):
        message = NOT_SERVED if isinstance(error, NotFound) else told.message
        body = encode(coingecko_error(told.status, message))
        return Answer(told.status, _OF_EVERY_ERROR | with_short_wait(told.headers), body)
    headers = _OF_EVERY_ERROR | {"Vary": "Accept"} | told.headers
    if not asks_for_problem(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"):
        return Answer(told.status, headers, encode(error_body(told.status, told.message)))
    kind = problem_type(error, told.status)
    problem = ProblemBody.of(error_body(told.status, told.message), kind.uri, kind.title, instance=quote(path))
    return Answer(told.status, headers | {"Content-Type": MEDIA_TYPE}, encode(problem))


def forget_headers(scope: Scope) -> None:
    """Let go of all headers but those that an answer with an error asks for: thousands may wait with theirs."""
    scope["headers"] = [header for header in scope["headers"] if header[0] == b"accept"]


def error_answer(error: BaseException, scope: Scope) -> Answer:
    """Answer a request with an error, and leave word of it for the access log."""
    notes = notes_of(scope)
    notes.error = error
    if isinstance(error, OverLimit):
        notes.charge = error.charge
    return render(error, scope)


def retry_after_s(error: CryptoPulseError) -> int | None:
    """When to ask again, if the status says to come back at a time."""
    if error.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return max(error.retry_after_s or 0, _DEFAULT_RETRY_AFTER_S)
    return None


def most_telling(error: Exception | BaseExceptionGroup) -> Exception | BaseExceptionGroup:
    """Of a group of errors, the one that the client is told.

    A group that holds a cancellation stays whole: it belongs to whoever cancelled.
    """
    parts = list(leaves(error))
    errors = [part for part in parts if isinstance(part, Exception)]
    if len(errors) < len(parts):
        return error
    return min(errors, key=lambda part: not isinstance(part, CryptoPulseError | HTTPException))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of groups, or the one error."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from leaves(part)


def _headers_of(error: CryptoPulseError) -> dict[str, str]:
    if isinstance(error, InvalidToken):
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    wait_s = retry_after_s(error)
    return {} if wait_s is None else {"Retry-After": str(wait_s)}


def _answer_to_http(error: HTTPException, status: int) -> ErrorAnswer:
    if isinstance(error, MethodNotAllowed):
        methods = sorted(error.valid_methods or ())
        message = f"This path does not take that method. Send {methods[0]}."
        return ErrorAnswer(status, message, {"Allow": ", ".join(methods)})
    message = _MESSAGES.get(status) or error.description or HTTPStatus(status).phrase
    return ErrorAnswer(status, message, {})
