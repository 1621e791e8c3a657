"""Each failure as a client meets it."""

import gzip

import httpx
import pytest

from simulator import Simulator
from simulator.failures import (
    AnyFailure,
    Body,
    Gzip,
    Hang,
    Html,
    Huge,
    InvalidJson,
    Redirect,
    Reset,
    ServerError,
    TooManyRequests,
    Truncated,
)

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"
TRUE_PRICE = '{"bitcoin":{"usd":71039.1}}'


async def test_a_failure_lasts_as_many_calls_as_it_says(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [ServerError(status=503, calls=2), TooManyRequests(calls=1)]
    assert [(await client.get(PRICE)).status_code for _ in range(4)] == [503, 503, 429, 200]
    assert simulator.config.failures == []


async def test_a_failure_without_a_number_lasts_until_it_is_switched_off(
    simulator: Simulator, client: httpx.AsyncClient
) -> None:
    simulator.config.failures = [ServerError()]
    assert [(await client.get(PRICE)).status_code for _ in range(3)] == [500] * 3
    simulator.reset()
    assert (await client.get(PRICE)).status_code == 200


async def test_a_hanging_call_is_never_answered(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Hang(calls=1)]
    with pytest.raises(httpx.ReadTimeout):
        await client.get(PRICE, timeout=httpx.Timeout(10, read=0.05))
    assert [call.status for call in simulator.calls] == [None]
    assert (await client.get(PRICE)).status_code == 200


@pytest.mark.parametrize("retry_after", ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-1", "", None])
async def test_a_429_carries_the_chosen_retry_after(
    simulator: Simulator, client: httpx.AsyncClient, retry_after: str | None
) -> None:
    simulator.config.failures = [TooManyRequests(retry_after=retry_after)]
    answer = await client.get(PRICE)
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, retry_after)
    assert answer.json()["status"]["error_code"] == 429
    assert len(answer.content) == 187


async def test_a_429_may_hide_under_status_200(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [TooManyRequests(status=200, retry_after=None)]
    answer = await client.get(PRICE)
    assert (answer.status_code, answer.json()["status"]["error_code"]) == (200, 429)


async def test_a_reset_comes_in_the_middle_of_the_body(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Reset()]
    with pytest.raises(httpx.ReadError):
        await client.get(PRICE)
    assert [call.status for call in simulator.calls] == [200]


async def test_a_truncated_body_is_shorter_than_its_length_says(
    simulator: Simulator, client: httpx.AsyncClient
) -> None:
    simulator.config.failures = [Truncated()]
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await client.get(PRICE)


async def test_a_web_page_may_come_where_json_is_due(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Html(status=403)]
    answer = await client.get(PRICE)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html; charset=UTF-8")
    assert answer.text.startswith("<!DOCTYPE html>")


async def test_a_huge_body_is_the_true_one_and_blanks(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Huge(padding_bytes=1_000_000)]
    answer = await client.get(PRICE)
    assert answer.text == TRUE_PRICE + " " * 1_000_000


async def test_a_compressed_answer_is_the_true_one(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Gzip()]
    answer = await client.get(PRICE, headers={"accept-encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == TRUE_PRICE


async def test_a_bomb_is_small_on_the_wire_and_large_unpacked(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Gzip(padding_bytes=10_000_000)]
    async with client.stream("GET", PRICE) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert len(packed) < 20_000
    assert len(gzip.decompress(packed)) == 10_000_000 + len(TRUE_PRICE)


async def test_a_redirect_points_where_it_is_told(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [Redirect(location="http://127.0.0.1:1/elsewhere", status=307)]
    answer = await client.get(PRICE)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/elsewhere")


async def test_invalid_json_lacks_its_end(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.failures = [InvalidJson(missing_bytes=2)]
    assert (await client.get(PRICE)).text == TRUE_PRICE[:-2]


async def test_a_chosen_body_comes_exactly_as_it_stands(simulator: Simulator, client: httpx.AsyncClient) -> None:
    text = '{"bitcoin":{"usd":NaN},"bitcoin":[]}'
    simulator.config.failures = [Body(text)]
    assert (await client.get(PRICE)).text == text


@pytest.mark.parametrize("failure", [Body("x", status=204), Redirect(status=304)])
async def test_a_status_that_has_no_body_gets_none(
    simulator: Simulator, client: httpx.AsyncClient, failure: AnyFailure
) -> None:
    simulator.config.failures = [failure]
    assert (await client.get(PRICE)).content == b""
    simulator.reset()
    assert (await client.get(PRICE)).text == TRUE_PRICE


async def test_a_call_over_the_limit_does_not_use_a_failure_up(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.config.limit_per_minute = 1
    await client.get(PRICE)
    simulator.config.failures = [ServerError(calls=1)]
    assert (await client.get(PRICE)).status_code == 429
    assert simulator.config.failures == [ServerError(calls=1)]
