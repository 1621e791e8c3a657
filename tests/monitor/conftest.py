"""A running app in the hands of a test: sample rows, its keys, its clock; nothing of the home folder is touched."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from textual._context import active_app
from textual.pilot import Pilot

from core.process import collect_garbage_seldom
from monitor.app import MonitorApp
from monitor.rows import (
    BatchRow,
    BudgetBox,
    CallerRow,
    CoinRow,
    EventRow,
    FlushedBatchRow,
    FlushRow,
    Header,
    InstanceRow,
    LatencyBox,
    SavingBox,
)
from monitor.screens.page import Page
from monitor.source import Hear, Said
from monitor.state import Connected, Heard, Lost
from monitor.widgets.drawn import Drawn
from monitor.widgets.live_table import LiveTable

T = TypeVar("T")

AT_MS = 45_382_104
QUIET_ROUNDS = 3
LINE = [2, 3, 5, 3, 2, 3, 3, 4, 6, 2, 1, 3]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="package", autouse=True)
def _garbage_is_collected_seldom() -> Iterator[None]:
    """As while the monitor runs: widgets are many small objects."""
    before = gc.get_threshold()
    collect_garbage_seldom()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's pilot sleeps until the process looks idle; here it waits until nothing is left to do."""
    for place in ("textual.app.wait_for_idle", "textual.pilot.wait_for_idle"):
        monkeypatch.setattr(place, settled)


async def settled(*_: float) -> None:
    """Wait until the running app and all widgets in sight have nothing left to do, and what they did made no more."""
    app = active_app.get()
    pilot = Pilot[None](app)
    quiet = 0
    while quiet < QUIET_ROUNDS:
        await pilot._wait_for_screen()
        app.screen._on_timer_update()  # as sixty times a second
        pumps = [app, *app.screen.walk_children(with_self=True)]
        quiet = 0 if any(pump.message_queue_size for pump in pumps) else quiet + 1


def batch(coin_id: str = "bitcoin", **changes: Any) -> BatchRow:
    row = BatchRow(
        key=f"1 {coin_id}", batch_id=f"b-{coin_id}", coin_id=coin_id, phase="open", waiting=2, size=2, threshold=3,
        oldest_s=3.1, flush_in_s=1.9, window_s=5.0, flusher="", flusher_is_well=True, trigger="", price="91204.11",
        vs_currency="usd", direction=1, price_age_s=6.2, per_minute=74, requests_line=LINE,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def coin(coin_id: str = "bitcoin", **changes: Any) -> CoinRow:
    row = CoinRow(coin_id=coin_id, per_minute=74, requests_line=LINE, waiting=2, batches=1, price="91204.11",
                  vs_currency="usd", direction=1, price_age_s=6.2)  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def caller(name: str = "user:anna", remaining: int = 12, **changes: Any) -> CallerRow:
    row = CallerRow(caller=name, limit=20, remaining=remaining, reset_s=31.0, refused=0)
    return msgspec.structs.replace(row, **changes)


def instance(name: str = "api-1", **changes: Any) -> InstanceRow:
    row = InstanceRow(
        name=name, condition="up", heard_s_ago=0.1, uptime_s=352_920.0, waiting=3, batches=2, requests=1523,
        answered=1500, failed=2, calls=58, lag_ms=2.1, memory_bytes=64_000_000, outbox=4, gaps=0,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def flush(key: str = "1", **changes: Any) -> FlushRow:
    row = FlushRow(
        key=key, at_ms=AT_MS, instance="api-2", trigger="window", coins=["bitcoin", "ethereum"], requests=31,
        open_ms=5003, claim_ms=1.4, upstream_ms=212.4, publish_ms=3.2, kept_after_ms=48, outcome="answered", reason="",
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def event(key: str = "1", **changes: Any) -> EventRow:
    row = EventRow(key=key, at_ms=AT_MS, instance="api-2", kind="flush", alarm=False,
                   text="flush window 14 coins 31 waiters 212 ms")  # fmt: skip
    return msgspec.structs.replace(row, **changes)


HEADER = Header(
    link="connected", lost_for_s=0.0, lost_reason="", instances_up=3, instances=3, uptime_s=352_920.0, window_s=5.0,
    threshold=3, ride_along=True, differing=False, gaps=0, unreadable=0, other_versions=0,
)  # fmt: skip


class Sample:
    """A picture that a test paints by hand."""

    def __init__(self) -> None:
        self.known = HEADER
        self.batch_rows: Sequence[BatchRow] = [batch(), batch("ethereum", waiting=1), batch("solana", waiting=0)]
        self.coin_rows: Sequence[CoinRow] = [coin(), coin("ethereum", per_minute=31)]
        self.caller_rows: Sequence[CallerRow] = [caller(), caller("user:bob", 2), caller("user:eve", 0, refused=7)]
        self.instance_rows: Sequence[InstanceRow] = [instance(), instance("api-2", waiting=9)]
        self.flush_rows: Sequence[FlushRow] = [flush("2", trigger="threshold"), flush("1")]
        self.event_rows: Sequence[EventRow] = [event("2", text="user:anna is over its limit", kind="limit"), event("1")]
        self.views = 0  # asked for batches, for tests

    def header(self) -> Header:
        return self.known

    def budget(self) -> BudgetBox:
        return BudgetBox(minute_calls=19, per_minute=30, month_calls=4812, per_month=10_000, month_projected=9700,
                         pace_s=259.0, lasts=True, call_in_s=1.5)  # fmt: skip

    def saving(self) -> SavingBox:
        return SavingBox(requests=1523, calls=58, reduction=0.962, per_call=26.3, calls_line=[1, 2, 1, 3] * 15)

    def latency(self) -> LatencyBox:
        return LatencyBox(wait_p50=2.5, wait_p95=4.7, wait_p99=5.0, upstream_p50=0.21, upstream_p95=0.48,
                          answers_line=[20, 30, 24, 41] * 15)  # fmt: skip

    def batches(self) -> Sequence[BatchRow]:
        self.views += 1
        return self.batch_rows

    def coins(self) -> Sequence[CoinRow]:
        return self.coin_rows

    def callers(self) -> Sequence[CallerRow]:
        return self.caller_rows

    def instances(self) -> Sequence[InstanceRow]:
        return self.instance_rows

    def flushes(self) -> Sequence[FlushRow]:
        return self.flush_rows

    def flushed_batches(self, key: str) -> Sequence[FlushedBatchRow]:
        return [
            FlushedBatchRow("bitcoin", "window", 20, 5003, ""),
            FlushedBatchRow("ethereum", "ride-along", 11, 900, ""),
        ]

    def events(self) -> Sequence[EventRow]:
        return self.event_rows


class Watching:
    """Knows what a test says that it knows."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.heard: list[Heard] = []
        self.forgotten = 0
        self.wants_snapshot = False

    def hear(self, heard: Heard, now_s: float) -> None:
        self.heard.append(heard)
        link = {Lost: "lost", Connected: "connected"}.get(type(heard), self.sample.known.link)
        self.sample.known = msgspec.structs.replace(self.sample.known, link=link, lost_reason="refused")

    def tick(self, now_s: float) -> bool:
        return self.wants_snapshot

    def forget(self) -> None:
        self.forgotten += 1

    def picture(self, now_s: float) -> Sample:
        """As it is now: what a test changes later is another picture."""
        picture = Sample()
        picture.__dict__ = self.sample.__dict__ | {"views": 0}
        return picture


class Quiet:
    """A source that tells nothing by itself."""

    def __init__(self) -> None:
        self.clock_s = 100.0
        self.asked = 0

    async def listen(self, hear: Hear) -> None:
        await asyncio.Event().wait()

    def ask_snapshot(self) -> None:
        self.asked += 1

    def now_s(self) -> float:
        return self.clock_s


class Replay(Quiet):
    """A source whose time is in the hands of whoever watches."""

    def __init__(self) -> None:
        super().__init__()
        self.position_s = 12.0
        self.duration_s = 180.0
        self.speed = 1.0
        self.paused = False
        self.done: list[str] = []

    def set_paused(self, *, paused: bool) -> None:
        self.paused = paused
        self.done.append(f"paused {paused}")

    def set_speed(self, speed: float) -> None:
        self.speed = speed

    def step(self, messages: int = 1) -> None:
        self.paused = True
        self.done.append(f"step {messages}")

    def seek(self, to_s: float) -> None:
        self.position_s = to_s
        self.done.append(f"seek {to_s:g}")


class Watched:
    """A running monitor, and what a test does with it."""

    def __init__(self, source: Quiet | None = None) -> None:
        self.sample = Sample()
        self.source = source or Quiet()
        self.watching = Watching(self.sample)
        self.app = MonitorApp(self.source, watching=self.watching)

    @asynccontextmanager
    async def running(self, size: tuple[int, int]) -> AsyncIterator["Watched"]:
        async with self.app.run_test(size=size) as self.pilot:
            await self.see()
            yield self

    async def see(self, *said: Said) -> None:
        """Hear, paint and settle."""
        for one in said:
            self.app.hear(one)
        await self.pilot.pause()
        self.app.paint()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    @property
    def page(self) -> Page:
        page = self.app._page
        assert page is not None
        return page

    @property
    def table(self) -> LiveTable[Any]:
        return self.page.table

    def line(self, widget_id: str) -> str:
        return self.page.query_one(f"#{widget_id}", Drawn).said.plain

    def keys_of_rows(self) -> list[str]:
        return [self.table.table.key(row) for row in self.table.shown]

    def selected(self) -> tuple[str, int]:
        """The key of the selected row, and the line of the screen it is on."""
        return self.table.table.key(self.table.selected), self.table.cursor - self.table.scroll_offset.y

    def picture(self) -> list[str]:
        """The screen as text."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        lines = ["".join(segment.text for segment in strip) for strip in strips]
        assert len(lines) == self.app.size.height
        return lines


def run_plain(story: Coroutine[object, object, T]) -> T:
    """On asyncio's own loop: where trio-asyncio was imported, `asyncio.run` takes another."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(story)


Story = Callable[[Watched], Awaitable[None]]


def watch(story: Story, *, size: tuple[int, int] = (80, 24), source: Quiet | None = None) -> None:
    """Run a story on a monitor."""

    async def main() -> None:
        async with Watched(source).running(size) as watched:
            await story(watched)

    run_plain(main())
