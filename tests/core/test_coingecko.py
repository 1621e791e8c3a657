import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from core.coingecko import CoinGecko, PermitLapsed, open_coingecko
from core.coingecko_answer import Answer, prices_in
from core.coingecko_headers import fresh_for_s, retry_after_s
from core.errors import CryptoPulseError, UpstreamFailed, UpstreamLimited
from core.prices import is_sane
from core.settings import Settings
from simulator import Simulator, failures
from tests.core.model import settings_for_tests

KEY = "CG-canary-of-a-key"

CREDITS_USED_UP = b'{"status":{"error_code":10006,"error_message":"You have used up your monthly credits."}}'
LIMITED_BODIES = [
    failures.RATE_LIMIT_BODY,
    b'{"error":{"status":{"error_code":429,"error_message":"Throttled"}}}',
    b'{"timestamp":"2026-05-17T01:39:44Z","error_code":429,"status":{"error_message":"Throttled"}}',
]


def settings_for(url: str, **changes: object) -> Settings:
    return settings_for_tests(**{"coingecko_base_url": url, "coingecko_api_key": KEY} | changes)


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
async def simulator_url(simulator: Simulator, nursery: trio.Nursery) -> str:
    url: str = await nursery.start(simulator.serve, "127.0.0.1", 0)
    return url


@pytest.fixture
async def coingecko(simulator_url: str) -> AsyncIterator[CoinGecko]:
    async with open_coingecko(settings_for(simulator_url)) as opened:
        yield opened


def bitcoin_at(text: str) -> bytes:
    return b'{"bitcoin":{"usd":%b}}' % text.encode()


def bitcoin_in(body: bytes) -> dict[str, Decimal | None]:
    return prices_in(Answer(200, {}, body), {"bitcoin"}, {"usd"})["bitcoin"]


@contextmanager
def raises_fit_for_callers(error: type[CryptoPulseError], *reasons: str) -> Iterator[None]:
    """The error tells callers no host, no key and no body, and its cause tells the operator these reasons."""
    with pytest.raises(error) as caught:
        yield
    message, cause = caught.value.message, str(caught.value.__cause__)
    assert message.startswith("CoinGecko")
    for secret in ("127.0.0.1", "localhost", "http", KEY, "{", "<"):
        assert secret not in message
    assert KEY not in cause
    for reason in reasons:
        assert reason in cause


# What is asked.


async def test_one_call_asks_for_all_coins_in_all_currencies(coingecko: CoinGecko, simulator: Simulator) -> None:
    prices = (await coingecko.fetch({"bitcoin", "ethereum"}, {"usd", "eur"})).prices
    assert {coin: set(row) for coin, row in prices.items()} == {
        "bitcoin": {"usd", "eur"},
        "ethereum": {"usd", "eur"},
    }
    (call,) = simulator.calls
    assert (call.ids, call.vs_currencies) == (("bitcoin", "ethereum"), ("eur", "usd"))


async def test_the_same_question_has_the_same_url_whatever_its_order() -> None:
    async with raw_server(answer_with(b"{}")) as (url, heads), open_coingecko(settings_for(url)) as coingecko:
        await coingecko.fetch(["ethereum", "bitcoin"], ["usd", "eur"])
        await coingecko.fetch(["bitcoin", "ethereum"], ["eur", "usd"])
    lines = {head.partition(b"\r\n")[0] for head in heads}
    target = b"/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=eur,usd&precision=full"
    assert lines == {b"GET " + target + b" HTTP/1.1"}


@pytest.mark.parametrize("suffix", ["", "/", "/some/prefix", "/some/prefix/"])
async def test_the_base_url_may_have_a_prefix_and_a_trailing_slash(suffix: str) -> None:
    async with raw_server(answer_with(b"{}")) as (url, heads), open_coingecko(settings_for(url + suffix)) as coingecko:
        await coingecko.fetch(["bitcoin"], ["usd"])
    assert heads[0].startswith(b"GET " + suffix.rstrip("/").encode() + b"/api/v3/simple/price?ids=bitcoin&")


async def test_the_key_goes_in_the_header_of_the_free_plan_and_compression_is_declined() -> None:
    async with raw_server(answer_with(b"{}")) as (url, heads), open_coingecko(settings_for(url)) as coingecko:
        await coingecko.fetch(["bitcoin"], ["usd"])
    lines = heads[0].lower().split(b"\r\n")
    assert b"x-cg-demo-api-key: " + KEY.lower().encode() in lines
    assert b"accept-encoding: identity" in lines
    assert b"pro-api" not in heads[0]


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://pro-api.coingecko.com", "x-cg-pro-api-key"),
        ("https://PRO-API.CoinGecko.com:443/", "x-cg-pro-api-key"),
        ("https://api.coingecko.com", "x-cg-demo-api-key"),
        ("https://pro-api.coingecko.com.example.org", "x-cg-demo-api-key"),
    ],
)
async def test_the_host_of_the_paid_plan_is_told_by_its_name(url: str, header: str) -> None:
    async with open_coingecko(settings_for(url)) as coingecko:
        keys = {name: value for name, value in coingecko._line._headers.items() if name.startswith("x-cg")}
    assert keys == {header: KEY}


async def test_without_a_key_none_is_sent(simulator_url: str, simulator: Simulator) -> None:
    async with open_coingecko(settings_for(simulator_url, coingecko_api_key=None)) as coingecko:
        await coingecko.fetch({"bitcoin"}, {"usd"})
    assert simulator.calls[0].api_key is None


async def test_calls_share_one_connection() -> None:
    connections: list[int] = []
    async with (
        raw_server(answer_with(b"{}"), connections) as (url, heads),
        open_coingecko(settings_for(url)) as coingecko,
    ):
        for _ in range(3):
            await coingecko.fetch(["bitcoin"], ["usd"])
    assert (len(heads), len(connections)) == (3, 1)


async def test_the_environment_names_no_proxy(
    coingecko: CoinGecko, monkeypatch: pytest.MonkeyPatch, simulator_url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with open_coingecko(settings_for(simulator_url)) as opened:
        assert (await opened.fetch({"bitcoin"}, {"usd"})).prices


# What is answered.


@pytest.mark.parametrize("text", ["12345678.123456789", "1e-12", "1.177e-05", "0.1", "76975", "0", "67210.450"])
async def test_a_price_is_exactly_what_the_json_text_says(
    coingecko: CoinGecko, simulator: Simulator, text: str
) -> None:
    simulator.config.prices = {"bitcoin": {"usd": text}}
    prices = (await coingecko.fetch({"bitcoin"}, {"usd"})).prices
    assert str(prices["bitcoin"]["usd"]) == str(Decimal(text))


async def test_an_unknown_coin_is_absent_and_spoils_nothing(coingecko: CoinGecko) -> None:
    prices = (await coingecko.fetch({"bitcoin", "no-such-coin"}, {"usd"})).prices
    assert list(prices) == ["bitcoin"]


def test_only_what_was_asked_is_given() -> None:
    answer = Answer(200, {}, b'{"bitcoin":{"usd":1,"eur":2,"last_updated_at":3},"monero":{"usd":4}}')
    assert prices_in(answer, {"bitcoin"}, {"usd"}) == {"bitcoin": {"usd": 1}}


@pytest.mark.parametrize("row", ["{}", '{"usd":null}', '{"eur":1}'])
def test_a_currency_that_a_coin_is_not_listed_in_is_absent(row: str) -> None:
    assert bitcoin_in(b'{"bitcoin":%b}' % row.encode()) == {}


@pytest.mark.parametrize("row", ["null", "5", '"x"', "[]"])
def test_a_coin_whose_entry_is_none_has_no_readable_price(row: str) -> None:
    assert bitcoin_in(b'{"bitcoin":%b}' % row.encode()) == {"usd": None}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", '"1,2"', "-1", "true", "[1]", "{}", "1" * 50_000])
async def test_a_value_that_cannot_be_a_price_spoils_only_itself(
    coingecko: CoinGecko, simulator: Simulator, text: str
) -> None:
    simulator.config.prices = {"bitcoin": {"usd": text, "eur": "2"}}
    prices = (await coingecko.fetch({"bitcoin", "ethereum"}, {"usd", "eur"})).prices
    assert prices["bitcoin"] == {"usd": None, "eur": 2}
    assert prices["ethereum"]["usd"]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(json_values)
@example(-0.0)
@example(10**400)
def test_any_json_value_is_a_sane_price_or_none_or_absent(value: object) -> None:
    for price in bitcoin_in(bitcoin_at(json.dumps(value))).values():
        assert price is None or (is_sane(price) and not price.is_signed())


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,25})?", fullmatch=True))
@example("1e-61")
@example("1e999999999999999999")
@example("1e9999999999999999999")
@example("-0")
def test_any_json_number_comes_out_as_it_went_in_or_not_at_all(text: str) -> None:
    price = bitcoin_in(bitcoin_at(text))["usd"]
    assert price is None or price == Decimal(text)


@given(st.binary(max_size=200) | st.recursive(st.just("1"), lambda x: x.map(lambda t: f"[{t}]")).map(str.encode))
@example(b"[" * 500_000)
@example("{}".encode("utf-16"))
@example("\ufeff{}".encode())
@example(b'{"bitcoin":{"usd":1}')
def test_any_body_is_an_answer_or_a_failure(body: bytes) -> None:
    with suppress(UpstreamFailed):
        assert prices_in(Answer(200, {}, body), {"bitcoin"}, {"usd"}) == {}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b'{"error":"Something"}', b'{"monero":5}'])
def test_json_that_is_no_answer_to_the_question_is_a_failure(body: bytes) -> None:
    with raises_fit_for_callers(UpstreamFailed):
        prices_in(Answer(200, {}, body), {"bitcoin"}, {"usd"})


def test_a_coin_may_have_the_name_of_an_error_field() -> None:
    assert prices_in(Answer(200, {}, b'{"status":{"usd":1}}'), {"status"}, {"usd"}) == {"status": {"usd": 1}}


# How long it may be kept.


async def test_prices_come_with_the_time_that_they_may_be_kept(coingecko: CoinGecko, simulator: Simulator) -> None:
    simulator.config.update_period_s = 1
    assert (await coingecko.fetch({"bitcoin"}, {"usd"})).fresh_for_s == 30


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("max-age=30, public, must-revalidate, s-maxage=60", "12", 18),
        ("max-age=30, public, must-revalidate, s-maxage=60", "120", 0),
        ("max-age=30", None, 30),
        ("MAX-AGE=30", "0", 30),
        ('max-age="30"', "0", 30),
        ("max-age=999999", "5", 3600),
        ("max-age=7200", "3700", 3500),
        (None, "5", 0),
        ("", None, 0),
        ("s-maxage=60", None, 0),
        ("public", None, 0),
        ("max-age", None, 0),
        ("max-age=", None, 0),
        ("max-age=-5", None, 0),
        ("max-age=30.5", None, 0),
        ("max-age=soon", None, 0),
        ("max-age=" + "9" * 5000, None, 0),
        ("max-age=30", "-5", 0),
        ("max-age=30", "1, 2", 0),
        ("max-age=30", "", 0),
        ("max-age=30, max-age=60", None, 0),
        ("max-age=30, no-store", None, 0),
        ("no-cache, max-age=30", None, 0),
        ('max-age=30, no-cache="set-cookie"', None, 0),
        ('private="x, max-age=30"', None, 0),
        ("x-max-age=30", None, 0),
        ("x.max-age=30", None, 0),
    ],
)
def test_an_answer_may_be_kept_for_what_is_left_of_its_max_age(
    cache_control: str | None, age: str | None, seconds: int
) -> None:
    headers = {"cache-control": cache_control, "age": age}
    assert fresh_for_s({name: text for name, text in headers.items() if text is not None}) == seconds


@given(st.text(), st.none() | st.text())
@example("max-age=\u0663", None)
@example("max-age=30", "\u0663")
def test_headers_of_any_text_allow_an_hour_at_most(cache_control: str, age: str | None) -> None:
    headers = {"cache-control": cache_control} | ({} if age is None else {"age": age})
    assert 0 <= fresh_for_s(headers) <= 3600


# What else is asked.


async def test_the_list_of_coins_comes_byte_for_byte(coingecko: CoinGecko, simulator: Simulator) -> None:
    body = await coingecko.coin_list()
    assert {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"} in json.loads(body)
    (call,) = simulator.calls
    assert call.path == "/api/v3/coins/list"


async def test_a_list_of_coins_far_longer_than_prices_may_be_is_read(
    coingecko: CoinGecko, simulator: Simulator
) -> None:
    simulator.config.failures = [failures.Huge(padding_bytes=8_000_000, calls=1)]
    assert len(await coingecko.coin_list()) > 8_000_000
    simulator.config.failures = [failures.Huge(padding_bytes=17_000_000)]
    with raises_fit_for_callers(UpstreamFailed, "16777216 bytes"):
        await coingecko.coin_list()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "",
        "null",
        "[1]",
        "[{}]",
        '[{"id":"bitcoin","symbol":"btc"}]',
        '[{"id":"bitcoin","symbol":"btc","name":5}]',
        '[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"}',
        '{"status":{"error_code":10005}}',
    ],
)
async def test_what_is_no_list_of_coins_is_a_failure(coingecko: CoinGecko, simulator: Simulator, text: str) -> None:
    simulator.config.failures = [failures.Body(text=text)]
    with raises_fit_for_callers(UpstreamFailed):
        await coingecko.coin_list()


async def test_a_list_of_coins_has_time_of_its_own(simulator: Simulator, simulator_url: str) -> None:
    simulator.config.latency_ms = 100
    async with open_coingecko(settings_for(simulator_url, upstream_timeout_ms=1)) as coingecko:
        assert await coingecko.coin_list()


async def test_calls_of_the_month_are_told_as_coingecko_counts_them(coingecko: CoinGecko, simulator: Simulator) -> None:
    coingecko._line._headers["x-cg-pro-api-key"] = KEY
    simulator.credits_used = 32
    assert await coingecko.usage() == 32


@pytest.mark.parametrize("count", ["-1", "1.5", '"32"', "null"])
async def test_a_count_that_is_none_is_a_failure(coingecko: CoinGecko, simulator: Simulator, count: str) -> None:
    simulator.config.failures = [failures.Body(text=f'{{"current_total_monthly_calls":{count}}}')]
    with raises_fit_for_callers(UpstreamFailed):
        await coingecko.usage()


async def test_the_free_plan_refuses_to_tell_its_calls(coingecko: CoinGecko) -> None:
    assert not coingecko.tells_usage
    with raises_fit_for_callers(UpstreamFailed, "CoinGecko error 10005"):
        await coingecko.usage()


async def test_the_paid_plan_tells_its_calls() -> None:
    async with open_coingecko(settings_for("https://pro-api.coingecko.com")) as coingecko:
        assert coingecko.tells_usage


@pytest.mark.parametrize("ask", [CoinGecko.coin_list, CoinGecko.usage])
async def test_whatever_is_asked_may_be_limited(
    coingecko: CoinGecko, simulator: Simulator, ask: Callable[[CoinGecko], Awaitable[object]]
) -> None:
    simulator.config.failures = [failures.TooManyRequests(retry_after="7")]
    with raises_fit_for_callers(UpstreamLimited, "HTTP 429"):
        await ask(coingecko)


# What a permit allows.


async def test_a_call_whose_permit_lapsed_is_not_made(coingecko: CoinGecko, simulator: Simulator) -> None:
    with pytest.raises(PermitLapsed):
        await coingecko.fetch({"bitcoin"}, {"usd"}, start_by=trio.current_time() - 0.001)
    assert simulator.calls == []
    assert (await coingecko.fetch({"bitcoin"}, {"usd"}, start_by=trio.current_time() + 10)).prices


async def test_a_call_that_began_in_time_is_made_however_slow_connecting_is(
    coingecko: CoinGecko, simulator: Simulator, slow_connect: None
) -> None:
    """Permits are so far apart that it does no harm; or else a slow way to CoinGecko would let none through."""
    assert (await coingecko.fetch({"bitcoin"}, {"usd"}, start_by=trio.current_time() + 0.01)).prices
    assert len(simulator.calls) == 1


@pytest.fixture
def slow_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = trio.open_tcp_stream

    async def connect_slowly(*args: Any, **options: Any) -> trio.SocketStream:
        await trio.sleep(0.05)
        return await connect(*args, **options)

    monkeypatch.setattr(trio, "open_tcp_stream", connect_slowly)


# What it costs.


@pytest.mark.parametrize(
    ("failure", "billed"),
    [
        (failures.ServerError(status=503), False),
        (failures.Redirect(), False),
        (failures.Html(status=403), False),
        (failures.Body(status=401, text='{"status":{"error_code":10002}}'), False),
        (failures.TooManyRequests(), False),
        (failures.TooManyRequests(status=200), True),
        (failures.Body(status=200, text='{"status":{"error_code":10005}}'), True),
        (failures.InvalidJson(), True),
        (failures.Huge(padding_bytes=5_000_000), True),
        (failures.Gzip(), True),
        (failures.Reset(), True),
        (failures.Truncated(), True),
        (failures.Hang(), True),
    ],
    ids=repr,
)
async def test_a_failed_call_counts_unless_coingecko_surely_charges_nothing_for_it(
    simulator: Simulator, simulator_url: str, failure: failures.AnyFailure, billed: bool
) -> None:
    simulator.config.failures = [failure]
    async with open_coingecko(settings_for(simulator_url, upstream_timeout_ms=300)) as coingecko:
        with pytest.raises((UpstreamFailed, UpstreamLimited)) as caught:
            await coingecko.fetch({"bitcoin"}, {"usd"})
    assert isinstance(caught.value, UpstreamFailed | UpstreamLimited)
    assert caught.value.billed == billed


async def test_a_call_that_never_left_costs_nothing(simulator_url: str, slow_connect: None) -> None:
    for url in ("http://127.0.0.1:1", "http://a..b", simulator_url):
        async with open_coingecko(settings_for(url, upstream_timeout_ms=20)) as coingecko:
            with pytest.raises(UpstreamFailed) as caught:
                await coingecko.fetch({"bitcoin"}, {"usd"})
        assert not caught.value.billed


async def test_a_refusal_that_breaks_off_costs_nothing() -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 5\r\n\r\n{")
        await stream.aclose()

    async with raw_server(refuse) as (url, _), open_coingecko(settings_for(url)) as coingecko:
        with pytest.raises(UpstreamFailed) as caught:
            await coingecko.fetch({"bitcoin"}, {"usd"})
    assert not caught.value.billed


# What goes wrong.


@pytest.mark.parametrize("status", [429, 200, 403])
@pytest.mark.parametrize("body", LIMITED_BODIES)
async def test_a_refusal_for_too_many_calls_is_one_under_any_status(
    coingecko: CoinGecko, simulator: Simulator, body: bytes, status: int
) -> None:
    simulator.config.failures = [failures.Body(status=status, text=body.decode())]
    with raises_fit_for_callers(UpstreamLimited, f"HTTP {status}", "429"):
        await coingecko.fetch({"bitcoin"}, {"usd"})


@pytest.mark.parametrize("text", ["<!DOCTYPE html><html></html>", "Throttled", "", '{"status":'])
async def test_a_429_is_one_whatever_its_body(coingecko: CoinGecko, simulator: Simulator, text: str) -> None:
    simulator.config.failures = [failures.Body(status=429, text=text)]
    with raises_fit_for_callers(UpstreamLimited, "HTTP 429"):
        await coingecko.fetch({"bitcoin"}, {"usd"})


@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 999\r\n\r\n{",
        b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        b"transfer-encoding: chunked\r\n\r\nno chunk\r\n",
        b"\r\n" + b" " * 2_000_000,
    ],
)
async def test_a_429_is_one_even_if_its_body_cannot_be_read(rest: bytes) -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n" + rest)
        await stream.aclose()

    async with raw_server(refuse) as (url, _), open_coingecko(settings_for(url)) as coingecko:
        with pytest.raises(UpstreamLimited) as caught:
            await coingecko.fetch({"bitcoin"}, {"usd"})
    assert caught.value.retry_after_s == 7


async def test_a_429_does_not_wait_for_the_rest_of_its_body() -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\n{")
        await trio.sleep_forever()

    async with raw_server(refuse) as (url, _), open_coingecko(settings_for(url)) as coingecko:
        with pytest.raises(UpstreamLimited):
            await coingecko.fetch({"bitcoin"}, {"usd"})


async def test_used_up_credits_have_a_message_of_their_own_and_do_not_come_back_in_a_minute(
    coingecko: CoinGecko, simulator: Simulator
) -> None:
    simulator.config.failures = [failures.Body(status=429, text=CREDITS_USED_UP.decode())]
    with pytest.raises(UpstreamLimited, match="this month") as caught:
        await coingecko.fetch({"bitcoin"}, {"usd"})
    assert "10006" in str(caught.value.__cause__)
    assert caught.value.retry_after_s == 3600


def test_used_up_credits_that_say_when_to_come_back_are_believed() -> None:
    with pytest.raises(UpstreamLimited) as caught:
        prices_in(Answer(429, {"retry-after": "7"}, CREDITS_USED_UP), {"bitcoin"}, {"usd"})
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7), ("119", 119), ("0", 1), ("99999999999", 3600), (None, 60), ("", 60), ("-5", 60), ("soon", 60)],
)
async def test_retry_after_is_told_within_bounds_and_is_a_minute_where_it_says_nothing(
    coingecko: CoinGecko, simulator: Simulator, retry_after: str | None, seconds: int
) -> None:
    simulator.config.failures = [failures.TooManyRequests(retry_after=retry_after)]
    with pytest.raises(UpstreamLimited) as caught:
        await coingecko.fetch({"bitcoin"}, {"usd"})
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(("ahead_s", "seconds"), [(90, 90), (-90, 1), (86_400, 3600)])
def test_retry_after_may_be_a_date_by_the_clock_of_the_answer(ahead_s: int, seconds: int) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=ahead_s), usegmt=True)
    assert retry_after_s({"retry-after": later, "date": format_datetime(now, usegmt=True)}) == seconds


def test_retry_after_by_our_own_clock_is_never_too_soon() -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=90)
    wait_s = retry_after_s({"retry-after": format_datetime(later, usegmt=True)})
    assert datetime.now(UTC) + timedelta(seconds=wait_s) >= later


@given(st.text(), st.none() | st.text())
@example("Wed, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359")
@example("9" * 5000, None)
@example("\u0663", None)
def test_retry_after_of_any_text_is_within_an_hour(text: str, date: str | None) -> None:
    headers = {"retry-after": text} | ({} if date is None else {"date": date})
    assert 1 <= retry_after_s(headers) <= 3600


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (failures.ServerError(status=500), "HTTP 500"),
        (failures.ServerError(status=503), "HTTP 503"),
        (failures.Redirect(), "HTTP 302"),
        (failures.Body(status=400, text='{"error":"Invalid value for precision"}'), "HTTP 400"),
        (failures.Body(status=401, text='{"status":{"error_code":10002}}'), "CoinGecko error 10002"),
        (failures.Body(status=200, text='{"status":{"error_code":10005}}'), "CoinGecko error 10005"),
        (failures.Html(status=403), "HTTP 403"),
        (failures.Html(), "Expecting value"),
        (failures.InvalidJson(), "Expecting"),
        (failures.Body(text=""), "Expecting value"),
        (failures.Reset(), "ReadError"),
        (failures.Truncated(), "RemoteProtocolError"),
        (failures.Huge(padding_bytes=5_000_000), "4194304 bytes"),
        (failures.Gzip(), "gzip"),
        (failures.Gzip(padding_bytes=100_000_000), "gzip"),
    ],
    ids=repr,
)
async def test_whatever_else_goes_wrong_is_a_failure_and_the_next_call_works(
    coingecko: CoinGecko, simulator: Simulator, failure: failures.AnyFailure, reason: str
) -> None:
    simulator.config.failures = [type(failure)(**{**as_dict(failure), "calls": 1})]
    with raises_fit_for_callers(UpstreamFailed, reason):
        await coingecko.fetch({"bitcoin"}, {"usd"})
    assert (await coingecko.fetch({"bitcoin"}, {"usd"})).prices
    assert len(simulator.calls) == 2


async def test_a_body_as_large_as_allowed_is_read(coingecko: CoinGecko, simulator: Simulator) -> None:
    simulator.config.failures = [failures.Huge(padding_bytes=4_000_000)]
    assert (await coingecko.fetch({"bitcoin"}, {"usd"})).prices


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-16\r\n\r\n" + "{}".encode("utf-16"),
        b'HTTP/1.1 200 OK\r\n\r\n{"bitcoin":{"usd":"\xff"}}',
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_odd_bytes_are_a_failure(answer: bytes) -> None:
    async def answer_and_close(stream: trio.abc.Stream) -> None:
        await stream.send_all(answer)
        await stream.aclose()

    async with raw_server(answer_and_close) as (url, _), open_coingecko(settings_for(url)) as coingecko:
        with raises_fit_for_callers(UpstreamFailed):
            await coingecko.fetch({"bitcoin"}, {"usd"})


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://127.0.0.1:99999", "http://a..b"])
async def test_a_host_that_cannot_be_reached_is_a_failure(url: str) -> None:
    async with open_coingecko(settings_for(url)) as coingecko:
        with raises_fit_for_callers(UpstreamFailed):
            await coingecko.fetch({"bitcoin"}, {"usd"})


async def test_a_host_that_speaks_no_tls_is_a_failure(simulator_url: str) -> None:
    url = simulator_url.replace("http:", "https:")
    async with open_coingecko(settings_for(url)) as coingecko:
        with raises_fit_for_callers(UpstreamFailed):
            await coingecko.fetch({"bitcoin"}, {"usd"})


async def test_a_host_that_never_answers_is_a_failure_when_the_time_is_up(
    simulator: Simulator, simulator_url: str
) -> None:
    simulator.config.failures = [failures.Hang(calls=1)]
    async with open_coingecko(settings_for(simulator_url, upstream_timeout_ms=100)) as coingecko:
        with raises_fit_for_callers(UpstreamFailed, "no whole answer within 0.1 s"):
            await coingecko.fetch({"bitcoin"}, {"usd"})
        assert (await coingecko.fetch({"bitcoin"}, {"usd"})).prices


async def test_the_time_is_for_the_whole_call_not_for_each_read() -> None:
    async def drip(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await stream.send_all(b" ")
            await trio.sleep(0.01)

    async with raw_server(drip) as (url, _), open_coingecko(settings_for(url, upstream_timeout_ms=100)) as hasty:
        with raises_fit_for_callers(UpstreamFailed, "no whole answer"):
            await hasty.fetch({"bitcoin"}, {"usd"})


async def test_a_cancelled_call_is_only_cancelled_and_the_next_one_works(
    coingecko: CoinGecko, simulator: Simulator
) -> None:
    simulator.config.latency_ms = 50
    for n in range(10):
        with trio.move_on_after(n * 0.005) as scope:
            await coingecko.fetch({"bitcoin"}, {"usd"})
        assert scope.cancelled_caught
    assert (await coingecko.fetch({"bitcoin"}, {"usd"})).prices


def as_dict(failure: failures.AnyFailure) -> dict[str, Any]:
    return {name: getattr(failure, name) for name in failure.__struct_fields__}


def answer_with(body: bytes) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    async def answer(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    return answer


@asynccontextmanager
async def raw_server(
    answer: Callable[[trio.abc.Stream], Awaitable[None]], connections: list[int] | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads request heads and answers with any bytes; yields its URL and the heads it read."""
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        if connections is not None:
            connections.append(len(heads))
        head = b""
        try:
            while data := await stream.receive_some():
                head += data
                if head.endswith(b"\r\n\r\n"):
                    heads.append(head)
                    head = b""
                    await answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", heads
        nursery.cancel_scope.cancel()
