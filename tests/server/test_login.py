"""`POST /auth/login`."""

import json
from collections.abc import AsyncIterator
from ipaddress import ip_network

import httpx
import jwt
import pytest
import trio
import trio.testing

from core.errors import RedisUnavailable
from core.limits import Charge, OverLimit
from server.app import create_app
from tests.server.fakes import SECRET, World, http_client, make_settings

RIGHT = {"username": "admin", "password": "correct horse"}
NO_OBJECT = f"The body must be a JSON object in UTF-8, such as {json.dumps(RIGHT)}."


async def test_the_right_password_gives_a_token_that_opens_prices(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login", json=RIGHT)
    assert answer.status_code == 200
    assert list(answer.json()) == ["accessToken", "tokenType", "expiresIn"]
    assert (answer.json()["tokenType"], answer.json()["expiresIn"]) == ("Bearer", "1h")
    assert answer.headers["Cache-Control"] == "no-store"
    headers = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
    assert (await client.get("/v1/price/bitcoin", headers=headers)).status_code == 200


async def test_a_token_carries_the_four_claims(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login", json=RIGHT)
    claims = jwt.decode(answer.json()["accessToken"], SECRET, algorithms=["HS256"])
    assert sorted(claims) == ["exp", "iat", "sub", "username"]
    assert (claims["sub"], claims["username"], claims["exp"] - claims["iat"]) == ("admin", "admin", 3600)


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": "admin", "password": "wrong"},
        {"username": "nobody", "password": "correct horse"},
        {"username": "", "password": ""},
        {"username": "Admin", "password": "correct horse"},
        {"username": "admin", "password": "correct horse "},
        {"username": "admin\u0000", "password": "correct horse"},
        {"username": "ädmin", "password": "💩"},
    ],
)
async def test_wrong_credentials_are_401_and_charged(
    world: World, client: httpx.AsyncClient, wrong: dict[str, str]
) -> None:
    answer = await client.post("/auth/login", json=wrong)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["message"] == "Wrong user name or password."
    assert answer.headers["X-RateLimit-Remaining"] == "4"
    assert world.coordinator.charged == [("login:192.0.2.1", 5)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", NO_OBJECT),
        (b"{", NO_OBJECT),
        (b"null", NO_OBJECT),
        (b'["admin"]', NO_OBJECT),
        (b"\xff\xfe", NO_OBJECT),
        (b'{"username":"\xff","password":"x"}', NO_OBJECT),
        (b'{"username":"\\ud800","password":"x"}', NO_OBJECT),
        ("\ufeff{}".encode(), NO_OBJECT),
        ('{"username":"a","password":"b"}'.encode("utf-16"), NO_OBJECT),
        (b"[" * 10_000, NO_OBJECT),
        (b"{}", "username: a text, required."),
        (b'{"username":"admin"}', "password: a text, required."),
        (b'{"username":1,"password":"x"}', "username: a text, required."),
        (b'{"username":"a","password":null}', "password: a text, required."),
        (b'{"username":"a","password":{"$ne":1}}', "password: a text, required."),
        (b'{"username":"a","password":"b","role":"root"}', "Unknown field 'role'; known are username, password."),
    ],
)
async def test_a_malformed_body_is_400_and_not_charged(
    world: World, client: httpx.AsyncClient, body: bytes, message: str
) -> None:
    answer = await client.post("/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert world.coordinator.charged == []


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"]
)
async def test_only_json_is_read(world: World, client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/auth/login", content=b'{"username":"a","password":"b"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["message"] == "Send JSON, with 'Content-Type: application/json'."
    assert world.coordinator.charged == []


async def test_json_may_name_its_charset(client: httpx.AsyncClient) -> None:
    body = b'{"username":"admin","password":"correct horse"}'
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/auth/login", content=body, headers=headers)).status_code == 200


async def test_an_oversize_body_is_413_and_not_charged(world: World, client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login", json={"username": "a", "password": "x" * 20_000})
    assert (answer.status_code, answer.json()["message"]) == (413, "The body is too large.")
    assert world.coordinator.charged == []


async def test_a_body_that_never_comes_is_408(
    client: httpx.AsyncClient, autojump_clock: trio.testing.MockClock
) -> None:
    async def silence() -> AsyncIterator[bytes]:
        yield b"{"
        await trio.sleep_forever()

    started = trio.current_time()
    answer = await client.post("/auth/login", content=silence(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (408, "Request Timeout")
    assert trio.current_time() - started == 10


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (RedisUnavailable(), 503, "1"),
        (OverLimit(Charge("login:192.0.2.1", limit=5, remaining=0, reset_s=30)), 429, "30"),
    ],
)
async def test_nobody_logs_in_uncounted(
    world: World, client: httpx.AsyncClient, refusal: Exception, status: int, retry_after: str
) -> None:
    world.coordinator.refusal = refusal
    answer = await client.post("/auth/login", json=RIGHT)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, retry_after)


def test_over_its_limit_a_caller_is_told_what_was_counted() -> None:
    told = {name: OverLimit(Charge(name, limit=5, remaining=0, reset_s=30)).message for name in ("login:::1", "user:a")}
    assert told["login:::1"] == "Your limit of 5 logins is used up. Try again in 30 s."
    assert told["user:a"] == "Your limit of 5 requests is used up. Try again in 30 s."


async def test_a_login_takes_no_query(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login?user=admin", json=RIGHT)
    assert answer.json()["message"] == "Unknown query parameter 'user'; there is none here."


async def test_a_forwarded_address_is_not_believed(world: World, client: httpx.AsyncClient) -> None:
    await client.post("/auth/login", json=RIGHT, headers={"X-Forwarded-For": "198.51.100.7"})
    assert world.coordinator.charged == [("login:192.0.2.1", 5)]


async def test_a_trusted_proxy_is_believed() -> None:
    world = World(make_settings(trusted_proxies=(ip_network("192.0.2.0/24"),)))
    headers = [("X-Forwarded-For", "203.0.113.9, 198.51.100.7"), ("X-Forwarded-For", "192.0.2.8")]
    async with http_client(create_app(world.services())) as client:
        await client.post("/auth/login", json=RIGHT, headers=headers)
    assert world.coordinator.charged == [("login:198.51.100.7", 5)]


@pytest.mark.parametrize("text", ["24h", "90m", "3600"])
async def test_the_expiry_is_told_as_it_was_set(text: str) -> None:
    world = World(make_settings(jwt_expires_in=text))
    async with http_client(create_app(world.services())) as client:
        assert (await client.post("/auth/login", json=RIGHT)).json()["expiresIn"] == text
