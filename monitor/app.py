"""The screen: hears its source, and paints what the state says four times a second."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import WorkerCancelled

from monitor import lines, tables
from monitor.help import HelpScreen
from monitor.live_table import LiveTable
from monitor.source import RedisSource, Source
from monitor.state import Heard, State, apply

_PAINT_EVERY_S = 0.25


def run(redis_url: str) -> None:
    """Watch the instances that share this Redis, until the user quits; exits with 1 where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.exit("The monitor draws on a terminal, and this is none: run it in one.")
    MonitorApp(RedisSource(redis_url)).run()


class MonitorApp(App[None]):
    """What the source says, on one screen."""

    CSS_PATH = "monitor.tcss"
    TITLE = "CryptoPulse"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        ("space", "pause", "pause"),
        ("question_mark", "help", "help"),
    ]

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.state = State()
        self.paused = False
        self._source = source
        self._clock = clock

    def compose(self) -> ComposeResult:
        """Header and banner, the saving, three bands of tables, the keys."""
        yield Static(id="header")
        yield Static(id="banner")
        with Container(id="body"):
            yield Static(id="saving")
            yield Static(id="budget")
            yield Static(id="triggers")
            yield LiveTable("Batches", tables.BATCHES, widget_id="batches")
            with Horizontal(id="middle"):
                yield LiveTable("Rate limits", tables.CALLERS, widget_id="callers")
                yield LiveTable("Instances", tables.INSTANCES, widget_id="instances")
            yield LiveTable("Flushes", tables.FLUSHES, widget_id="flushes")
        yield Footer()

    def on_mount(self) -> None:
        """Listen and paint until the app ends; a SIGTERM gives the terminal back as it was."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.run_worker(self._source.listen(self.hear))
        self.set_interval(_PAINT_EVERY_S, self.paint)
        self.call_later(self.paint)

    async def on_unmount(self) -> None:
        """Stop listening, and let the source close what it opened."""
        self.workers.cancel_all()
        with suppress(WorkerCancelled):
            await self.workers.wait_for_complete()

    def hear(self, heard: Heard) -> None:
        """Take in one thing; the next painting shows it, and the loss or return of Redis shows at once."""
        link = self.state.link
        self.state = apply(self.state, heard, self._clock())
        if self.state.link != link:
            self.paint()

    def paint(self) -> None:
        """Show the state as it is now; while paused, only what is above the body."""
        if not self.is_running:
            return  # the widgets are not there yet, or no more
        now_s = self._clock()
        self._say("#header", lines.header(self.state, now_s, paused=self.paused))
        self._say("#banner", lines.banner(self.state, now_s))
        self._main.query_one("#banner").display = self.state.link == "lost"
        self._main.query_one("#body").set_class(self.state.link == "lost", "stale")
        if not self.paused:
            self._paint_body(now_s)

    def _paint_body(self, now_s: float) -> None:
        self._say("#saving", lines.saving(self.state))
        self._say("#budget", lines.budget(self.state))
        self._say("#triggers", lines.triggers(self.state))
        self._table("#batches").show(tables.batch_rows(self.state, now_s))
        self._table("#callers").show(tables.caller_rows(self.state, now_s))
        self._table("#instances").show(tables.instance_rows(self.state, now_s))
        self._table("#flushes").show(tables.flush_rows(self.state))

    def action_pause(self) -> None:
        """Hold the picture, or let it go on."""
        self.paused = not self.paused
        self.paint()

    def action_help(self) -> None:
        """Open the help."""
        self.push_screen(HelpScreen())

    def _say(self, selector: str, text: Text) -> None:
        widget = self._main.query_one(selector, Static)
        if widget.content != text:
            widget.update(text)

    def _table(self, selector: str) -> LiveTable:
        return self._main.query_one(selector, LiveTable)

    @property
    def _main(self) -> Screen[None]:
        """The screen below the help."""
        return self.screen_stack[0]
