"""`/v1/price/{coinId}/history`: a coin's kept prices."""

from typing import Self

from pydantic import Field, model_validator
from quart import Blueprint, Response
from quart_schema import document_querystring, security_scheme, tag

from core.history import HistoryPage
from core.prices import iso_ms, parse_coin_id
from server.answers import HistoryBody, HistoryItem, answer
from server.asked import current
from server.inputs import Moment, PriceQuery, WholeNumber, read_query
from server.openapi import BEARER, LIMIT_HEADERS, documented
from server.users import charge_user, sender

blueprint = Blueprint("history", __name__)

# A page so far on that nothing is there, and its offset still fits into Postgres' bigint.
_LAST_PAGE = 1_000_000_000


class HistoryQuery(PriceQuery):
    """Which kept prices are asked for."""

    since: Moment | None = Field(
        None,
        alias="from",
        description="an ISO 8601 time, inclusive, UTC where it names no zone, such as '2026-02-28T03:55:00Z' "
        "('+' is written '%2B').",
    )
    until: Moment | None = Field(
        None,
        alias="to",
        description="an ISO 8601 time, inclusive, UTC where it names no zone; a date is its first moment.",
    )
    limit: WholeNumber = Field(20, ge=1, le=100, description="a whole number from 1 to 100.")
    page: WholeNumber = Field(1, ge=1, le=_LAST_PAGE, description=f"a whole number from 1 to {_LAST_PAGE}.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("from: must not be later than to.")
        return self


@blueprint.get("/v1/price/<coinId>/history")
@documented(HistoryBody, 400, 401, 429, 503, headers=LIMIT_HEADERS)
@document_querystring(HistoryQuery)
@security_scheme([BEARER])
@tag(["prices"])
async def history(coinId: str) -> Response:  # noqa: N803 - the contract's spelling, which the document shows
    """The kept prices of a coin, newest first."""
    asked = current()
    user = sender(asked)
    coin_id, query = parse_coin_id(coinId), read_query(HistoryQuery, asked)
    await charge_user(asked, user)
    page = await asked.services.history.page(
        coin_id,
        query.vs_currency,
        since=query.since,
        until=query.until,
        limit=query.limit,
        page=query.page,
    )
    return answer(_history_body(coin_id, query, page))


def _history_body(coin_id: str, query: HistoryQuery, page: HistoryPage) -> HistoryBody:
    return HistoryBody(
        coin_id=coin_id,
        vs_currency=query.vs_currency,
        items=[HistoryItem(item.price, iso_ms(item.fetched_at)) for item in page.items],
        page=query.page,
        limit=query.limit,
        total_items=page.total_items,
        total_pages=-(-page.total_items // query.limit),
    )
