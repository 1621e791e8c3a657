"""The app: what it hears, when it paints, a pause, a lost Redis, a replay."""

import asyncio
import os
import signal

import msgspec
import pytest

from core.events import VERSION, Message, Started
from monitor.app import MonitorApp
from monitor.screens.help import HelpScreen
from monitor.source import Hear, Note, Rewound
from monitor.state import Connected, Lost
from monitor.widgets.drawn import Drawn
from tests.monitor.conftest import Quiet, Replay, Watched, batch, run_plain, watch


def painted(watched: Watched) -> int:
    """Everything on the screen that was ever painted, but for the clock in the header."""
    drawn = sum(widget.painted for widget in watched.page.query(Drawn) if widget.id != "header")
    return drawn + watched.table.painted


def test_what_a_source_tells_is_on_the_screen() -> None:
    class Told(Quiet):
        async def listen(self, hear: Hear) -> None:
            hear(Connected())
            hear(Message(VERSION, "api-1", 1, 45_296_104, [Started(45_296_104)], 0))
            await asyncio.Event().wait()

    async def main() -> None:
        app = MonitorApp(Told())
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            app.paint()
            said = {widget.id: widget.said.plain for widget in app.screen.query(Drawn)}
            assert "● 1/1 up" in said["header"]
            assert "▶ LIVE" in said["header"]
            assert said["strip"] == "12:34:56.104   instance api-1       api-1 started"

    run_plain(main())


def test_a_lost_redis_shows_at_once_and_its_return_takes_the_banner_away() -> None:
    async def story(watched: Watched) -> None:
        banner = watched.page.drawn("banner")
        assert not banner.display
        watched.app.hear(Lost("refused"))
        await watched.pilot.pause()
        assert banner.display
        assert watched.line("banner") == "! Redis lost, retrying (0 s); what is shown is from before.  refused"
        assert "✗ LOST" in watched.line("header")
        assert watched.page.query_one("#body").has_class("stale")
        assert watched.keys_of_rows() == ["1 bitcoin", "1 ethereum", "1 solana"]
        watched.app.hear(Connected())
        await watched.pilot.pause()
        assert not banner.display
        assert "▶ LIVE" in watched.line("header")
        assert not watched.page.query_one("#body").has_class("stale")

    watch(story)


def test_keys_work_while_redis_is_lost() -> None:
    async def story(watched: Watched) -> None:
        await watched.see(Lost("refused"))
        await watched.press("down", "enter", "escape")
        assert watched.selected() == ("1 ethereum", 1)
        await watched.press("q")
        assert watched.app._exit

    watch(story)


def test_a_page_shows_the_loss_too() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("enter")
        await watched.see(Lost("refused"))
        assert watched.page.drawn("banner").display

    watch(story)


def test_a_pause_holds_the_picture_and_loses_nothing() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("space")
        watched.sample.batch_rows = [batch("cardano")]
        await watched.see(Connected())
        assert "‖ PAUSED" in watched.line("header")
        assert watched.keys_of_rows() == ["1 bitcoin", "1 ethereum", "1 solana"]
        await watched.press("2", "1", "enter", "escape", "down", "s")
        assert watched.keys_of_rows() == ["1 bitcoin", "1 ethereum", "1 solana"]
        assert watched.watching.heard == [Connected()]
        await watched.press("space")
        assert "▶ LIVE" in watched.line("header")
        assert watched.keys_of_rows() == ["1 cardano"]

    watch(story)


def test_a_loss_during_a_pause_is_told() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("space")
        await watched.see(Lost("refused"))
        assert watched.page.drawn("banner").display
        assert "‖ PAUSED" in watched.line("header")

    watch(story)


def test_the_screen_goes_on_below_the_help() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("question_mark")
        watched.sample.batch_rows = [batch("cardano")]
        await watched.see()
        assert watched.keys_of_rows() == ["1 cardano"]
        await watched.press("question_mark")
        assert not isinstance(watched.app.screen, HelpScreen)

    watch(story)


def test_nothing_is_painted_when_nothing_changed() -> None:
    async def story(watched: Watched) -> None:
        before = painted(watched)
        await watched.see(*[Connected()] * 5)
        await watched.see()
        assert painted(watched) == before

    watch(story)


def test_without_news_and_countdowns_the_picture_is_looked_at_once_a_second_only() -> None:
    async def story(watched: Watched) -> None:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1

        watched.sample.batch_rows = []
        await watched.see()
        watched.app.paint = look  # type: ignore[method-assign]
        for _ in range(20):
            watched.app._paint_if_needed()
        assert looks == 0
        watched.app._painted_s -= 1.0
        watched.app._paint_if_needed()
        assert looks == 1
        watched.app._heard_since_paint = True
        watched.app._paint_if_needed()
        assert looks == 2

    watch(story)


def test_countdowns_go_on_without_news() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = [batch(oldest_s=4.4)]
        watched.app._paint_if_needed()
        await watched.pilot.pause()
        assert any("4.4s" in line for line in watched.picture())

    watch(story)


def test_whole_snapshots_are_asked_for_when_messages_were_lost() -> None:
    async def story(watched: Watched) -> None:
        watched.app._paint_if_needed()
        assert watched.source.asked == 0
        watched.watching.wants_snapshot = True
        watched.app._paint_if_needed()
        assert watched.source.asked > 0

    watch(story)


def test_a_note_of_the_source_is_told_below() -> None:
    async def story(watched: Watched) -> None:
        await watched.see(Note("Not recorded any more: the disk is \x1b[31mfull"))
        assert watched.line("keys") == "! Not recorded any more: the disk is ?[31mfull"

    watch(story)


def test_a_recording_that_is_rewound_begins_anew() -> None:
    async def story(watched: Watched) -> None:
        await watched.see(Rewound())
        assert (watched.watching.forgotten, watched.watching.heard) == (1, [])

    watch(story)


def test_a_replay_says_where_it_is_and_stands_still_itself() -> None:
    async def story(watched: Watched) -> None:
        assert "» REPLAY  12s of 3m00s" in watched.line("header")
        await watched.press("space")
        assert "‖ PAUSED  12s of 3m00s" in watched.line("header")
        watched.sample.batch_rows = [batch("cardano")]
        await watched.press("full_stop")
        assert watched.keys_of_rows() == ["1 cardano"]
        await watched.press("space")
        assert "» REPLAY" in watched.line("header")

    watch(story, source=Replay(), size=(120, 30))


def test_a_header_that_has_faults_to_tell_drops_other_things_first() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.known = msgspec.structs.replace(
            watched.sample.known, instances_up=1, gaps=3, unreadable=2, differing=True, other_versions=1
        )
        await watched.see()
        header = watched.line("header")
        assert "○ 1/3 up  ! settings differ  ! 3 lost  ! 2 unreadable" in header
        assert "▶ LIVE" in header

    watch(story, size=(100, 30))


def test_a_terminate_signal_ends_it_as_quit_does() -> None:
    async def story(watched: Watched) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await watched.pilot.pause(0.1)
        assert watched.app._exit

    watch(story)


@pytest.mark.parametrize("keys", [["1"], ["2"], ["enter"], ["question_mark"], ["slash", "a"]])
def test_without_colours_the_same_is_said(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    async def story(watched: Watched) -> None:
        await watched.press(*keys)
        await watched.see()
        seen.append(watched.picture()[1:])
        assert watched.app.no_color == (len(seen) == 2)

    watch(story)
    monkeypatch.setenv("NO_COLOR", "1")
    watch(story)
    assert seen[0] == seen[1]
