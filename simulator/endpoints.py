"""CoinGecko's endpoints: what it answers to a request at an instant when all is well."""

from collections.abc import Callable
from hashlib import blake2b

import msgspec
from msgspec import Struct

from simulator import account, refusals, simple_price
from simulator.account import Credits
from simulator.coins import COINS
from simulator.config import SimulatorConfig
from simulator.currencies import PER_USD
from simulator.failures import HTML_BODY
from simulator.messages import HTML, JSON, PRO_KEY_NAMES, Answer, Request, json_answer

# The longest target that gets through; CoinGecko refuses at some length between 6 and 9 kB.
MAX_TARGET_CHARS = 8192

CACHE_CONTROL = "max-age=30, public, must-revalidate, s-maxage=60"


class Situation(Struct, frozen=True):
    """All that an answer depends on besides the request; `now` is in UNIX seconds."""

    config: SimulatorConfig
    now: float
    month: Credits = Credits()


Endpoint = Callable[[Request, Situation], Answer]


def respond(request: Request, situation: Situation) -> Answer:
    """The true answer to a request."""
    if len(request.target) > MAX_TARGET_CHARS:
        return Answer(status=414, body=HTML_BODY, headers={"content-type": HTML})
    endpoint = ENDPOINTS.get(request.path)
    if endpoint is None or request.method not in {"GET", "HEAD"}:
        return json_answer(404, {"error": "Incorrect path. Please check https://www.coingecko.com/api/"})
    try:
        return endpoint(request, situation)
    except simple_price.BadQueryError as error:
        return json_answer(error.status, {"error": error.message})


def _cached(value: object, situation: Situation) -> Answer:
    """An answer as CoinGecko's cache hands it out: as old as the latest update of prices."""
    body = msgspec.json.encode(value)
    age_s = situation.now - situation.config.market.updated_at(situation.now)
    headers = {
        "content-type": JSON,
        "cache-control": CACHE_CONTROL,
        "age": str(int(age_s)),
        "etag": f'W/"{blake2b(body, digest_size=16).hexdigest()}"',
        "cf-cache-status": "HIT",
        "vary": "Accept-Encoding, Origin",
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "link, per-page, total",
    }
    return Answer(status=200, body=body, headers=headers)


def _ping(_request: Request, situation: Situation) -> Answer:
    return _cached({"gecko_says": "(V3) To the Moon!"}, situation)


def _key(request: Request, situation: Situation) -> Answer:
    """Never cached. A pro key stands for CoinGecko's host for paid plans, whose name does not reach us."""
    if request.first_of(PRO_KEY_NAMES) is None:
        return refusals.pro_only(situation.now)
    return json_answer(200, account.usage(situation.config.limit_per_minute, situation.month))


def _simple_price(request: Request, situation: Situation) -> Answer:
    query = simple_price.parse(request.params)
    config = situation.config
    return _cached(simple_price.prices(query, config.market, situation.now, config.prices), situation)


def _supported_vs_currencies(_request: Request, situation: Situation) -> Answer:
    return _cached(list(PER_USD), situation)


def _coins_list(request: Request, situation: Situation) -> Answer:
    """Every coin is active, and none is a token on another's chain. The order tells nothing of their size."""
    coins = [] if request.params.get("status") == "inactive" else [COINS[coin_id] for coin_id in sorted(COINS)]
    platforms: dict[str, object] = {"platforms": {}} if request.params.get("include_platform") == "true" else {}
    return _cached([{"id": coin.id, "symbol": coin.symbol, "name": coin.name} | platforms for coin in coins], situation)


ENDPOINTS: dict[str, Endpoint] = {
    "/api/v3/ping": _ping,
    account.KEY_PATH: _key,
    "/api/v3/simple/price": _simple_price,
    "/api/v3/simple/supported_vs_currencies": _supported_vs_currencies,
    "/api/v3/coins/list": _coins_list,
}
