"""The monitor as it looks, at moments of the recording that ships and in trouble: text in pictures/, compared exactly.

`PICTURES=write pytest tests/monitor/test_pictures.py` writes the pictures anew.
"""

import difflib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from core.events import HISTOGRAM_MS, Bucket, BudgetView
from monitor.app import MonitorApp
from monitor.once import screen_of
from monitor.recording import Recording, ReplaySource
from monitor.source import Hear, Source
from monitor.state import Connected, Heard, Lost
from tests.monitor.conftest import Quiet, run_plain
from tests.monitor.samples import AT_MS, batch, caller, claimed, coin, flushed, limited, message, snapshot

PICTURES = Path(__file__).parent / "pictures"
DEMO = Path(__file__).parents[2] / "monitor" / "demo.jsonl.gz"
NORMAL_S = 20.0
CRASHED_S = 29.8  # one of two instances was killed shortly before
SMALL, USUAL, LARGE = (80, 24), (100, 30), (120, 40)
HOW = "PICTURES=write pytest tests/monitor/test_pictures.py"


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time_ns=lambda: AT_MS * 1_000_000, monotonic=time.monotonic)
    monkeypatch.setattr("monitor.app.time", clock)


class Told(Quiet):
    """A live source that tells these things at once, each at its moment; then its time stands still."""

    def __init__(self, *heard: tuple[float, Heard], now_s: float = 0.0) -> None:
        super().__init__()
        self.heard = heard
        self.end_s = self.clock_s = now_s

    async def listen(self, hear: Hear) -> None:
        for at_s, heard in self.heard:
            self.clock_s = at_s
            hear(heard)
        self.clock_s = self.end_s
        await super().listen(hear)


def demo(at_s: float) -> Source:
    """The recording that ships, played up to this moment."""
    return ReplaySource(Recording(DEMO), start_s=at_s, clock=lambda: 0.0)


def busy(requests: int, calls: int, wait_ms: int) -> dict[str, Any]:
    """Five minutes of this in every bucket, each request waiting this long."""
    waits = tuple(60 * requests if wait_ms == most else 0 for most in (*HISTOGRAM_MS, 0))
    upstream = tuple(60 * calls if most == 200 else 0 for most in (*HISTOGRAM_MS, 0))
    return {"buckets": (Bucket(requests, requests, 0, calls),) * 60, "waits": waits, "upstream": upstream}


def nothing_heard() -> Source:
    return Told()


def nobody_there() -> Source:
    return Told((0.0, Connected()))


def disconnected() -> Source:
    """Redis went away 12 s ago, in the midst of work."""
    views = (batch("bitcoin", waiting=2, size=2), batch("ethereum", oldest_ms=800, flush_in_ms=4200))
    coins = (coin("bitcoin"), coin("ethereum", price="3012.5", before="3020"))
    counted = busy(requests=2, calls=1, wait_ms=2000)
    said = snapshot(*views, coins=coins, callers=(caller(),), requests=120, calls=60, answered=117, **counted)
    return Told(
        (0.0, Connected()),
        (0.1, message("api-1", said, claimed("solana"), flushed("solana"), number=1)),
        (0.3, Lost("Error 111 connecting to redis:6379. Connection refused.")),
        now_s=12.3,
    )


def overloaded() -> Source:
    """Forty batches are overdue at two instances, no calls are left this minute, and a caller sends too much."""
    names = [f"coin-{nth:02}" for nth in range(1, 41)]
    late = [
        batch(name, size=3 + nth, waiting=3 + nth, oldest_ms=6000 + 700 * nth, flush_in_ms=-1000 - 700 * nth)
        for nth, name in enumerate(names)
    ]
    prices = tuple(coin(name, requests=[20 + nth] * 12) for nth, name in enumerate(names))
    used_up = BudgetView(
        per_minute=30, per_month=10_000, call_in_ms=14_000, month_calls=9950, month_projected=31_000, minute_calls=15
    )
    callers = (caller("user:anna", remaining=0), caller("user:bob", remaining=2))
    said = snapshot(
        *late, coins=prices, callers=callers, requests=52_000, calls=640, answered=48_000, failed=3100, budget=used_up,
        **busy(requests=700, calls=2, wait_ms=10_000),
    )  # fmt: skip
    tried = claimed(*names[:3], trigger="threshold")
    failed = flushed(*names[:3], trigger="threshold", outcome="failed", reason="CoinGecko answered 429")
    failed = replace(failed, batches=[replace(one, failure="upstream_limited") for one in failed.batches])
    return Told(
        (0.0, Connected()),
        (0.1, message("api-1", said, tried, failed, number=1)),
        (0.2, message("api-2", said, limited("user:anna", times=250), number=1)),
        now_s=0.3,
    )


async def shown(source: Source, size: tuple[int, int], keys: str) -> str:
    """The screen after these keys, when all was told and painted."""
    app = MonitorApp(source, remember=False)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()  # a source tells all it has in one go
        for key in ["", *keys.split()]:
            await pilot.press(*filter(None, [key]))
            await pilot.pause()
            app.paint()
            await pilot.pause()
        return screen_of(app, colours=False) + "\n"


def assert_looks_like(name: str, source: Source, size: tuple[int, int], keys: str = "") -> None:
    path = PICTURES / f"{name}.txt"
    now = run_plain(shown(source, size, keys))
    if os.environ.get("PICTURES") == "write":
        path.write_text(now, encoding="utf-8")
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    if now != stored:
        diff = difflib.unified_diff(stored.splitlines(), now.splitlines(), f"pictures/{name}.txt", "now", lineterm="")
        pytest.fail("\n".join([*diff, "", f"If it is to look so: {HOW}"]), pytrace=False)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_operator_sees_at_a_glance_that_all_is_well(size: tuple[int, int]) -> None:
    assert_looks_like(f"normal-{size[0]}x{size[1]}", demo(NORMAL_S), size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_operator_sees_that_an_instance_crashed(size: tuple[int, int]) -> None:
    assert_looks_like(f"crashed-{size[0]}x{size[1]}", demo(CRASHED_S), size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_operator_sees_that_the_picture_is_old_while_redis_is_away(size: tuple[int, int]) -> None:
    assert_looks_like(f"disconnected-{size[0]}x{size[1]}", disconnected(), size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_operator_sees_that_more_is_asked_than_can_be_answered(size: tuple[int, int]) -> None:
    assert_looks_like(f"overloaded-{size[0]}x{size[1]}", overloaded(), size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_before_anything_is_heard_every_box_is_empty(size: tuple[int, int]) -> None:
    assert_looks_like(f"empty-{size[0]}x{size[1]}", nothing_heard(), size)


@pytest.mark.parametrize(
    ("tab", "name"), [("2", "coins"), ("3", "limits"), ("4", "instances"), ("5", "flushes"), ("6", "events")]
)
def test_each_tab_tells_its_part_of_a_usual_moment_and_says_when_it_has_none(tab: str, name: str) -> None:
    assert_looks_like(f"normal-{name}", demo(NORMAL_S), USUAL, tab)
    assert_looks_like(f"empty-{name}", nobody_there(), USUAL, tab)


@pytest.mark.parametrize(("tab", "name"), [("4", "instances"), ("6", "events")])
def test_who_crashed_and_when_is_on_the_tabs_of_instances_and_events(tab: str, name: str) -> None:
    assert_looks_like(f"crashed-{name}", demo(CRASHED_S), USUAL, tab)


def test_who_sent_too_much_is_on_the_tab_of_limits() -> None:
    assert_looks_like("overloaded-limits", overloaded(), USUAL, "3")


def test_a_coin_has_a_page_of_its_own() -> None:
    assert_looks_like("normal-coin-page", demo(NORMAL_S), USUAL, "2 enter")


def test_the_anatomy_of_a_flush_says_how_long_each_step_took() -> None:
    assert_looks_like("normal-flush-anatomy", demo(NORMAL_S), USUAL, "5 enter")


def test_the_anatomy_of_a_failed_flush_says_why() -> None:
    assert_looks_like("overloaded-flush-anatomy", overloaded(), USUAL, "5 enter")


def test_the_help_names_every_key() -> None:
    assert_looks_like("help", demo(NORMAL_S), USUAL, "question_mark")
    assert_looks_like("help-live", nobody_there(), USUAL, "question_mark")
