"""JSON whatever happens: on every path, for every method."""

from http import HTTPStatus

import httpx
import pytest
import trio
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from werkzeug.exceptions import NotFound

from core.errors import BadInput
from server.errors import answer_to, most_telling
from tests.server.fakes import World

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"]
PATHS = {
    "/auth/login": "POST",
    "/v1/price/bitcoin": "GET, HEAD",
    "/v1/price/bitcoin/history": "GET, HEAD",
    "/v1/prices": "GET, HEAD",
    "/health/live": "GET, HEAD",
    "/health/ready": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/docs-json": "GET, HEAD",
    "/docs/docs.js": "GET, HEAD",
}
UNKNOWN = [
    "/",
    "/v1",
    "/v1/price/",
    "/v1/price/bitcoin/",
    "/v1//price/bitcoin",
    "//v1/price/bitcoin",
    "/v1/price/bitcoin/history/",
    "/v1/prices/",
    "/api",
    "/api/v2/ping",
    "/api/v30/ping",
    "/V1/price/bitcoin",
    "/docs/",
    "/docs/nothing.js",
    "/docs/..%2f..%2fapp.py",
    "/docs/../app.py",
    "/static/swagger-ui/swagger-ui.css",
    "/favicon.ico",
    "/%00",
    "/%ff",
    "/💩",
    "/" + "a" * 9000,
]


def assert_is_error(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["statusCode", "message", "error"]
    assert (body["statusCode"], body["error"]) == (status, HTTPStatus(status).phrase)
    assert body["message"].endswith(".")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    answer = await client.request(method, path)
    if method in PATHS[path].split(", "):
        assert answer.status_code != 405
    else:
        assert_is_error(answer, 405)
        assert answer.headers["Allow"] == PATHS[path]
        told = answer.json()["message"]
        assert told == f"This path does not take that method. Send {PATHS[path].partition(',')[0]}."


@pytest.mark.parametrize("path", UNKNOWN)
async def test_an_unknown_path_is_404_for_every_method(client: httpx.AsyncClient, path: str) -> None:
    for method in METHODS:
        assert_is_error(await client.request(method, path), 404)


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    assert (await client.head("/v1/price/bitcoin", headers=bearer)).status_code == 200
    assert (await client.head("/v1/price/bitcoin")).headers["WWW-Authenticate"] == "Bearer"
    assert (await client.head("/auth/login")).status_code == 405


async def test_what_nobody_foresaw_is_500_and_only_the_log_knows_why(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answer = RuntimeError("the key is 'hunter2' at redis://internal")
    with capture_logs() as lines:
        answer = await client.get("/v1/price/bitcoin", headers=bearer)
    assert_is_error(answer, 500)
    assert "hunter2" not in answer.text
    (line,) = lines
    assert (line["log_level"], line["exc_info"]) == ("error", world.desk.answer)


async def test_what_breaks_around_the_routes_is_500_too(app: QuartTrio, client: httpx.AsyncClient) -> None:
    async def broken(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("", [RuntimeError("no context")])

    app.handle_request = broken  # type: ignore[method-assign,assignment] # the whole inside of Quart fails
    with capture_logs():
        answer = await client.get("/health/live")
    assert_is_error(answer, 500)
    assert answer.headers["X-Request-Id"]


def test_of_a_group_the_client_is_told_what_is_meant_for_it() -> None:
    meant = BadInput("limit: a whole number.")
    group = BaseExceptionGroup("", [KeyError("x"), ExceptionGroup("", [OSError(), meant])])
    assert most_telling(group) is meant


def test_a_group_that_nobody_foresaw_is_told_as_its_first() -> None:
    first = KeyError("x")
    assert most_telling(ExceptionGroup("", [first, OSError()])) is first


def test_a_group_with_a_cancellation_stays_whole() -> None:
    group = BaseExceptionGroup("", [BadInput("x"), KeyboardInterrupt()])
    assert most_telling(group) is group


def test_an_error_of_werkzeug_is_told_in_our_words() -> None:
    assert answer_to(NotFound("internal detail")).message == "There is nothing here. /docs shows what there is."
