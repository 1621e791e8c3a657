"""Stand-ins for the core at the edge of HTTP: they do what a test tells them, and remember what was asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import httpx
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from quart_trio import QuartTrio

from core.admissions import Ask
from core.batches import Quote, Served, Wanted
from core.candles import Candle, Stretch
from core.errors import CryptoPulseError, ShuttingDown, TooBusy
from core.freshness import FETCH, Freshness
from core.history import Cursor, HistoryItem, HistoryPage, Older
from core.limits import Charge
from core.price_request import PriceRequest
from core.prices import Price, from_unix_ms
from core.settings import Settings
from core.streams import Streams
from server.admin import Admin
from server.auth import Tokens
from server.services import Services

if TYPE_CHECKING:
    from core.callers import Callers
    from core.coin_list import CoinList
    from core.coordinator import Coordinator
    from core.history import History
    from core.metrics import Metrics
    from core.price_desk import PriceDesk
    from core.waiters import Waiter

FETCHED_AT_MS = 1_772_250_900_000
BATCH_ID = "f" * 32
FETCHED_AT = "2026-02-28T03:55:00.000Z"
SECRET = "a-secret-of-more-than-thirty-two-bytes"
CHARGE = Charge("user:ada", limit=20, remaining=19, reset_s=42)


def make_settings(**changes: Any) -> Settings:
    values = {
        "admin_user": "admin",
        "admin_pass": "correct horse",
        "jwt_secret": SECRET,
        "database_url": "postgresql://nowhere/none",
        "redis_url": "redis://nowhere",
        "port": 0,
    }
    return Settings.model_validate(values | changes)


def make_quote(
    text: str = "67210.45",
    *,
    coin_id: str = "bitcoin",
    vs_currency: str = "usd",
    trigger: Served = "threshold",
    age_s: int = 0,
    fresh_for_s: int = 0,
) -> Quote:
    price = Price(BATCH_ID, coin_id, vs_currency, Decimal(text), FETCHED_AT_MS)
    return Quote(
        price,
        size=3,
        trigger=trigger,
        batch_ms=1234.56,
        upstream_ms=101.2,
        age_s=age_s,
        fresh_for_s=fresh_for_s,
    )


def http_client(app: QuartTrio) -> httpx.AsyncClient:
    """Speaks to the app without a network; without a token, unless a test adds one."""
    # Quart spells the types of ASGI out, httpx does not.
    transport = httpx.ASGITransport(cast("Any", app), client=("192.0.2.1", 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@dataclass(eq=False)
class FakeWaiter:
    desk: "FakeDesk"
    coin_id: str
    settle: Callable[[], None]
    batch_id: str | None = BATCH_ID

    def quote(self, vs_currency: str) -> Quote:
        answer = self.desk.answer_for(self.coin_id, vs_currency)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Request:
    """What the desk was asked for at once."""

    wanted: list[Wanted]
    caller: str
    freshness: Freshness


@dataclass
class FakeDesk:
    answer: Quote | Exception | None = None  # for whatever is asked
    answers: dict[str, Quote | Exception] = field(default_factory=dict)  # {"coin" or "coin/currency": its own}
    refusal: CryptoPulseError | None = None
    charge: Charge = CHARGE
    batch_ids: dict[str, str | None] = field(default_factory=dict)  # {coin: its own}
    holds: bool = False  # whether requests wait until a drain
    admitted: list[Request] = field(default_factory=list)
    waiting: list[FakeWaiter] = field(default_factory=list)
    drained: bool = False
    arrived: trio.Event = field(default_factory=trio.Event)  # somebody waits
    left: trio.Event = field(default_factory=trio.Event)  # somebody gave its wait up, or has its answer

    def answer_for(self, coin_id: str, vs_currency: str) -> Quote | Exception:
        own = self.answers.get(f"{coin_id}/{vs_currency}") or self.answers.get(coin_id)
        return own or self.answer or make_quote(coin_id=coin_id, vs_currency=vs_currency)

    def ask(
        self,
        wanted: Sequence[Wanted],
        *,
        caller: str,
        freshness: Freshness = FETCH,
        tell: Callable[[], None] | None = None,
    ) -> PriceRequest:
        if isinstance(self.refusal, (TooBusy, ShuttingDown)):
            raise self.refusal
        request = PriceRequest(Ask(caller, wanted, freshness), self._let_go, tell)
        trio.lowlevel.current_trio_token().run_sync_soon(self._hear, request)
        return request

    def _hear(self, request: PriceRequest) -> None:
        if self.refusal is not None:
            request.refuse(self.refusal)
            return
        ask = request.ask
        self.admitted.append(Request(list(ask.wanted), ask.caller, ask.freshness))
        waiters = [
            FakeWaiter(self, coin.coin_id, request.settle_one, self.batch_ids.get(coin.coin_id, BATCH_ID))
            for coin in ask.wanted
        ]
        self.waiting += waiters
        self.arrived.set()
        request.admit(self.charge, cast("list[Waiter]", waiters))
        if not self.holds:
            self._settle(waiters)

    def _settle(self, waiters: Sequence[FakeWaiter]) -> None:
        for waiter in waiters:
            waiter.settle()

    def _let_go(self, request: PriceRequest) -> None:
        for waiter in cast("Sequence[FakeWaiter]", request.waiters):
            self.waiting.remove(waiter)
        self.left.set()

    async def wait_empty(self) -> None:
        await nobody_waits()

    def drain(self) -> None:
        self.drained = True
        self._settle(list(self.waiting))


@dataclass
class FakeCoordinator:
    refusal: Exception | None = None
    charged: list[tuple[str, int]] = field(default_factory=list)
    at_hand: list[Price] = field(default_factory=list)

    async def charge(self, caller: str, limit: int) -> Charge:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.charged.append((caller, limit))
        return Charge(caller, limit, limit - 1, 60)

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal

    async def latest(self, coin_ids: Sequence[str], vs_currencies: Sequence[str]) -> list[Price]:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        return [price for price in self.at_hand if price.coin_id in coin_ids and price.vs_currency in vs_currencies]


@dataclass
class FakeHistory:
    items: list[HistoryItem] = field(default_factory=list)
    total_items: int = 0
    next: Cursor | None = None
    found: list[Candle] = field(default_factory=list)
    refusal: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def page(
        self,
        coin_id: str,
        vs_currency: str,
        *,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        page: int,
    ) -> HistoryPage:
        await self._asked(coin_id=coin_id, vs_currency=vs_currency, since=since, until=until, limit=limit, page=page)
        return HistoryPage(self.items, self.total_items, self.next)

    async def before(
        self,
        coin_id: str,
        vs_currency: str,
        cursor: Cursor,
        *,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> Older:
        await self._asked(
            coin_id=coin_id, vs_currency=vs_currency, cursor=cursor, since=since, until=until, limit=limit
        )
        return Older(self.items, self.next)

    async def candles(self, coin_id: str, vs_currency: str, stretch: Stretch) -> list[Candle]:
        await self._asked(coin_id=coin_id, vs_currency=vs_currency, stretch=stretch)
        return self.found

    async def _asked(self, **arguments: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(arguments)

    def keep(self, *prices: str) -> None:
        self.items = [HistoryItem(Decimal(price), from_unix_ms(FETCHED_AT_MS)) for price in prices]
        self.total_items = len(prices)


@dataclass
class FakeCoinList:
    answer: bytes | Exception = b'[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"}]'

    async def get(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class FakeMetrics:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def add(self, source: Collector) -> None:
        self.registry.register(source)

    async def scrape(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return generate_latest(self.registry)


@dataclass
class World:
    """Everything around the app."""

    settings: Settings = field(default_factory=make_settings)
    desk: FakeDesk = field(default_factory=FakeDesk)
    coordinator: FakeCoordinator = field(default_factory=FakeCoordinator)
    history: FakeHistory = field(default_factory=FakeHistory)
    coin_list: FakeCoinList = field(default_factory=FakeCoinList)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    draining: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        # Not a stand-in: it needs nothing but what Redis has at hand.
        self.streams = Streams(cast("Coordinator", self.coordinator), self.settings.max_streams_per_user)

    @property
    def callers(self) -> FakeCoordinator:
        return self.coordinator

    def services(self) -> Services:
        return Services(
            self.settings,
            Tokens.of(self.settings),
            Admin(self.settings.admin_user, self.settings.admin_pass.get_secret_value()),
            cast("PriceDesk", self.desk),
            cast("Callers", self.callers),
            cast("Coordinator", self.coordinator),
            cast("History", self.history),
            cast("CoinList", self.coin_list),
            cast("Metrics", self.metrics),
            self.streams,
            self.draining,
        )


async def nobody_waits() -> None:
    """What a desk says of itself at once when nobody waits."""
    await trio.lowlevel.checkpoint()
