import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from textual.widgets import Static

from core.events import Snapshot
from monitor.app import MonitorApp
from monitor.help import HelpScreen
from monitor.live_table import LiveTable
from monitor.source import Hear
from monitor.state import Connected, Heard, Lost
from tests.monitor.samples import batch, caller, flushed, snapshot

COINS = [f"coin-{number:02}" for number in range(20)]


class Script:
    """A source that tells what a test gives it."""

    def __init__(self, heard: tuple[Heard, ...]) -> None:
        self._heard = heard

    async def listen(self, hear: Hear) -> None:
        for one in self._heard:
            hear(one)
        await asyncio.Event().wait()


class Watched:
    """A running monitor, its keys and its clock in the hands of a test."""

    def __init__(self, *heard: Heard) -> None:
        self.now_s = 100.0
        self.app = MonitorApp(Script(heard), clock=lambda: self.now_s)

    @asynccontextmanager
    async def running(self, size: tuple[int, int]) -> AsyncIterator["Watched"]:
        async with self.app.run_test(size=size) as self.pilot:
            await self.see()
            yield self

    async def see(self, *heard: Heard) -> None:
        """Hear, paint and settle."""
        await self.pilot.pause()
        for one in heard:
            self.app.hear(one)
        self.app.paint()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    def line(self, widget_id: str) -> str:
        return str(self.app.screen_stack[0].query_one(f"#{widget_id}", Static).content)

    def table(self, widget_id: str) -> LiveTable:
        return self.app.screen_stack[0].query_one(f"#{widget_id}", LiveTable)

    def column(self, widget_id: str, title: str) -> list[str]:
        return [cell.plain for cell in self.table(widget_id).get_column(title)]

    def rows(self, widget_id: str) -> list[str]:
        return [str(row.key.value) for row in self.table(widget_id).ordered_rows]

    def selected(self) -> tuple[str, int]:
        """The selected batch, and the line of the screen it is on."""
        table = self.table("batches")
        return self.rows("batches")[table.cursor_row], table.cursor_row - table.scroll_offset.y


def watch(story: Callable[[Watched], Awaitable[None]], *heard: Heard, size: tuple[int, int] = (80, 24)) -> None:
    async def main() -> None:
        async with Watched(*heard).running(size) as watched:
            await story(watched)

    asyncio.run(main())


def with_batches(coins: list[str], waiting: int = 1) -> Snapshot:
    return snapshot("api-1", *(batch(coin, waiting=waiting) for coin in coins))


def test_what_the_source_tells_is_on_the_screen() -> None:
    async def story(watched: Watched) -> None:
        await watched.see()
        assert watched.column("batches", "COIN") == ["bitcoin"]
        assert watched.column("callers", "CALLER") == ["  user:anna"]
        assert watched.column("instances", "STATE") == ["● up"]
        assert watched.column("flushes", "TRIGGER") == ["window"]
        assert "reduction ━━━━━━╌╌ 75.0%" in watched.line("saving")
        assert watched.line("triggers").startswith("flushes 1  threshold 0  window 1")
        assert watched.line("budget").startswith(
            "next call in 1.5 s  a minute 30  this month 4,812/10,000  at this pace"
        )
        assert "▶ LIVE  ● 1/1 up" in watched.line("header")

    told = snapshot("api-1", batch("bitcoin"), callers=(caller("user:anna"),), calls=1, answered=4)
    watch(story, Connected(), told, flushed())


def test_a_lost_redis_shows_a_banner_and_a_return_takes_it_away() -> None:
    async def story(watched: Watched) -> None:
        banner = watched.app.query_one("#banner")
        assert not banner.display
        watched.app.hear(Lost("refused"))
        assert banner.display
        assert watched.line("banner") == "! Redis lost - retrying (0 s)  refused"
        assert "✗ LOST" in watched.line("header")
        assert watched.app.query_one("#body").has_class("stale")
        await watched.see()
        watched.app.hear(Connected())
        assert not banner.display
        assert not watched.app.query_one("#body").has_class("stale")

    watch(story, Connected(), with_batches(["bitcoin"]))


def test_keys_work_while_redis_is_lost() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("space")
        assert "‖ PAUSED" in watched.line("header")
        await watched.press("down")
        assert watched.selected() == ("1 solana", 1)
        await watched.press("q")
        assert watched.app._exit

    watch(story, with_batches(["bitcoin", "solana"]), Lost("refused"))


def test_a_pause_holds_the_picture_and_loses_nothing() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("space")
        await watched.see(with_batches(["bitcoin", "solana"]))
        assert "‖ PAUSED" in watched.line("header")
        assert watched.rows("batches") == ["1 bitcoin"]
        await watched.press("space")
        assert "▶ LIVE" in watched.line("header")
        assert watched.rows("batches") == ["1 bitcoin", "1 solana"]

    watch(story, Connected(), with_batches(["bitcoin"]))


def test_a_loss_during_a_pause_is_told() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("space")
        await watched.see(Lost("refused"))
        assert watched.app.query_one("#banner").display

    watch(story, Connected())


def test_help_opens_and_closes_by_its_key_and_the_screen_goes_on_below() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("question_mark")
        assert isinstance(watched.app.screen, HelpScreen)
        await watched.see(with_batches(["bitcoin"]))
        assert watched.rows("batches") == ["1 bitcoin"]
        await watched.press("question_mark")
        assert not isinstance(watched.app.screen, HelpScreen)

    watch(story)


def test_quit_works_from_the_help_too() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("question_mark", "q")
        assert watched.app._exit

    watch(story)


def test_a_change_touches_only_its_cell() -> None:
    async def story(watched: Watched) -> None:
        table = watched.table("batches")
        before = {title: table.get_cell("1 bitcoin", title) for title in ("COIN", "WAITING", "STATE")}
        await watched.see(with_batches(["bitcoin", "solana"], waiting=2))
        assert table.get_cell("1 bitcoin", "COIN") is before["COIN"]
        assert table.get_cell("1 bitcoin", "STATE") is before["STATE"]
        assert table.get_cell("1 bitcoin", "WAITING").plain == "2/3"

    watch(story, with_batches(["bitcoin", "solana"]))


@pytest.mark.parametrize("change", [["aaa", *COINS], COINS[3:], ["aaa", *COINS[1:]]])
def test_the_selection_stays_on_its_coin_and_its_line_when_other_rows_come_and_go(change: list[str]) -> None:
    async def story(watched: Watched) -> None:
        await watched.press(*["down"] * 8)
        selected = watched.selected()
        assert selected[0] == "1 coin-08"
        await watched.see(with_batches(change))
        await watched.pilot.pause()
        assert watched.selected() == selected

    watch(story, with_batches(COINS))


def test_the_top_of_a_list_shows_what_is_newest() -> None:
    async def story(watched: Watched) -> None:
        await watched.see(flushed("solana"))
        assert watched.rows("flushes") == ["2", "1"]
        assert watched.table("flushes").cursor_row == 0

    watch(story, flushed("bitcoin"))


def test_rows_follow_the_order_of_their_numbers() -> None:
    async def story(watched: Watched) -> None:
        await watched.see(snapshot(callers=(caller("a", 9), caller("b", 1))))
        assert watched.rows("callers") == ["b", "a"]

    watch(story, snapshot(callers=(caller("a", 3), caller("b", 5))))


def test_the_rows_of_an_instance_that_falls_silent_go() -> None:
    async def story(watched: Watched) -> None:
        watched.now_s += 3.1
        await watched.see()
        assert watched.rows("batches") == []
        assert watched.column("instances", "STATE") == ["○ silent"]

    watch(story, with_batches(["bitcoin"]))


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 60)])
def test_nothing_overlaps_and_every_band_is_on_the_screen(size: tuple[int, int]) -> None:
    async def story(watched: Watched) -> None:
        watched.app.hear(Lost("refused"))
        await watched.pilot.pause()
        bands = ("header", "banner", "saving", "budget", "triggers", "batches", "middle", "flushes")
        regions = [watched.app.query_one(f"#{band}").region for band in bands]
        ends = [region.bottom for region in regions]
        assert [region.y for region in regions] == [0, *ends[:-1]]
        assert ends[-1] == size[1] - 1
        assert all(region.width == size[0] for region in regions)

    watch(story, with_batches(COINS), size=size)


def test_the_batches_fit_into_eighty_columns() -> None:
    async def story(watched: Watched) -> None:
        await watched.see()
        assert watched.table("batches").virtual_size.width <= 79

    watch(story, snapshot("instance-12", batch("bitcoin", state="claimed", flushing=True)))
