"""`/api/v3`: what CoinGecko's clients ask for, and get."""

from decimal import Decimal

import httpx
import pytest

from core.batches import Wanted
from core.errors import UnknownCoin, UnlistedCurrency, UpstreamFailed
from core.freshness import Freshness
from core.prices import CURRENCIES
from server.app import create_app
from server.compat.queries import BAD_PRECISION, PriceQuery
from tests.server.fakes import Request, World, http_client, make_quote, make_settings

PRICE = "/api/v3/simple/price"
WITHIN_30_S = Freshness(max_age_s=30)
UNKNOWN = UnknownCoin("CoinGecko knows no coin 'nocoin'. GET /api/v3/coins/list names all ids.")
UNLISTED = UnlistedCurrency("CoinGecko lists no price of 'bitcoin' in 'xau'.")
MANY = [f"coin-{number}" for number in range(516)]


async def test_prices_are_spelled_as_coingecko_does(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"bitcoin": make_quote("67210.45"), "pepe": make_quote("1.177E-05", coin_id="pepe")}
    answer = await client.get(f"{PRICE}?ids=pepe,bitcoin&vs_currencies=usd", headers=bearer)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.text == '{"pepe":{"usd":0.00001177},"bitcoin":{"usd":67210.45}}'


async def test_all_coins_are_admitted_at_once_with_the_age_that_the_operator_allows(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    headers = bearer | {"Cache-Control": "no-cache"}  # these clients' libraries, not their users, choose it
    await client.get(f"{PRICE}?ids=bitcoin,ethereum&vs_currencies=usd,eur", headers=headers)
    wanted = [Wanted("bitcoin", ("usd", "eur")), Wanted("ethereum", ("usd", "eur"))]
    assert world.desk.admitted == [Request(wanted, "user:ada", WITHIN_30_S)]


@pytest.mark.parametrize(("max_age_s", "freshness"), [(90, Freshness(max_age_s=90)), (0, Freshness(max_age_s=0))])
async def test_the_operator_chooses_how_old_a_price_may_be(
    bearer: dict[str, str], max_age_s: int, freshness: Freshness
) -> None:
    world = World(make_settings(compat_max_age_s=max_age_s))
    async with http_client(create_app(world.services())) as client:
        answer = await client.get(f"{PRICE}?ids=bitcoin&vs_currencies=usd", headers=bearer)
    assert answer.headers["Cache-Control"] == f"private, max-age={max_age_s}"
    assert world.desk.admitted[0].freshness == freshness


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("ids=b%2Ca&vs_currencies=usd", [Wanted("b", ("usd",)), Wanted("a", ("usd",))]),
        ("ids=+b,,a,b+&vs_currencies=USD,+Eur,usd", [Wanted("b", ("usd", "eur")), Wanted("a", ("usd", "eur"))]),
        ("ids=a&ids=b&vs_currencies=usd", [Wanted("b", ("usd",))]),
        ("ids=a&names=Bitcoin&symbols=btc&include_tokens=all&vs_currencies=usd", [Wanted("a", ("usd",))]),
        ("ids=a&vs_currencies=usd&foo=bar&x_cg_demo_api_key=&precision=full", [Wanted("a", ("usd",))]),
        ("ids=a&vs_currencies=usd&include_market_cap=False&include_24hr_vol=false", [Wanted("a", ("usd",))]),
        ("ids=a&vs_currencies=usd&include_24hr_change=0&include_last_updated_at=", [Wanted("a", ("usd",))]),
        ("ids=Bitcoin,a,b_c,%E2%82%BF,../d&vs_currencies=usd", [Wanted("a", ("usd",))]),
        ("ids=a&vs_currencies=usd,xxx,doge", [Wanted("a", ("usd",))]),
        (f"ids={','.join(MANY[:515])}&vs_currencies=usd", [Wanted(coin_id, ("usd",)) for coin_id in MANY[:515]]),
    ],
)
async def test_a_query_is_read_as_coingecko_reads_it(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, wanted: list[Wanted]
) -> None:
    assert (await client.get(f"{PRICE}?{query}", headers=bearer)).status_code == 200
    assert world.desk.admitted == [Request(wanted, "user:ada", WITHIN_30_S)]


async def test_unknown_coins_are_left_out_and_so_are_currencies_that_are_not_listed(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"nocoin": UNKNOWN, "bitcoin/xau": UNLISTED, "bitcoin/usd": make_quote("1")}
    answer = await client.get(f"{PRICE}?ids=nocoin,bitcoin,Odd&vs_currencies=xau,usd,xxx", headers=bearer)
    assert (answer.status_code, answer.text) == (200, '{"bitcoin":{"usd":1}}')
    answer = await client.get(f"{PRICE}?ids=nocoin,bitcoin&vs_currencies=xau", headers=bearer)
    assert (answer.status_code, answer.text) == (200, '{"bitcoin":{}}')


async def test_where_no_currency_is_supported_known_coins_are_told_without_prices(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"nocoin": UNKNOWN}
    answer = await client.get(f"{PRICE}?ids=bitcoin,nocoin&vs_currencies=xxx", headers=bearer)
    assert (answer.status_code, answer.text) == (200, '{"bitcoin":{}}')


async def test_ids_that_can_be_none_are_not_asked_for_but_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(f"{PRICE}?ids=Bitcoin,a_b&vs_currencies=usd", headers=bearer)
    assert (answer.status_code, answer.text, answer.headers["Age"]) == (200, "{}", "0")
    assert (world.desk.admitted, world.coordinator.charged) == ([], [("user:ada", 20)])


@pytest.mark.parametrize(
    ("price", "precision", "told"),
    [
        ("67210.456", "2", "67210.46"),
        ("67210.45", "1", "67210.4"),  # of two equally near ones the even, as the simulator does
        ("67210.45", "18", "67210.45"),
        ("67210.45", "0", "67210"),
        ("67210.45", "full", "67210.45"),
        ("0.00001177", "2", "0.00"),
        ("1E+5", "0", "1E+5"),
        ("1" * 30 + "." + "9" * 60, "18", "1" * 29 + "2." + "0" * 18),
    ],
)
async def test_a_price_has_no_more_decimal_places_than_asked_for(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], price: str, precision: str, told: str
) -> None:
    world.desk.answer = make_quote(price)
    query = f"ids=bitcoin&vs_currencies=usd&precision={precision}"
    assert (await client.get(f"{PRICE}?{query}", headers=bearer)).text == f'{{"bitcoin":{{"usd":{told}}}}}'


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 422, "Missing parameter vs_currencies"),
        ("ids=bitcoin", 422, "Missing parameter vs_currencies"),
        ("ids=bitcoin&vs_currencies=", 422, "Missing parameter vs_currencies"),
        ("ids=bitcoin&vs_currencies=,+", 422, "Missing parameter vs_currencies"),
        ("vs_currencies=usd", 422, "Missing parameter ids"),
        ("ids=,&vs_currencies=usd", 422, "Missing parameter ids"),
        ("names=Bitcoin&vs_currencies=usd", 400, "Coins are found by id alone here: use 'ids' instead of 'names'."),
        ("symbols=btc&vs_currencies=usd", 400, "Coins are found by id alone here: use 'ids' instead of 'symbols'."),
        *[
            (f"ids=a&vs_currencies=usd&{flag}={value}", 400, f"'{flag}' cannot be served here: leave it out.")
            for flag in ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")
            for value in ("true", "True", "1", "yes")
        ],
        *[
            (f"ids=a&vs_currencies=usd&precision={value}", 400, BAD_PRECISION)
            for value in ("19", "-1", "", "01", "FULL", "1.0", "%D9%A3")
        ],
        (f"ids={','.join(MANY)}&vs_currencies=usd", 400, "516 ids given; send at most 515 at once."),
    ],
)
async def test_what_cannot_be_served_is_refused_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, status: int, message: str
) -> None:
    answer = await client.get(f"{PRICE}?{query}", headers=bearer)
    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert (world.desk.admitted, world.coordinator.charged) == ([], [])


async def test_prices_tell_how_old_the_oldest_is_and_how_long_to_keep_them(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.desk.answers = {"a": make_quote(age_s=3), "b": make_quote(age_s=25)}
    headers = (await client.get(f"{PRICE}?ids=a,b&vs_currencies=usd", headers=bearer)).headers
    assert (headers["Age"], headers["Cache-Control"]) == ("25", "private, max-age=30")


async def test_the_currencies_are_coingeckos_in_its_order(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await client.get("/api/v3/simple/supported_vs_currencies", headers=bearer)
    assert answer.json() == list(CURRENCIES)
    assert (len(CURRENCIES), CURRENCIES[0], CURRENCIES[-1]) == (63, "btc", "sats")


async def test_the_coins_are_handed_on_as_coingecko_wrote_them(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.coin_list.answer = b'[ {"id":"a","symbol":"a","name":"\\u00c5","new":1} ]'
    for query in ("", "?include_platform=false&status=active&foo=bar", "?include_platform=False"):
        answer = await client.get(f"/api/v3/coins/list{query}", headers=bearer)
        assert (answer.status_code, answer.content) == (200, world.coin_list.answer)
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("include_platform=true", "'include_platform' cannot be served here: leave it out."),
        ("status=inactive", "Only active coins are listed here: leave 'status' out."),
    ],
)
async def test_other_lists_of_coins_are_refused_before_anything_is_charged(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], query: str, message: str
) -> None:
    answer = await client.get(f"/api/v3/coins/list?{query}", headers=bearer)
    assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert world.coordinator.charged == []


async def test_without_the_coins_the_reason_is_told(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    world.coin_list.answer = UpstreamFailed("CoinGecko failed.")
    answer = await client.get("/api/v3/coins/list", headers=bearer)
    assert (answer.status_code, answer.json()) == (502, {"error": "CoinGecko failed."})


async def test_a_ping_is_answered_as_coingecko_does(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await client.get("/api/v3/ping", headers=bearer)
    assert answer.text == '{"gecko_says":"(V3) To the Moon!"}'


@pytest.mark.parametrize("path", ["ping", "coins/list", "simple/supported_vs_currencies"])
async def test_what_needs_no_price_is_charged_too(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str], path: str
) -> None:
    answer = await client.get(f"/api/v3/{path}", headers=bearer)
    assert world.coordinator.charged == [("user:ada", 20)]
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("20", "19")


async def test_prices_tell_what_is_left_of_the_limit(
    world: World, client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    answer = await client.get(f"{PRICE}?ids=bitcoin&vs_currencies=usd", headers=bearer)
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("20", "19")
    assert world.coordinator.charged == []  # by the admission instead


def test_rounding_never_fails_on_a_price_that_can_be() -> None:
    query = PriceQuery.model_validate({"ids": "a", "vs_currencies": "usd", "precision": "18"})
    assert query.rounded(Decimal(10**30) - Decimal("1e-60")) == 10**30
