"""`/v1/price/{coinId}/history`: a coin's kept prices."""

from datetime import datetime
from typing import Any, Self, TypedDict
from urllib.parse import urlencode

from pydantic import Field, model_validator
from quart import Blueprint, Response
from quart_schema import document_querystring, security_scheme, tag

from core.history import Cursor, HistoryPage, Older
from core.prices import iso_ms, parse_coin_id
from server.answers import HistoryBody, HistoryItem, answer
from server.asked import Asked, current
from server.cursors import Before, cursor_text
from server.examples import CURSOR, HISTORY, NO_HISTORY
from server.inputs import PeriodQuery, WholeNumber, read_query
from server.openapi import BEARER, LIMIT_HEADERS, documented
from server.users import charge_user, sender

blueprint = Blueprint("history", __name__)

# A page so far on that nothing is there, and its offset still fits into Postgres' bigint.
_LAST_PAGE = 1_000_000_000

_LINK = {"Link": "Where older prices are, if there are any: a URL with a cursor, rel=next."}


class _Bounds(TypedDict):
    since: datetime | None
    until: datetime | None
    limit: int


def _without_default(schema: dict[str, Any]) -> None:
    """The API page sends defaults along, which `before` does not go together with."""
    del schema["default"]


class HistoryQuery(PeriodQuery):
    """Which kept prices are asked for."""

    limit: WholeNumber = Field(20, ge=1, le=100, description="a whole number from 1 to 100.", examples=[100])
    page: WholeNumber = Field(
        1,
        ge=1,
        le=_LAST_PAGE,
        description=f"a whole number from 1 to {_LAST_PAGE}.",
        examples=[2],
        json_schema_extra=_without_default,
    )
    before: Before | None = Field(
        None,
        description="the nextBefore of another answer, or an ISO 8601 time. Not together with page.",
        examples=[CURSOR],
    )

    @model_validator(mode="after")
    def _page_or_cursor(self) -> Self:
        if self.before is not None and "page" in self.model_fields_set:
            raise ValueError("before: send either before or page, not both.")
        return self


@blueprint.get("/v1/price/<coinId>/history")
@documented(HistoryBody, 400, 401, 429, 503, headers=LIMIT_HEADERS | _LINK, example=HISTORY, told={503: NO_HISTORY})
@document_querystring(HistoryQuery)
@security_scheme([BEARER])
@tag(["prices"])
async def history(coinId: str) -> Response:  # noqa: N803 - the contract's spelling, which the document shows
    """The kept prices of a coin, newest first."""
    asked = current()
    user = sender(asked)
    coin_id, query = parse_coin_id(coinId), read_query(HistoryQuery, asked)
    await charge_user(asked, user)
    kept = asked.services.history
    if query.before is None:
        page = await kept.page(coin_id, query.vs_currency, page=query.page, **_bounds(query))
        return answer(_page_body(coin_id, query, page), _link_to(page.next, asked))
    older = await kept.before(coin_id, query.vs_currency, query.before, **_bounds(query))
    return answer(_older_body(coin_id, query, older), _link_to(older.next, asked))


def _bounds(query: HistoryQuery) -> _Bounds:
    return {"since": query.since, "until": query.until, "limit": query.limit}


def _link_to(cursor: Cursor | None, asked: Asked) -> dict[str, str]:
    """The header that leads to what is older, within what was asked for."""
    if cursor is None:
        return {}
    same = {name: values[0] for name, values in asked.query().items() if name != "page"}
    query = urlencode(same | {"before": cursor_text(cursor)}, safe=":")
    return {"Link": f'<{asked.scope["path"]}?{query}>; rel="next"'}


def _page_body(coin_id: str, query: HistoryQuery, page: HistoryPage) -> HistoryBody:
    return HistoryBody(
        coin_id=coin_id,
        vs_currency=query.vs_currency,
        items=_items(page),
        page=query.page,
        limit=query.limit,
        total_items=page.total_items,
        total_pages=-(-page.total_items // query.limit),
    )


def _older_body(coin_id: str, query: HistoryQuery, older: Older) -> HistoryBody:
    return HistoryBody(
        coin_id=coin_id,
        vs_currency=query.vs_currency,
        items=_items(older),
        limit=query.limit,
        next_before=cursor_text(older.next) if older.next else None,
    )


def _items(found: HistoryPage | Older) -> list[HistoryItem]:
    return [HistoryItem(item.price, iso_ms(item.fetched_at)) for item in found.items]
