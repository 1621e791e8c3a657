from collections.abc import Callable

import pytest
import structlog
import trio

from core.coin_list import CoinList
from core.coingecko import CoinGecko, PermitLapsed
from core.coordinator import Coordinator
from core.errors import (
    CryptoPulseError,
    OverBudget,
    RedisUnavailable,
    ResultTimeout,
    UpstreamFailed,
    UpstreamLimited,
)
from core.history import History
from core.ledger import Ledger
from core.permits import PERMIT_S, Called, Permit
from core.redis_link import RedisLink
from core.tally import Tally
from tests.core.model import settings_for_tests

HOUR_S = 3600
PATIENCE_S = 8  # the result timeout
LIST_S = 10  # what a call for the list may take


class FakeCoordinator(Coordinator):
    """A Redis with the list in it, and permits as it is told."""

    def __init__(self) -> None:
        self.next_at = 0.0  # when the next permit may be had
        self.permits_taken = 0
        self.reported: list[Called] = []
        self.body: bytes | None = None
        self.ends_at = 0.0
        self.is_away = False

    async def kept_coin_list(self) -> bytes | None:
        await self._answer()
        return self.body if trio.current_time() < self.ends_at else None

    async def keep_coin_list(self, body: bytes, ttl_ms: int) -> None:
        await self._answer()
        self.body, self.ends_at = body, trio.current_time() + ttl_ms / 1000

    async def permit(self, once: str | None = None, every_ms: int = 0) -> Permit:
        await self._answer()
        wait_s = self.next_at - trio.current_time()
        if wait_s > 0:
            return Permit(0, wait_ms=round(wait_s * 1000), calls=0)
        self.permits_taken += 1
        return Permit(0, wait_ms=0, calls=0)

    async def report(self, called: Called, permit: Permit) -> None:
        await self._answer()
        self.reported.append(called)

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise RedisUnavailable


class FakeCoinGecko(CoinGecko):
    """Gives list after list, each after some seconds."""

    def __init__(self) -> None:
        self.calls = 0
        self.takes_s = 1.0
        self.start_by = 0.0
        self.failure: Exception | None = None

    async def coin_list(self, *, start_by: float = float("inf")) -> bytes:
        self.calls += 1
        self.start_by = start_by
        await trio.sleep(self.takes_s)
        if self.failure:
            raise self.failure
        return b"list %d" % self.calls


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def coingecko() -> FakeCoinGecko:
    return FakeCoinGecko()


Instance = Callable[[], CoinList]


@pytest.fixture
def instance(coordinator: FakeCoordinator, coingecko: FakeCoinGecko, nursery: trio.Nursery) -> Instance:
    settings, no_history = settings_for_tests(), History.__new__(History)

    def start() -> CoinList:
        ledger = Ledger(settings, coordinator, no_history, coingecko, Tally())
        coin_list = CoinList(settings, coordinator, ledger, coingecko)
        nursery.start_soon(coin_list.run)
        return coin_list

    return start


@pytest.fixture
def coin_list(instance: Instance) -> CoinList:
    return instance()


async def outcomes_of(*waiting: CoinList) -> list[bytes | type[CryptoPulseError]]:
    """What each gets that asks at the same moment."""
    outcomes: list[bytes | type[CryptoPulseError]] = []

    async def ask(coin_list: CoinList) -> None:
        try:
            outcomes.append(await coin_list.get())
        except CryptoPulseError as error:
            outcomes.append(type(error))

    async with trio.open_nursery() as nursery:
        for each in waiting:
            nursery.start_soon(ask, each)
    return outcomes


async def test_the_list_is_kept_for_an_hour(
    coin_list: CoinList, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    assert await coin_list.get() == b"list 1"
    coordinator.body = None
    await trio.sleep(HOUR_S - 0.001)
    assert await coin_list.get() == b"list 1"
    await trio.sleep(0.001)
    assert await coin_list.get() == b"list 2"


async def test_a_call_leaves_within_its_permit(
    coin_list: CoinList, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    asked_at = trio.current_time()
    await coin_list.get()
    assert coingecko.start_by == asked_at + PERMIT_S


async def test_all_who_ask_meanwhile_share_one_call(
    coin_list: CoinList, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    assert await outcomes_of(*[coin_list] * 20) == [b"list 1"] * 20
    assert coingecko.calls == 1


async def test_another_instance_finds_it_in_redis_for_an_hour(
    instance: Instance, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    await instance().get()
    await trio.sleep(HOUR_S - 0.001)
    assert await instance().get() == b"list 1"
    await trio.sleep(0.001)
    assert await instance().get() == b"list 2"
    assert coordinator.permits_taken == 2


async def test_who_leaves_wastes_no_call(
    coin_list: CoinList, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(0.5):
        await coin_list.get()
    assert await coin_list.get() == b"list 1"
    assert coingecko.calls == 1


async def test_where_no_call_may_be_made_yet_it_waits_for_the_permit(
    coin_list: CoinList, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    coordinator.next_at = start + PATIENCE_S
    assert await coin_list.get() == b"list 1"
    assert trio.current_time() == start + PATIENCE_S + 1


async def test_where_a_call_may_be_made_too_late_it_says_so_at_once(
    coin_list: CoinList, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    coordinator.next_at = start + PATIENCE_S + 0.001
    with pytest.raises(OverBudget) as caught:
        await coin_list.get()
    assert caught.value.retry_after_s == 3  # from then on the permit is near enough
    assert trio.current_time() == start


async def test_who_waits_for_a_permit_takes_what_another_instance_got_meanwhile(
    coin_list: CoinList, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    coordinator.next_at = trio.current_time() + 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(coordinator.keep_coin_list, b"another's", 60_000)
        assert await coin_list.get() == b"another's"
    assert (coingecko.calls, coordinator.permits_taken) == (0, 0)


async def test_the_longest_wait_is_for_the_permit_and_the_call(
    coin_list: CoinList, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    coingecko.takes_s = 10_000
    assert await outcomes_of(*[coin_list] * 3) == [ResultTimeout] * 3
    assert trio.current_time() == start + PATIENCE_S + LIST_S


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (UpstreamFailed("x"), UpstreamFailed),
        (UpstreamLimited("x"), UpstreamLimited),
        (PermitLapsed(), UpstreamFailed),
    ],
    ids=repr,
)
async def test_a_call_that_fails_fails_for_all_who_waited_and_for_the_next_seconds(
    coin_list: CoinList,
    coingecko: FakeCoinGecko,
    failure: Exception,
    seen: type[CryptoPulseError],
    autojump_clock: trio.testing.MockClock,
) -> None:
    coingecko.failure = failure
    with structlog.testing.capture_logs() as logs:
        assert await outcomes_of(*[coin_list] * 20) == [seen] * 20
        await trio.sleep(4.999)
        assert await outcomes_of(coin_list) == [seen]
    assert (coingecko.calls, [log["log_level"] for log in logs]) == (1, ["warning"])
    coingecko.failure = None
    await trio.sleep(0.001)
    assert await coin_list.get() == b"list 2"


async def test_coingecko_is_left_alone_for_as_long_as_it_says(
    coin_list: CoinList, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    coingecko.failure = UpstreamLimited("x", retry_after_s=60)
    assert await outcomes_of(coin_list) == [UpstreamLimited]
    coingecko.failure = None
    await trio.sleep(59.999)
    assert await outcomes_of(coin_list) == [UpstreamLimited]
    await trio.sleep(0.001)
    assert await outcomes_of(coin_list) == [b"list 2"]


async def test_while_coingecko_fails_another_instances_list_is_taken_at_once(
    coin_list: CoinList, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    coingecko.failure = UpstreamFailed("x")
    assert await outcomes_of(coin_list) == [UpstreamFailed]
    await coordinator.keep_coin_list(b"another's", 60_000)
    assert await coin_list.get() == b"another's"


@pytest.mark.parametrize("trouble", ["coingecko fails", "coingecko hangs", "no permit", "no redis"])
async def test_a_list_of_the_last_day_is_better_than_an_error(
    coin_list: CoinList,
    coordinator: FakeCoordinator,
    coingecko: FakeCoinGecko,
    trouble: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    await coin_list.get()
    got_at = trio.current_time()
    match trouble:
        case "coingecko fails":
            coingecko.failure = UpstreamFailed("x")
        case "coingecko hangs":
            coingecko.takes_s = 10_000
        case "no permit":
            coordinator.next_at = got_at + 10**6
        case "no redis":
            coordinator.is_away = True
    await trio.sleep(HOUR_S)
    assert await coin_list.get() == b"list 1"
    await trio.sleep(got_at + 24 * HOUR_S - trio.current_time())
    assert await outcomes_of(coin_list) != [b"list 1"]


async def test_a_redis_that_goes_away_during_the_call_spoils_nothing(
    coin_list: CoinList, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    async def go_away() -> None:
        await trio.sleep(0.5)
        coordinator.is_away = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_away)
        assert await coin_list.get() == b"list 1"
    assert await coin_list.get() == b"list 1"


async def test_on_a_real_redis_instances_share_the_list(
    link: RedisLink, coingecko: FakeCoinGecko, nursery: trio.Nursery
) -> None:
    coingecko.takes_s = 0
    settings = settings_for_tests()
    coordinator = Coordinator(link, settings)
    ledger = Ledger(settings, coordinator, History.__new__(History), coingecko, Tally())
    for _ in range(3):
        coin_list = CoinList(settings, coordinator, ledger, coingecko)
        nursery.start_soon(coin_list.run)
        assert await coin_list.get() == b"list 1"
