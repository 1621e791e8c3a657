"""CoinGecko's endpoints: what it answers to a request at an instant when all is well."""

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from simulator import simple_price
from simulator.config import SimulatorConfig
from simulator.currencies import PER_USD
from simulator.failures import HTML_BODY, RATE_LIMIT_BODY
from simulator.messages import HTML, JSON, Answer, Request, json_answer

# The longest target that gets through; CoinGecko refuses at some length between 6 and 9 kB.
MAX_TARGET_CHARS = 8192

CACHE_CONTROL = "max-age=30, public, must-revalidate, s-maxage=60"

Endpoint = Callable[[Request, SimulatorConfig, float], object]


def respond(request: Request, config: SimulatorConfig, now: float) -> Answer:
    """The true answer to a request; `now` is in UNIX seconds."""
    if len(request.target) > MAX_TARGET_CHARS:
        return Answer(status=414, body=HTML_BODY, headers={"content-type": HTML})
    endpoint = ENDPOINTS.get(request.path)
    if endpoint is None or request.method not in {"GET", "HEAD"}:
        return json_answer(404, {"error": "Incorrect path. Please check https://www.coingecko.com/api/"})
    try:
        return _cached(endpoint(request, config, now), now - config.market.updated_at(now))
    except simple_price.BadQueryError as error:
        return json_answer(error.status, {"error": error.message})


def too_many_requests(retry_after_s: int) -> Answer:
    """CoinGecko's answer to a call over the limit."""
    headers = {"content-type": JSON, "retry-after": str(retry_after_s)}
    return Answer(status=429, body=RATE_LIMIT_BODY, headers=headers)


def _cached(value: object, age_s: float) -> Answer:
    """An answer as CoinGecko's cache hands it out: as old as the latest update of prices."""
    body = msgspec.json.encode(value)
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


def _ping(_request: Request, _config: SimulatorConfig, _now: float) -> object:
    return {"gecko_says": "(V3) To the Moon!"}


def _simple_price(request: Request, config: SimulatorConfig, now: float) -> object:
    query = simple_price.parse(request.params)
    return simple_price.prices(query, config.market, now, config.prices)


def _supported_vs_currencies(_request: Request, _config: SimulatorConfig, _now: float) -> object:
    return list(PER_USD)


ENDPOINTS: dict[str, Endpoint] = {
    "/api/v3/ping": _ping,
    "/api/v3/simple/price": _simple_price,
    "/api/v3/simple/supported_vs_currencies": _supported_vs_currencies,
}
