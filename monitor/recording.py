"""What the monitor hears, kept in a file, and played again.

    source = RecordedSource(RedisSource(url), Recorder(Path("evening.jsonl.gz")))
    source = ReplaySource(Recording(Path("evening.jsonl.gz")))

A line of JSON for each thing heard, after a header:

    {"format":"cryptopulse-recording","version":1,"began_at":"2026-11-22T17:07:49Z"}
    {"at_s":0.012,"connected":true}
    {"at_s":0.2,"message":{"version":1,"instance":"api-1",...}}
    {"at_s":9.5,"lost":"Connection refused"}

`at_s` counts from the beginning. A file whose name ends in .gz is compressed.
"""

import asyncio
import gzip
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, cast

import msgspec

from core.events import Message
from monitor.source import Hear, Note, Rewound, Said, Source
from monitor.state import Connected, Heard, Lost, Unreadable

_VERSION = 1
_FLUSH_EVERY_S = 1.0
_LONGEST_LINE = 16 * 2**20  # bytes; what instances send is far shorter, and memory is not to be had for the asking

SLOWEST, FASTEST = 0.1, 100.0


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: Literal["cryptopulse-recording"]
    version: int
    began_at: datetime


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every other line: a moment, and the one thing that was heard then."""

    at_s: float
    message: Message | None = None
    connected: bool = False
    lost: str | None = None
    unreadable: bool = False


def entry_of(at_s: float, heard: Heard) -> Entry:
    """The line for what was heard."""
    match heard:
        case Connected():
            return Entry(at_s, connected=True)
        case Lost(reason):
            return Entry(at_s, lost=reason)
        case Unreadable():
            return Entry(at_s, unreadable=True)
        case _:
            return Entry(at_s, message=heard)


def heard_of(entry: Entry) -> Heard:
    """What was heard, from its line."""
    if entry.message is not None:
        return entry.message
    if entry.lost is not None:
        return Lost(entry.lost)
    return Connected() if entry.connected else Unreadable()


class RecordingError(Exception):
    """No recording can be made or read; str() says why."""


class Recorder:
    """Writes a new file, and sees to it that all but the last second is there whatever happens to the monitor."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._began_s = self._flushed_s = clock()
        try:
            self._file = _created(path)
            self._put(Header("cryptopulse-recording", _VERSION, datetime.now(UTC)))
            self._file.flush()
        except OSError as error:
            raise RecordingError(f"{path} cannot be recorded to: {error.strerror}") from None

    def write(self, heard: Heard) -> None:
        """Add what was just heard; raises OSError when there is no room any more."""
        now_s = self._clock()
        self._put(entry_of(round(now_s - self._began_s, 3), heard))
        if now_s - self._flushed_s >= _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed_s = now_s

    def close(self) -> None:
        """End the file; what it has no room for is lost."""
        with suppress(OSError):
            self._file.close()

    def _put(self, line: Header | Entry) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")


class RecordedSource:
    """Another source, with all that it tells written down: also while the picture is paused."""

    def __init__(self, source: Source, recorder: Recorder) -> None:
        self._source = source
        self._recorder: Recorder | None = recorder

    def now_s(self) -> float:
        """The clock of the other source."""
        return self._source.now_s()

    def ask_snapshot(self) -> None:
        """Ask the other source."""
        self._source.ask_snapshot()

    async def listen(self, hear: Hear) -> None:
        """Tell all that the other source tells; a disk that is full ends the recording, not the monitor."""

        def hear_and_write(said: Said) -> None:
            hear(said)
            self._write(said, hear)

        try:
            await self._source.listen(hear_and_write)
        finally:
            self.close()

    def _write(self, said: Said, hear: Hear) -> None:
        if self._recorder is None or isinstance(said, Rewound | Note):
            return
        try:
            self._recorder.write(said)
        except OSError as error:
            hear(Note(f"Not recorded any more: {self._recorder.path}: {error.strerror}"))
            self.close()

    def close(self) -> None:
        """End the recording; the other source may go on."""
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = None


class Recording:
    """A file of what was heard, read as often as wanted; never wholly in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.duration_s = 0.0
        self.length = 0  # entries
        self.problem = ""  # why it ends before its file does
        try:
            with _opened(path) as file:
                self.began_at = _header_of(path, file).began_at
                self._measure(file)
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None

    def __iter__(self) -> Iterator[Entry]:
        """All that is whole, from the beginning."""
        with _opened(self._path) as file:
            file.readline()
            for _ in range(self.length):
                yield _decode_entry(file.readline())

    def _measure(self, file: IO[bytes]) -> None:
        try:
            while line := file.readline(_LONGEST_LINE):
                entry = _decode_entry(line)
                if entry.at_s < self.duration_s:
                    raise msgspec.DecodeError("time goes back")  # noqa: TRY301 - as any other line that is no good
                self.duration_s = entry.at_s
                self.length += 1
        except (msgspec.DecodeError, EOFError, OSError, zlib.error):
            self.problem = f"the file is cut or broken after line {self.length + 1}, at {self.duration_s:.1f} s"


class ReplaySource:
    """A recording, told as it was heard; with the `Controls` of time."""

    def __init__(
        self,
        recording: Recording,
        *,
        start_s: float = 0.0,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recording = recording
        self._clock = clock
        self._entries = iter(recording)
        self._next = next(self._entries, None)
        self._telling_s: float | None = None  # the moment of what is told just now
        self._from_s = min(max(start_s, 0.0), self.duration_s)  # where it was at `_since_s` of the clock
        self._since_s = clock()
        self._speed = speed
        self._paused = False
        self._hear: Hear | None = None
        self._changed = asyncio.Event()

    @property
    def position_s(self) -> float:
        """How far it has come; it stands still at the end."""
        if self._paused:
            return self._from_s
        return min(self._from_s + self._speed * (self._clock() - self._since_s), self.duration_s)

    @property
    def duration_s(self) -> float:
        """How far it goes."""
        return self._recording.duration_s

    @property
    def paused(self) -> bool:
        """Whether it stands still, for it was told to or has come to the end."""
        return self._paused or self.position_s >= self.duration_s

    @property
    def speed(self) -> float:
        """How many of its seconds go by in one."""
        return self._speed

    def now_s(self) -> float:
        """The moment that is shown, counted from the beginning."""
        return self.position_s if self._telling_s is None else self._telling_s

    def ask_snapshot(self) -> None:
        """Nobody is there to be asked."""

    def set_paused(self, *, paused: bool) -> None:
        """Stand still, or go on: from the end, to the beginning."""
        if not paused and self.position_s >= self.duration_s:
            self.seek(0.0)
        self._set(self.position_s, paused=paused)

    def set_speed(self, speed: float) -> None:
        """Go on this much faster than it was; between a tenth and a hundred."""
        position_s = self.position_s
        self._speed = min(max(speed, SLOWEST), FASTEST)
        self._set(position_s, paused=self._paused)

    def step(self, messages: int = 1) -> None:
        """Tell the next messages at once, and stand still at the last of them; what comes before them is told too."""
        self._set(self.position_s, paused=True)
        while messages > 0 and (entry := self._next) is not None:
            messages -= entry.message is not None
            self._from_s = entry.at_s
            self._tell_next(entry)

    def seek(self, to_s: float) -> None:
        """Go to this moment; back means that everything up to it is told anew, after Rewound."""
        to_s = min(max(to_s, 0.0), self.duration_s)
        if to_s < self.position_s:
            self._rewind()
        self._set(to_s, paused=self._paused)
        self._tell_until(to_s)

    async def listen(self, hear: Hear) -> None:
        """Tell each thing when its time comes, until cancelled."""
        self._hear = hear
        if self._recording.problem:
            hear(Note(f"This recording is not whole: {self._recording.problem}."))
        self._set(self._from_s, paused=self._paused)  # time goes by from now on
        while True:
            self._changed.clear()
            self._tell_until(self.position_s)
            # Not `wait_for`: Python 3.11's loses a cancel that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_in_s()):
                    await self._changed.wait()

    def _set(self, position_s: float, *, paused: bool) -> None:
        self._from_s, self._since_s, self._paused = position_s, self._clock(), paused
        self._changed.set()

    def _next_in_s(self) -> float | None:
        """When to look again, unless something changes; None: not by itself."""
        if self._paused or self._next is None:
            return None
        return max(0.0, self._next.at_s - self.position_s) / self._speed

    def _rewind(self) -> None:
        self._entries = iter(self._recording)
        self._next = next(self._entries, None)
        if self._hear is not None:
            self._hear(Rewound())

    def _tell_until(self, to_s: float) -> None:
        while self._hear is not None and (entry := self._next) is not None and entry.at_s <= to_s:
            self._tell_next(entry)

    def _tell_next(self, entry: Entry) -> None:
        self._next = next(self._entries, None)
        self._telling_s = entry.at_s
        try:
            if self._hear is not None:
                self._hear(heard_of(entry))
        finally:
            self._telling_s = None


_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_header = msgspec.json.Decoder(Header).decode


def _created(path: Path) -> IO[bytes]:
    """A new file: nobody's recording is written over."""
    return cast("IO[bytes]", gzip.open(path, "xb")) if path.suffix == ".gz" else path.open("xb")


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _header_of(path: Path, file: IO[bytes]) -> Header:
    try:
        header = _decode_header(file.readline(_LONGEST_LINE))
    except msgspec.DecodeError:
        raise RecordingError(f"{path} is no recording of this monitor") from None
    if header.version > _VERSION:
        raise RecordingError(f"{path} was made by a newer version of this monitor")
    return header
