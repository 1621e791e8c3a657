"""Every row of the contract's table of errors, over HTTP, on real parts."""

from typing import Any

import httpx
import pytest
import redis
import trio

from core import keys
from core.coordinator import Coordinator
from core.flush_policy import Call, View
from core.redis_link import RedisLink
from core.settings import Settings
from core.standings import Claimed
from server.auth import issue_token
from simulator import Simulator, failures
from tests.service.conftest import SECRET, ClientFor, StartInstance
from tests.waiting import until

QUICK = {"batch_window_ms": 50}


def tells(answer: httpx.Response, status: int, error: str) -> str:
    """Check the body's form; return its message."""
    body = answer.json()
    assert list(body) == ["statusCode", "message", "error"]
    assert (answer.status_code, body["statusCode"], body["error"]) == (status, status, error)
    assert answer.headers["Content-Type"] == "application/json"
    message: str = body["message"]
    return message


@pytest.fixture
async def ann(start_instance: StartInstance, client_for: ClientFor) -> httpx.AsyncClient:
    return await client_for(await start_instance(**QUICK))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/price/Bitcoin",
        "/v1/price/bit%20coin",
        "/v1/price/bitcoin%00",
        "/v1/price/" + "x" * 129,
        "/v1/price/bitcoin?vsCurrency=EUR",
        "/v1/price/bitcoin?vsCurrency=doge",
        "/v1/price/bitcoin?fresh=yes",
        "/v1/price/bitcoin?vsCurrency=usd&vsCurrency=eur",
        "/v1/price/bitcoin/history?limit=0",
        "/v1/price/bitcoin/history?limit=101",
        "/v1/price/bitcoin/history?page=0",
        "/v1/price/bitcoin/history?page=x",
        "/v1/price/bitcoin/history?from=yesterday",
        "/v1/price/bitcoin/history?from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z",
        "/v1/price/bitcoin/history?sort=price",
    ],
)
async def test_malformed_input_is_400_reaches_nobody_and_is_not_charged(
    ann: httpx.AsyncClient, upstream: Simulator, path: str
) -> None:
    tells(await ann.get(path), 400, "Bad Request")

    assert upstream.calls == []
    assert (await ann.get("/v1/price/bitcoin/history")).headers["X-RateLimit-Remaining"] == "19"


async def test_no_token_and_a_forged_one_are_401_with_a_challenge(ann: httpx.AsyncClient) -> None:
    forged = issue_token("another secret of thirty-two bytes...", subject="ann", username="ann", expires_s=600)
    expired = issue_token(SECRET, subject="ann", username="ann", expires_s=-1)
    for headers in ({"Authorization": ""}, *({"Authorization": f"Bearer {token}"} for token in (forged, expired))):
        answer = await ann.get("/v1/price/bitcoin", headers=headers)
        tells(answer, 401, "Unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_login_gives_a_token_that_works_and_a_wrong_one_is_401(ann: httpx.AsyncClient) -> None:
    wrong = await ann.post("/auth/login", json={"username": "admin", "password": "guess"})
    tells(wrong, 401, "Unauthorized")

    right = await ann.post("/auth/login", json={"username": "admin", "password": "opensesame"})
    assert right.json() | {"accessToken": "-"} == {"accessToken": "-", "tokenType": "Bearer", "expiresIn": "1h"}
    headers = {"Authorization": f"Bearer {right.json()['accessToken']}"}
    assert (await ann.get("/v1/price/bitcoin", headers=headers)).status_code == 200


async def test_the_sixth_login_in_a_minute_is_429(ann: httpx.AsyncClient) -> None:
    body = {"username": "admin", "password": "guess"}
    statuses = [(await ann.post("/auth/login", json=body)).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


async def test_a_coin_that_coingecko_does_not_know_is_404(ann: httpx.AsyncClient) -> None:
    assert "no-such-coin" in tells(await ann.get("/v1/price/no-such-coin"), 404, "Not Found")


async def test_a_currency_that_is_not_listed_for_the_coin_is_404(ann: httpx.AsyncClient, upstream: Simulator) -> None:
    upstream.config.prices["newcoin"] = {"usd": "1"}
    assert "eur" in tells(await ann.get("/v1/price/newcoin?vsCurrency=eur"), 404, "Not Found")


async def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow(ann: httpx.AsyncClient) -> None:
    tells(await ann.get("/v2/price/bitcoin"), 404, "Not Found")
    answer = await ann.delete("/v1/price/bitcoin")
    tells(answer, 405, "Method Not Allowed")
    assert "GET" in answer.headers["Allow"]


async def test_coingeckos_own_429_is_429_with_its_retry_after(ann: httpx.AsyncClient, upstream: Simulator) -> None:
    upstream.config.failures = [failures.TooManyRequests(retry_after="7")]
    answer = await ann.get("/v1/price/bitcoin")
    tells(answer, 429, "Too Many Requests")
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "failure",
    [
        failures.ServerError(status=503),
        failures.Reset(),
        failures.Truncated(),
        failures.Html(),
        failures.InvalidJson(),
        failures.Redirect("http://127.0.0.1:1/"),
        failures.Huge(padding_bytes=5_000_000),
        failures.Gzip(),
        failures.Body('{"bitcoin":{"usd":"1,2"}}'),
        failures.Body('{"bitcoin":{"usd":-1}}'),
        failures.Body("[]"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_whatever_else_coingecko_does_wrong_is_502(
    ann: httpx.AsyncClient, upstream: Simulator, failure: Any
) -> None:
    upstream.config.failures = [failure]
    message = tells(await ann.get("/v1/price/bitcoin"), 502, "Bad Gateway")
    assert "127.0.0.1" not in message


async def test_a_coingecko_that_is_silent_is_502_after_the_upstream_timeout(
    start_instance: StartInstance, client_for: ClientFor, upstream: Simulator
) -> None:
    upstream.config.failures = [failures.Hang()]
    # A busy machine may lose permits and leases, and so need more than one call: nothing but that timeout is to end it.
    times = {"upstream_timeout_ms": 200, "batch_result_timeout_ms": 600_000}
    ann = await client_for(await start_instance(**QUICK, **times))
    tells(await ann.get("/v1/price/bitcoin", timeout=None), 502, "Bad Gateway")


async def test_a_coingecko_that_cannot_be_reached_is_502(start_instance: StartInstance, client_for: ClientFor) -> None:
    ann = await client_for(await start_instance(**QUICK, coingecko_base_url="http://127.0.0.1:1"))
    tells(await ann.get("/v1/price/bitcoin"), 502, "Bad Gateway")


async def test_without_redis_everything_that_needs_it_is_503_and_life_goes_on(
    start_instance: StartInstance, client_for: ClientFor
) -> None:
    ann = await client_for(await start_instance(redis_url="redis://127.0.0.1:1"))
    login = {"username": "admin", "password": "opensesame"}

    for answer in (
        await ann.get("/v1/price/bitcoin"),
        await ann.get("/v1/price/bitcoin/history"),
        await ann.post("/auth/login", json=login),
        await ann.get("/health/ready"),
    ):
        tells(answer, 503, "Service Unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await ann.get("/health/live")).status_code == 200


async def test_without_postgres_prices_are_served_and_history_is_503(
    start_instance: StartInstance, client_for: ClientFor
) -> None:
    ann = await client_for(await start_instance(**QUICK, database_url="postgresql://127.0.0.1:1/none"))

    assert (await ann.get("/health/ready")).status_code == 200
    assert (await ann.get("/v1/price/bitcoin")).status_code == 200
    tells(await ann.get("/v1/price/bitcoin/history"), 503, "Service Unavailable")


async def test_no_result_in_time_is_504(
    start_instance: StartInstance,
    client_for: ClientFor,
    given: dict[str, Any],
    redis_url: str,
    upstream: Simulator,
    nursery: trio.Nursery,
) -> None:
    """Another instance claims the batch, stays alive, and never completes it."""
    changes = {"batch_window_ms": 300, "upstream_timeout_ms": 100, "batch_result_timeout_ms": 900}
    ann = await client_for(await start_instance(**changes))
    link = RedisLink(redis_url)
    await nursery.start(link.run)
    other = Coordinator(link, Settings.model_validate(given | changes))
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await ann.get("/v1/price/bitcoin"))

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await until(lambda: client.exists(f"{keys.PREFIX}:open:bitcoin"))
            batch_id = str(client.get(f"{keys.PREFIX}:open:bitcoin"))
            grant = await other.claim(Call(0, batches=[(View(batch_id, "bitcoin", due_at=0), "window")]))
            assert isinstance(grant.standings[0], Claimed)

    tells(answers[0], 504, "Gateway Timeout")
    assert upstream.calls == []


async def test_at_the_outboxs_bound_requests_are_refused_until_there_is_room_again(
    start_instance: StartInstance, client_for: ClientFor, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.coordinator.OUTBOX_BOUND", 1)
    ann = await client_for(await start_instance(**QUICK, database_url="postgresql://127.0.0.1:1/none"))
    assert (await ann.get("/v1/price/bitcoin")).status_code == 200

    refused = await ann.get("/v1/price/bitcoin")

    tells(refused, 503, "Service Unavailable")
    assert refused.headers["Retry-After"] == "60"
    with redis.Redis.from_url(redis_url) as client:
        client.delete(keys.OUTBOX)
    assert (await ann.get("/v1/price/bitcoin")).status_code == 200


async def test_beyond_the_requests_that_an_instance_may_hold_they_are_503(
    start_instance: StartInstance, client_for: ClientFor
) -> None:
    ann = await client_for(await start_instance(batch_window_ms=300, max_waiting=2))
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await ann.get("/v1/price/bitcoin"))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    for answer in answers:
        if answer.status_code == 503:
            tells(answer, 503, "Service Unavailable")
            assert answer.headers["Retry-After"] == "1"
