"""What Prometheus is told. Everything is counted elsewhere; here it is read, when somebody asks.

    metrics = Metrics(settings, coordinator, link, desk, callers, tally, lag, streams)
    text = await metrics.scrape()

An instance tells what it did itself. What all instances share, the outbox and the month's calls, is read from Redis, so
that each of them tells the same; while Redis is away it is left out. docs/metrics.md has every name.
"""

import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import accumulate
from typing import Any

import msgspec
import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from core.callers import Callers
from core.coordinator import Coordinator, Outbox, Outlook
from core.counts import Histogram
from core.errors import RedisUnavailable
from core.lag import Lag
from core.month import projected
from core.price_desk import PriceDesk
from core.redis_link import RedisLink
from core.settings import Settings
from core.streams import Streams
from core.tally import Tally

# All else is told without Redis, well before Prometheus gives up.
_PATIENCE_S = 1.0


class _Shared(msgspec.Struct, frozen=True):
    """What all instances share."""

    outlook: Outlook
    outbox: Outbox


class Metrics(Collector):
    """Reads all parts of the instance."""

    def __init__(
        self,
        settings: Settings,
        coordinator: Coordinator,
        link: RedisLink,
        desk: PriceDesk,
        callers: Callers,
        tally: Tally,
        lag: Lag,
        streams: Streams,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._link = link
        self._desk = desk
        self._callers = callers
        self._tally = tally
        self._lag = lag
        self._streams = streams
        self._shared: _Shared | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, source: Collector) -> None:
        """Tell also what this one reads."""
        self._registry.register(source)

    async def scrape(self) -> bytes:
        """Write everything as Prometheus reads it; waits for Redis, 1 s at most."""
        self._shared = await self._read_shared()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Read everything; what is shared as it was last seen."""
        build = (version("cryptopulse"), platform.python_version())
        yield _gauge("build_info", "This program.", {build: 1}, "version", "python")
        yield from self._requests()
        yield from self._calls()
        yield from self._parts()
        if self._shared is not None:
            yield from _of_outbox(self._shared)
            yield from self._of_budget(self._shared.outlook)

    def _requests(self) -> Iterator[Metric]:
        totals, counts = self._tally.totals, self._tally.counts
        yield _counter("price_requests", "Requests admitted, each coin of one counted.", totals.requests)
        outcomes = {"answered": totals.answered, "failed": totals.failed}
        yield _counter("price_answers", "What became of them.", outcomes, "outcome")
        yield _histogram("wait_seconds", "From admission to a price.", counts.waits)
        yield _gauge("waiting", "Requests that wait here now.", self._desk.waiting)
        yield _gauge("waiting_limit", "MAX_WAITING.", self._settings.max_waiting)
        yield _gauge("streams", "Streams of live prices that are open now.", self._streams.count)
        refused = self._callers.refused
        yield _counter("limited", "Requests refused since the caller was over its limit.", refused, "limit")

    def _calls(self) -> Iterator[Metric]:
        totals, counts = self._tally.totals, self._tally.counts
        yield _counter("batches_opened", "Batches that requests here opened.", totals.opened)
        yield _counter("batches", "Batches settled from here.", counts.batches, "trigger")
        yield _counter("takeovers", "Batches claimed from an instance that fell silent.", counts.takeovers)
        yield _counter("fenced_results", "Results refused, since another instance had taken over.", counts.fenced)
        yield _counter("flushes", "Flushes that ended.", counts.flushes, "outcome")
        yield _counter("upstream_calls", "Calls to CoinGecko that ended.", counts.calls, "purpose", "outcome")
        minute_calls = self._tally.minute_calls(trio.current_time())
        yield _gauge("minute_calls", "Calls to CoinGecko that began here within 60 s.", minute_calls)
        if (per_minute := self._settings.upstream_calls_per_minute) is not None:
            yield _gauge("minute_calls_limit", "UPSTREAM_CALLS_PER_MINUTE.", per_minute)
        yield _histogram("upstream_call_seconds", "How long calls for prices took.", counts.call_durations)
        yield _histogram("upstream_call_coins", "How many coins calls for prices asked for.", counts.coins_a_call)

    def _parts(self) -> Iterator[Metric]:
        yield _counter("redis_commands", "Commands sent on the hot connection.", self._link.commands)
        yield _gauge("redis_up", "Whether that connection is up.", self._link.is_up)
        yield _gauge("draining", "Whether this instance is shutting down.", self._desk.is_draining)
        yield _histogram("event_loop_lag_seconds", "How late the event loop woke.", self._lag.seen)

    def _of_budget(self, outlook: Outlook) -> Iterator[Metric]:
        if isinstance(outlook.call_in_ms, str):
            return  # the count is not known, or is the last month's
        yield _gauge("next_call_seconds", "Until the next call may be made.", outlook.call_in_ms / 1000)
        yield _gauge("month_calls", "Calls of this month.", outlook.calls)
        end = projected(outlook.calls, outlook.now_ms)
        yield _gauge("month_calls_projected", "Calls at the month's end, if it goes on like this.", end)
        if (per_month := self._settings.upstream_calls_per_month) is not None:
            yield _gauge("month_calls_limit", "UPSTREAM_CALLS_PER_MONTH.", per_month)
            yield _gauge("month_calls_left", "What is left of it.", max(0, per_month - outlook.calls))

    async def _read_shared(self) -> _Shared | None:
        with trio.move_on_after(_PATIENCE_S), suppress(RedisUnavailable):
            outbox = await self._coordinator.outbox()
            return _Shared(await self._coordinator.outlook(), outbox)
        return None


def _of_outbox(shared: _Shared) -> Iterator[Metric]:
    outbox, now_ms = shared.outbox, shared.outlook.now_ms
    age_ms = 0 if outbox.oldest_ms is None else max(0, now_ms - outbox.oldest_ms)
    yield _gauge("outbox_prices", "Prices that Postgres does not have yet.", outbox.depth)
    yield _gauge("outbox_oldest_seconds", "How long the oldest of them waits.", age_ms / 1000)
    yield _gauge("outbox_refused", "Entries that Postgres will never take, put aside.", outbox.refused)


# One number, or one for each value of the label, or for each tuple of values of the labels.
_Values = float | Mapping[Any, float]


def _counter(name: str, meaning: str, values: _Values, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"cryptopulse_{name}", meaning, labels=labels), values)


def _gauge(name: str, meaning: str, values: _Values, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"cryptopulse_{name}", meaning, labels=labels), values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: _Values) -> Metric:
    for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric((labels,) if isinstance(labels, str) else labels, value)
    return family


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"cryptopulse_{name}", meaning, labels=())
    bounds = [*map(str, histogram.bounds), "+Inf"]
    family.add_metric((), list(zip(bounds, accumulate(histogram.places), strict=True)), histogram.total)
    return family
