import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
import structlog
import trio

from core.coingecko import CoinGecko, PermitLapsed
from core.coordinator import Coordinator
from core.errors import HistoryUnavailable, RedisUnavailable, UpstreamFailed, UpstreamLimited
from core.history import History
from core.keys import BUDGET
from core.ledger import Ledger
from core.month import month_of
from core.permits import DROPPED, PERMIT_S, Called, Permit, Unsure
from core.redis_link import RedisLink
from core.settings import Settings
from core.tally import Tally
from tests.core.model import settings_for_tests

NOON_MS = 1_772_280_000_000  # 2026-02-28T12:00Z
FEBRUARY_ENDS_MS = 1_772_323_200_000

GRANTED = Permit(NOON_MS, wait_ms=0, calls=40)


class FakeCoordinator(Coordinator):
    """Grants as it is told; `asked` are the times at which it was asked for permits."""

    def __init__(self) -> None:
        self.permits: Iterator[Permit] = iter(())
        self.asked: list[float] = []
        self.asked_for: set[tuple[str | None, int]] = set()
        self.restored: list[tuple[int, int]] = []
        self.corrected: list[tuple[int, int]] = []
        self.reported: list[Called] = []
        self.is_away = False
        self.counted = 0  # what Redis still knows

    async def permit(self, once: str | None = None, every_ms: int = 0) -> Permit:
        await trio.lowlevel.checkpoint()
        self.asked.append(trio.current_time())
        self.asked_for.add((once, every_ms))
        if self.is_away:
            raise RedisUnavailable
        return next(self.permits, GRANTED)

    async def report(self, called: Called, permit: Permit) -> None:
        await trio.lowlevel.checkpoint()
        self.reported.append(called)

    async def restore(self, until_ms: int, calls: int) -> int:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise RedisUnavailable
        self.restored.append((until_ms, calls))
        return max(calls, self.counted)

    async def correct(self, calls_then: int, reported: int) -> None:
        await trio.lowlevel.checkpoint()
        self.corrected.append((calls_then, reported))


class FakeHistory(History):
    def __init__(self) -> None:
        self.calls: dict[date, int] = {}
        self.is_away = False

    async def calls_in(self, month: date) -> int:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise HistoryUnavailable
        return self.calls[month]


class FakeCoinGecko(CoinGecko):
    def __init__(self) -> None:
        self._tells_usage = True
        self.failures: list[Exception] = []
        self.start_by: list[float] = []

    async def usage(self, *, start_by: float = float("inf")) -> int:
        await trio.lowlevel.checkpoint()
        self.start_by.append(start_by)
        if self.failures:
            raise self.failures.pop(0)
        return 55


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def coingecko() -> FakeCoinGecko:
    return FakeCoinGecko()


Made = Callable[..., Ledger]


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def made(coordinator: FakeCoordinator, history: FakeHistory, coingecko: FakeCoinGecko, tally: Tally) -> Made:
    def make(**changes: object) -> Ledger:
        settings: Settings = settings_for_tests(**{"upstream_calls_per_month": 1000} | changes)
        return Ledger(settings, coordinator, history, coingecko, tally)

    return make


async def run_for(ledger: Ledger, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await ledger.run()


async def test_a_count_that_redis_lost_is_restored_from_postgres(
    made: Made, coordinator: FakeCoordinator, history: FakeHistory
) -> None:
    history.calls[date(2026, 2, 1)] = 40
    await made().restore(NOON_MS, count_lost=True)
    assert coordinator.restored == [(FEBRUARY_ENDS_MS, 40)]


async def test_it_is_told_how_many_calls_the_month_had_also_where_only_redis_knows(
    made: Made, coordinator: FakeCoordinator
) -> None:
    coordinator.counted = 12
    with structlog.testing.capture_logs() as lines:
        await made(upstream_calls_per_month=None).restore(NOON_MS, count_lost=True)
    assert lines == [{"event": "budget restored", "log_level": "info", "calls": 12, "count_lost": True}]


async def test_a_month_begins_with_no_calls_and_needs_no_postgres(
    made: Made, coordinator: FakeCoordinator, history: FakeHistory
) -> None:
    history.is_away = True
    await made().restore(FEBRUARY_ENDS_MS - 1, count_lost=False)
    assert coordinator.restored == [(FEBRUARY_ENDS_MS, 0)]


async def test_without_a_monthly_budget_postgres_is_not_asked(
    made: Made, coordinator: FakeCoordinator, history: FakeHistory
) -> None:
    history.is_away = True
    await made(upstream_calls_per_month=None).restore(NOON_MS, count_lost=True)
    assert coordinator.restored == [(FEBRUARY_ENDS_MS, 0)]


async def test_while_postgres_is_away_a_lost_count_is_not_restored(
    made: Made, coordinator: FakeCoordinator, history: FakeHistory
) -> None:
    history.is_away = True
    with pytest.raises(HistoryUnavailable):
        await made().restore(NOON_MS, count_lost=True)
    assert coordinator.restored == []


async def test_a_redis_that_goes_away_meanwhile_is_said_so(made: Made, coordinator: FakeCoordinator) -> None:
    coordinator.is_away = True
    with pytest.raises(RedisUnavailable):
        await made().restore(NOON_MS, count_lost=False)


async def test_coingeckos_count_replaces_ours_every_ten_minutes(
    made: Made, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    await run_for(made(), 1801)
    assert [at - start for at in coordinator.asked] == [0, 600, 1200, 1800]
    assert coordinator.asked_for == {("key", 600_000)}
    assert coordinator.corrected == [(40, 55)] * 4
    assert coingecko.start_by == [at + PERMIT_S for at in coordinator.asked]


async def test_an_instance_without_a_permit_asks_again_when_it_was_told_to(
    made: Made, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    coordinator.permits = iter([Permit(NOON_MS, wait_ms=ms, calls=0) for ms in (1500, 90_000)])
    await run_for(made(), 92)
    assert [at - start for at in coordinator.asked] == [0, 1.5, 91.5]
    assert coordinator.corrected == [(40, 55)]


async def test_a_permit_that_is_weeks_away_is_asked_for_every_ten_minutes(
    made: Made, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    coordinator.permits = iter([Permit(NOON_MS, wait_ms=10**9, calls=0)])
    await run_for(made(), 601)
    assert [at - start for at in coordinator.asked] == [0, 600]


@pytest.mark.parametrize(("unsure", "calls"), [("lost", 40), ("new month", 0)])
async def test_a_budget_that_is_not_to_be_relied_on_is_restored_before_a_permit_is_taken(
    made: Made, coordinator: FakeCoordinator, history: FakeHistory, unsure: Unsure, calls: int
) -> None:
    history.calls[date(2026, 2, 1)] = 40
    coordinator.permits = iter([Permit(NOON_MS, unsure, calls=0)])
    assert await made().permit() == GRANTED
    assert coordinator.restored == [(FEBRUARY_ENDS_MS, calls)]


@pytest.mark.parametrize(
    ("failure", "called"),
    [
        (None, Called("answered")),
        (UpstreamFailed("x", billed=False), Called("failed", billed=False)),
        (UpstreamLimited("x", retry_after_s=7), Called("limited", wait_s=7, billed=False)),
        (PermitLapsed(), DROPPED),
    ],
)
async def test_all_instances_hear_what_a_call_says_of_the_next_one(
    made: Made, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, failure: Exception | None, called: Called
) -> None:
    coingecko.failures = [failure] if failure else []
    with suppress(UpstreamFailed, UpstreamLimited, PermitLapsed):
        await made().spend(GRANTED, coingecko.usage)
    assert coordinator.reported == [called]


async def test_of_a_call_that_was_cancelled_nothing_is_said(
    made: Made, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    """Least of all that it was answered: that would open a gate that is closed."""
    with trio.move_on_after(1):
        await made().spend(GRANTED, trio.sleep_forever)
    assert coordinator.reported == []


@pytest.mark.parametrize(("failure", "counted"), [(None, 1), (UpstreamFailed("x"), 1), (PermitLapsed(), 0)])
async def test_a_call_that_was_made_counts_for_the_minute_and_for_no_flush(
    made: Made, coingecko: FakeCoinGecko, tally: Tally, failure: Exception | None, counted: int
) -> None:
    coingecko.failures = [failure] if failure else []
    with suppress(UpstreamFailed, PermitLapsed):
        await made().spend(GRANTED, coingecko.usage)
    assert (tally.minute_calls(trio.current_time()), tally.totals.calls) == (counted, 0)


@pytest.mark.parametrize(
    "failure", [UpstreamFailed("x"), UpstreamLimited("x"), PermitLapsed(), RedisUnavailable()], ids=repr
)
async def test_a_correction_that_fails_is_logged_and_tried_again_at_the_next_round(
    made: Made,
    coordinator: FakeCoordinator,
    coingecko: FakeCoinGecko,
    failure: Exception,
    autojump_clock: trio.testing.MockClock,
) -> None:
    coingecko.failures = [failure]
    with structlog.testing.capture_logs() as logs:
        await run_for(made(), 601)
    assert coordinator.corrected == [(40, 55)]
    assert [log["log_level"] for log in logs] == ["warning", "info"]


async def test_a_redis_that_is_away_is_asked_again_at_the_next_round(
    made: Made, coordinator: FakeCoordinator, autojump_clock: trio.testing.MockClock
) -> None:
    coordinator.is_away = True
    with structlog.testing.capture_logs() as logs:
        await run_for(made(), 601)
    assert len(coordinator.asked) == 2
    assert [log["log_level"] for log in logs] == ["warning", "warning"]


@pytest.mark.parametrize(("tells", "changes"), [(False, {}), (True, {"upstream_calls_per_month": None})])
async def test_where_nothing_is_to_be_corrected_it_ends_at_once(
    made: Made, coordinator: FakeCoordinator, coingecko: FakeCoinGecko, tells: bool, changes: dict[str, Any]
) -> None:
    coingecko._tells_usage = tells
    with trio.fail_after(1):
        await made(**changes).run()
    assert coordinator.asked == []


async def test_on_a_real_redis_a_lost_count_is_restored_and_corrected_once_over_all_instances(
    link: RedisLink, history: FakeHistory, coingecko: FakeCoinGecko
) -> None:
    settings = settings_for_tests(upstream_calls_per_month=1000)
    coordinator = Coordinator(link, settings)
    instances = [Ledger(settings, coordinator, history, coingecko, Tally()) for _ in range(3)]
    now_ms = time.time_ns() // 1_000_000
    history.calls[month_of(now_ms)] = 40
    await instances[0].restore(now_ms, count_lost=True)
    assert await link.call("HGET", BUDGET, "calls") == b"40"
    async with trio.open_nursery() as nursery:
        for ledger in instances:
            nursery.start_soon(ledger._correct)
    assert len(coingecko.start_by) == 1
    assert await link.call("HGET", BUDGET, "calls") == b"55"
