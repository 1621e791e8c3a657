"""What CoinGecko answers when all is well, without a socket."""

import msgspec
import pytest

from simulator.coins import COINS
from simulator.config import SimulatorConfig
from simulator.currencies import PER_USD
from simulator.endpoints import Situation, respond
from simulator.messages import Answer, Request

# 20 seconds after a price update.
NOW = 1_795_365_620.0

PRICES = {
    "bitcoin": {"usd": "76975", "eur": "71000.5"},
    "pepe": {"usd": "1.177e-05"},
    "dogecoin": {"usd": "0.14"},
    "binance-peg-dogecoin": {"usd": "0.13"},
}


def ask(query: str, **config: object) -> Answer:
    settings = msgspec.convert({"prices": PRICES} | config, SimulatorConfig)
    return respond(Request("GET", f"/api/v3{query}"), Situation(settings, NOW))


def prices(query: str) -> str:
    answer = ask(f"/simple/price?{query}")
    assert answer.status == 200
    return answer.body.decode()


def test_a_ping_is_answered_from_the_moon() -> None:
    assert ask("/ping").body == b'{"gecko_says":"(V3) To the Moon!"}'


def test_the_supported_currencies_are_a_plain_list() -> None:
    assert msgspec.json.decode(ask("/simple/supported_vs_currencies").body) == list(PER_USD)


def test_the_list_of_coins_is_whole_and_by_id() -> None:
    coins = msgspec.json.decode(ask("/coins/list").body)
    assert [coin["id"] for coin in coins] == sorted(COINS)
    assert {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"} in coins


def test_the_list_of_coins_has_platforms_when_asked() -> None:
    (bitcoin,) = (
        coin for coin in msgspec.json.decode(ask("/coins/list?include_platform=true").body) if coin["id"] == "bitcoin"
    )
    assert bitcoin == {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "platforms": {}}


def test_every_coin_is_active() -> None:
    assert ask("/coins/list?status=active&include_platform=false").body == ask("/coins/list").body
    assert ask("/coins/list?status=inactive").body == b"[]"


def test_prices_are_keyed_by_coin_and_currency_in_the_order_asked() -> None:
    assert prices("ids=pepe,bitcoin&vs_currencies=usd,eur").startswith('{"pepe":{"usd":1.177e-05,"eur":')


def test_commas_may_be_encoded_and_blanks_stand_around_them() -> None:
    assert prices("ids=pepe%2C%20bitcoin&vs_currencies=USD") == '{"pepe":{"usd":1.177e-05},"bitcoin":{"usd":76975}}'


def test_an_unknown_coin_is_left_out() -> None:
    assert prices("ids=bitcoin,no-such-coin&vs_currencies=usd") == '{"bitcoin":{"usd":76975}}'


def test_unknown_coins_alone_are_an_empty_answer() -> None:
    assert prices("ids=no-such-coin&vs_currencies=usd") == "{}"


@pytest.mark.parametrize(("coin_id", "currency"), [("bitcoin", "kes"), ("kishu-inu", "eur"), ("terrausd", "usd")])
def test_a_coin_without_a_price_in_that_currency_is_an_empty_object(coin_id: str, currency: str) -> None:
    assert prices(f"ids={coin_id}&vs_currencies={currency}") == f'{{"{coin_id}":{{}}}}'


def test_names_are_keyed_by_name() -> None:
    assert prices("names=Bitcoin,Nothing&vs_currencies=usd") == '{"Bitcoin":{"usd":76975}}'


def test_a_symbol_means_its_largest_coin_and_is_the_key() -> None:
    assert prices("symbols=DOGE,btc&vs_currencies=usd") == '{"doge":{"usd":0.14},"btc":{"usd":76975}}'


def test_all_coins_of_a_symbol_are_keyed_by_id() -> None:
    assert prices("symbols=doge&vs_currencies=usd&include_tokens=all") == (
        '{"dogecoin":{"usd":0.14},"binance-peg-dogecoin":{"usd":0.13}}'
    )


def test_ids_win_over_names_and_names_over_symbols() -> None:
    assert prices("ids=pepe&names=Bitcoin&symbols=doge&vs_currencies=usd") == '{"pepe":{"usd":1.177e-05}}'
    assert prices("names=Bitcoin&symbols=doge&vs_currencies=usd") == '{"Bitcoin":{"usd":76975}}'


def test_flags_add_figures_to_each_currency_and_one_time_to_each_coin() -> None:
    body = prices(
        "ids=ethereum&vs_currencies=usd,eur&include_market_cap=true&include_24hr_vol=true"
        "&include_24hr_change=true&include_last_updated_at=true"
    )
    row = msgspec.json.decode(body)["ethereum"]
    figures = ("", "_market_cap", "_24h_vol", "_24h_change")
    assert [*row] == [f"{currency}{figure}" for currency in ("usd", "eur") for figure in figures] + ["last_updated_at"]
    assert row["last_updated_at"] == 1_795_365_600


def test_flags_that_are_false_add_nothing() -> None:
    assert prices("ids=bitcoin&vs_currencies=usd&include_market_cap=false") == '{"bitcoin":{"usd":76975}}'


@pytest.mark.parametrize(
    ("precision", "price"),
    [("", "3504.99"), ("&precision=full", "3504.992027035985"), ("&precision=2", "3504.99"), ("&precision=0", "3505")],
)
def test_precision_decides_how_many_places_a_price_has(precision: str, price: str) -> None:
    assert prices(f"ids=ethereum&vs_currencies=usd{precision}") == f'{{"ethereum":{{"usd":{price}}}}}'


@pytest.mark.parametrize("precision", ["19", "-1", "x", "9" * 5000])
def test_an_impossible_precision_is_refused(precision: str) -> None:
    answer = ask(f"/simple/price?ids=bitcoin&vs_currencies=usd&precision={precision}")
    assert (answer.status, answer.body) == (400, b'{"error":"Invalid value for precision"}')


@pytest.mark.parametrize(
    ("query", "missing"),
    [("ids=bitcoin", "vs_currencies"), ("ids=bitcoin&vs_currencies=", "vs_currencies"), ("vs_currencies=usd", "ids")],
)
def test_a_missing_parameter_is_named(query: str, missing: str) -> None:
    answer = ask(f"/simple/price?{query}")
    assert (answer.status, answer.body) == (422, f'{{"error":"Missing parameter {missing}"}}'.encode())


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v3/nothing"), ("GET", "/"), ("POST", "/api/v3/ping")])
def test_other_paths_and_methods_are_not_found(method: str, path: str) -> None:
    answer = respond(Request(method, path), Situation(SimulatorConfig(), NOW))
    assert answer.status == 404
    assert msgspec.json.decode(answer.body)["error"].startswith("Incorrect path.")


def test_a_target_beyond_eight_kilobytes_is_too_long() -> None:
    assert ask(f"/simple/price?vs_currencies=usd&ids={'a' * 8192}").status == 414


def test_an_answer_is_as_old_as_the_latest_update() -> None:
    headers = ask("/simple/price?ids=bitcoin&vs_currencies=usd").headers
    assert headers["cache-control"] == "max-age=30, public, must-revalidate, s-maxage=60"
    assert headers["age"] == "20"
    assert headers["cf-cache-status"] == "HIT"
    assert headers["content-type"] == "application/json; charset=utf-8"


def test_the_tag_changes_with_the_body_and_only_with_it() -> None:
    query = "/simple/price?ids=bitcoin&vs_currencies=usd"
    assert ask(query).headers["etag"] == ask(query).headers["etag"]
    assert ask(query).headers["etag"] != ask(query, prices={}).headers["etag"]


def test_a_lie_stands_in_the_answer_digit_by_digit() -> None:
    lies = {"bitcoin": {"usd": "12345678.1234567890", "usd_24h_change": "null"}, "no-such-coin": {"usd": "1e999"}}
    answer = ask("/simple/price?ids=bitcoin,no-such-coin&vs_currencies=usd&include_24hr_change=true", prices=lies)
    assert answer.body == (
        b'{"bitcoin":{"usd":12345678.1234567890,"usd_24h_change":null},"no-such-coin":{"usd":1e999}}'
    )
