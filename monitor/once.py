"""One look, for scripts and for pasting: the main screen as text, or everything as JSON.

picture = asyncio.run(look(RedisSource(url)))       # or look_back(Recording(path), at_s)
print(asyncio.run(as_text(picture, colours=False)), as_json(picture))
"""

import asyncio
import io
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

import msgspec
from rich.console import Console

from monitor import views
from monitor.app import MonitorApp
from monitor.recording import Entry, Recording, ReplaySource, entry_of, heard_of
from monitor.rows import (
    BatchRow,
    BudgetBox,
    CallerRow,
    CoinRow,
    EventRow,
    FlushRow,
    Header,
    InstanceRow,
    LatencyBox,
    SavingBox,
)
from monitor.source import Hear, Note, Rewound, Said, Source
from monitor.state import State, apply, tick

VERSION = 1
COLUMNS, LINES = 100, 40
_PATIENCE_S = 2.0
_SETTLED_AFTER_S = 0.6  # every instance that is watched speaks twice in it


class NobodyAnswers(Exception):
    """There is nothing to show; str() says whether Redis or every instance is silent."""


class Picture(msgspec.Struct, frozen=True):
    """What is known at one moment, and a source that tells it again."""

    source: Source
    state: State
    now_s: float


class Report(msgspec.Struct, frozen=True):
    """What `--once --json` prints. Names stay; new ones may come."""

    version: int
    at_ms: int
    header: Header
    budget: BudgetBox
    saving: SavingBox
    latency: LatencyBox
    batches: list[BatchRow]
    coins: list[CoinRow]
    callers: list[CallerRow]
    instances: list[InstanceRow]
    flushes: list[FlushRow]
    events: list[EventRow]


async def look(source: Source) -> Picture:
    """Listen until every instance that answers has told how it stands, 2 s at most; or raise NobodyAnswers."""
    entries: list[Entry] = []
    state = State()
    whole = asyncio.Event()

    def hear(said: Said) -> None:
        nonlocal state
        if isinstance(said, Rewound | Note):
            return
        entries.append(entry_of(source.now_s(), said))
        state = apply(state, said, source.now_s())
        if state.wants_snapshot:
            source.ask_snapshot()
        if _is_whole(state, entries):
            whole.set()

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(source.listen(hear))
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await whole.wait()
        listening.cancel()
    return _picture(_Still(entries, source.now_s()), state, source.now_s())


def look_back(recording: Recording, at_s: float | None = None) -> Picture:
    """The picture at a moment of a recording, or at its end; or raise NobodyAnswers."""
    now_s = recording.duration_s if at_s is None else min(max(at_s, 0.0), recording.duration_s)
    state = State()
    for entry in takewhile(lambda entry: entry.at_s <= now_s, recording):
        state = apply(state, heard_of(entry), entry.at_s)
    source = ReplaySource(recording, start_s=now_s)
    source.set_paused(paused=True)
    return _picture(source, tick(state, now_s), now_s)


def as_json(picture: Picture) -> str:
    """Everything that the screens show, as one line."""
    state, now_s = picture.state, picture.now_s
    report = Report(
        version=VERSION,
        at_ms=views.wall_ms(state, now_s),
        header=views.header(state, now_s),
        budget=views.budget(state, now_s),
        saving=views.saving(state, now_s),
        latency=views.latency(state, now_s),
        batches=views.batches(state, now_s),
        coins=views.coins(state, now_s),
        callers=views.callers(state, now_s),
        instances=views.instances(state, now_s),
        flushes=views.flushes(state),
        events=views.events(state),
    )
    return msgspec.json.encode(report).decode()


async def as_text(picture: Picture, *, colours: bool, size: tuple[int, int] = (COLUMNS, LINES)) -> str:
    """The main screen, line by line."""
    app = MonitorApp(picture.source, remember=False)  # scripts always see the same
    async with app.run_test(size=size) as pilot:
        await pilot.pause()  # a picture's source tells all at once
        app.paint()
        await pilot.pause()
        return screen_of(app, colours=colours)


def screen_of(app: MonitorApp, *, colours: bool) -> str:
    """What is on an app's screen, as text."""
    width, height = app.size
    paper = io.StringIO()
    console = Console(file=paper, width=width, height=height, force_terminal=colours, no_color=not colours)
    # As Textual's own screenshots do it: nothing public gives the screen as text.
    console.print(app.screen._compositor.render_update(full=True))  # noqa: SLF001
    return "\n".join(line.rstrip() for line in paper.getvalue().splitlines()).rstrip()


def _is_whole(state: State, entries: list[Entry]) -> bool:
    first_s = next((entry.at_s for entry in entries if entry.message is not None), None)
    return first_s is not None and entries[-1].at_s - first_s >= _SETTLED_AFTER_S and not state.wants_snapshot


def _picture(source: Source, state: State, now_s: float) -> Picture:
    if state.instances:
        return Picture(source, state, now_s)
    if state.link == "lost":
        raise NobodyAnswers(f"Redis cannot be heard: {state.lost_reason}")
    raise NobodyAnswers("Redis answers, but no instance does" if state.link == "connected" else "Nothing is heard")


class _Still:
    """A source whose time stands still after all of it was told."""

    def __init__(self, entries: Sequence[Entry], end_s: float) -> None:
        self._entries = entries
        self._now_s = self._end_s = end_s

    def now_s(self) -> float:
        return self._now_s

    def ask_snapshot(self) -> None:
        return

    async def listen(self, hear: Hear) -> None:
        for entry in self._entries:
            self._now_s = entry.at_s
            hear(heard_of(entry))
        self._now_s = self._end_s
        await asyncio.Event().wait()
