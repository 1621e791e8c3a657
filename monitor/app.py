"""The app: hears its source, keeps what it heard, and has the screen on top painted four times a second.

run(RedisSource("redis://127.0.0.1:6379"))
run(ReplaySource(Recording(path)))                  # with the keys for its time
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import msgspec
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.worker import WorkerCancelled

from core.process import collect_garbage_seldom
from monitor.remembered import Chosen, default_path, load, save
from monitor.screens.help import HelpScreen
from monitor.screens.keys import there
from monitor.screens.main import MainScreen
from monitor.screens.page import Page
from monitor.screens.pages import page_of
from monitor.screens.picture import Heading, Picture, StateWatching, Watching
from monitor.source import Controls, Note, Rewound, Said, Source
from monitor.state import Connected, Lost
from monitor.widgets.arrange import Sort

_PAINT_EVERY_S = 0.25
_IDLE_PAINT_EVERY_S = 1.0
_STEP_BACK_S = 0.25  # how often an instance speaks
_NOT_IN_PALETTE = ("app.command_palette",)  # it is open already


def run(source: Source) -> None:
    """Show what a source tells, until the user quits; exits with 1 where there is neither a terminal nor a page."""
    is_page = "TEXTUAL_DRIVER" in os.environ  # as `--web` starts it
    if not is_page and not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.exit("The monitor draws on a terminal, and this is none: run it in one.")
    collect_garbage_seldom()
    MonitorApp(source).run()


class MonitorApp(App[None], inherit_bindings=False):
    """What the source says, on screens; their desk."""

    CSS_PATH = "monitor.tcss"
    TITLE = "CryptoPulse"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("ctrl+p", "command_palette", show=False),
    ]

    def __init__(self, source: Source, *, watching: Watching | None = None, remember: bool = True) -> None:
        super().__init__()
        self.animation_level = "none"
        self._source = source
        self._controls = source if isinstance(source, Controls) else None
        self.places = frozenset({"replay"} if self._controls else ())
        self._watching = watching or StateWatching()
        self._path = default_path() if remember else None
        self._chosen = load(self._path) if self._path else Chosen()
        self._held: Picture | None = None  # what is shown while paused
        self._link: type[Said] | None = None
        self._heard_since_paint = True
        self._painted_s = 0.0

    def get_default_screen(self) -> Screen[None]:
        """The main one."""
        return MainScreen(self, self._chosen.tab)

    def on_mount(self) -> None:
        """Listen and paint until the app ends; a SIGTERM gives the terminal back as it was."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.run_worker(self._source.listen(self.hear))
        self.set_interval(_PAINT_EVERY_S, self._paint_if_needed)

    async def on_unmount(self) -> None:
        """Stop listening, and let the source close what it opened."""
        self.workers.cancel_all()
        with suppress(WorkerCancelled):
            await self.workers.wait_for_complete()

    def hear(self, said: Said) -> None:
        """Take in one thing; the next painting shows it, and the loss or return of Redis shows at once."""
        match said:
            case Note():
                self._note(said.text)
            case Rewound():
                self._watching.forget()
            case _:
                self._watching.hear(said, self._source.now_s())
        self._heard_since_paint = True
        if isinstance(said, Lost | Connected) and type(said) is not self._link:
            self._link = type(said)
            self.paint()

    def _note(self, text: str) -> None:
        if self._page is not None and self._page.is_mounted:
            self._page.say(text, well=False)

    # Painting

    def _paint_if_needed(self) -> None:
        """What did not change is not painted; the clock and a silence are looked at once a second all the same."""
        if self._watching.tick(self._source.now_s()):
            self._source.ask_snapshot()
        idle_s = time.monotonic() - self._painted_s
        if self._heard_since_paint or idle_s >= _IDLE_PAINT_EVERY_S or self._moves():
            self.paint()

    def _moves(self) -> bool:
        with suppress(NoMatches):
            return not self.paused and self._page is not None and self._page.moves
        return False

    def paint(self) -> None:
        """Show on the topmost page how things are now."""
        page = self._page
        if page is None or not self.is_running:
            return  # the widgets are not there yet, or no more
        self._heard_since_paint = False
        self._painted_s = time.monotonic()
        with suppress(NoMatches):  # the page is just being taken down, its widgets first
            page.paint()

    @property
    def _page(self) -> Page | None:
        """The page on top, below help and palette."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, Page)), None)

    # The desk

    def picture(self) -> Picture:
        """The one to show: while paused, that of the pause."""
        return self._held or self._live()

    def heading(self) -> Heading:
        """What to say at the top, also while paused."""
        replay = self._controls
        played = (replay.position_s, replay.duration_s) if replay else None
        return Heading(self._live().header(), self.paused, time.time_ns() // 1_000_000, played)

    def sort_of(self, table: str) -> Sort:
        """The order that was chosen for a table."""
        return self._chosen.sorts.get(table, Sort())

    def choose_sort(self, table: str, sort: Sort) -> None:
        """Remember an order."""
        self._remember(msgspec.structs.replace(self._chosen, sorts={**self._chosen.sorts, table: sort}))

    def choose_tab(self, tab: str) -> None:
        """Remember a tab."""
        self._remember(msgspec.structs.replace(self._chosen, tab=tab))

    def open(self, row: Any) -> None:
        """Show the page of this row."""
        page = page_of(self, row)
        if page is not None:
            self.push_screen(page)

    def _live(self) -> Picture:
        return self._watching.picture(self._source.now_s())

    def _remember(self, chosen: Chosen) -> None:
        self._chosen = chosen
        if self._path:
            save(self._path, chosen)

    # What keys do

    @property
    def paused(self) -> bool:
        """Whether the picture stands still."""
        return self._controls.paused if self._controls else self._held is not None

    def action_pause(self) -> None:
        """Hold the picture, or let it go on; a replay stands still itself."""
        if self._controls:
            self._controls.set_paused(paused=not self._controls.paused)
        else:
            self._held = None if self._held else self._live()
        self.paint()

    def action_step(self, messages: int) -> None:
        """Go through a replay by hand; it stands still from then on."""
        if self._controls is None:
            return
        if messages > 0:
            self._controls.step(messages)
        else:
            self._controls.set_paused(paused=True)
            self._controls.seek(self._controls.position_s + messages * _STEP_BACK_S)
        self.paint()

    def action_seek(self, by_s: int) -> None:
        """Go on or back in a replay."""
        if self._controls:
            self._controls.seek(self._controls.position_s + by_s)
            self.paint()

    def action_help(self) -> None:
        """Open the help, or close it."""
        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        elif isinstance(self.screen, Page):
            self.push_screen(HelpScreen(self.screen.places()))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: everything that keys do, and sorting by each column."""
        if not isinstance(screen, Page):
            return
        for key in there(screen.places()):
            if key.action not in _NOT_IN_PALETTE:
                yield SystemCommand(key.says, f"Key: {key.shown}", partial(self.run_action, key.action, screen))
        table = screen.table
        for column in table.table.columns:
            help_text = f"In the table of {table.table.title.lower()}"
            yield SystemCommand(f"Sort by {column.title}", help_text, partial(table.sort_by, Sort(column.title)))
