"""`/v1/price/{coinId}/candles`: what a coin's kept prices did, by intervals."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field
from quart import Blueprint, Response
from quart_schema import document_querystring, security_scheme, tag

from core.candles import INTERVALS, Candle, Interval, stretch_of
from core.prices import iso_ms, parse_coin_id
from server.answers import CandleBody, CandlesBody, answer
from server.asked import current
from server.examples import CANDLES, NO_HISTORY
from server.inputs import PeriodQuery, read_query
from server.openapi import BEARER, LIMIT_HEADERS, documented
from server.users import charge_user, sender

blueprint = Blueprint("candles", __name__)


class CandlesQuery(PeriodQuery):
    """Which candles are asked for."""

    interval: Interval = Field(description=f"one of {', '.join(INTERVALS)}.", examples=["1h"])


@blueprint.get("/v1/price/<coinId>/candles")
@documented(CandlesBody, 400, 401, 429, 503, headers=LIMIT_HEADERS, example=CANDLES, told={503: NO_HISTORY})
@document_querystring(CandlesQuery)
@security_scheme([BEARER])
@tag(["prices"])
async def candles(coinId: str) -> Response:  # noqa: N803 - the contract's spelling, which the document shows
    """What the kept prices of a coin did in each interval, oldest first: 100 until now, or up to 1,000 between times.

    Intervals begin by UTC and are whole: from that of 'from' to that of 'to'.
    """
    asked = current()
    user = sender(asked)
    coin_id, query = parse_coin_id(coinId), read_query(CandlesQuery, asked)
    stretch = stretch_of(query.interval, query.since, query.until, datetime.now(UTC))
    await charge_user(asked, user)
    found = await asked.services.history.candles(coin_id, query.vs_currency, stretch)
    return answer(CandlesBody(coin_id, query.vs_currency, query.interval, _bodies(found)))


def _bodies(candles: Sequence[Candle]) -> list[CandleBody]:
    return [CandleBody(iso_ms(one.opened_at), one.open, one.high, one.low, one.close, one.count) for one in candles]
