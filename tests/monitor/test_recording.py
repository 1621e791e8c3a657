"""What is recorded replays to the same state; whatever becomes of the file, what is whole of it plays."""

import asyncio
import errno
import gzip
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import VERSION, Event, Limited, Message, Started, Stopped
from monitor.recording import (
    Entry,
    RecordedSource,
    Recorder,
    Recording,
    RecordingError,
    ReplaySource,
    entry_of,
    heard_of,
)
from monitor.source import Controls, Hear, Note, Rewound, Said, Source
from monitor.state import Connected, Heard, Lost, State, Unreadable, apply
from tests.monitor.conftest import run_plain

T = TypeVar("T")

BROKEN = b'{"at_s":\xff\n'
AT = [0.0, 0.5, 1.0, 1.5]  # when the four messages of `four` come


def message(number: int = 0, *events: Event, instance: str = "api-1") -> Message:
    return Message(VERSION, instance, number, 1_700_000_000_000, list(events), 0)


FOUR: list[Heard] = [message(number) for number in range(4)]

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, st.integers(0, 2**53)),
    st.builds(Stopped, st.integers(0, 2**53)),
    st.builds(Limited, st.integers(0, 2**53), st.text(), st.integers(1, 99), st.integers(0, 99)),
)
heards: st.SearchStrategy[Heard] = st.one_of(
    st.just(Connected()),
    st.just(Unreadable()),
    st.builds(Lost, st.text()),
    st.builds(
        lambda instance, number, said: message(number, *said, instance=instance),
        st.sampled_from(["api-1", "api-2", "\x1b[2J"]),
        st.integers(0, 9),
        st.lists(events, max_size=3),
    ),
)
stories = st.lists(st.tuples(st.integers(0, 3000).map(lambda ms: ms / 1000), heards), max_size=12)


class Clock:
    """Time in the hands of a test."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def write(path: Path, story: list[tuple[float, Heard]]) -> Path:
    """A recording of these things, each so long after the one before."""
    clock = Clock()
    recorder = Recorder(path, clock)
    for after_s, heard in story:
        clock.now_s += after_s
        recorder.write(heard)
    recorder.close()
    return path


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Four messages, half a second between them."""
    return write(tmp_path / "four.jsonl", list(zip([0.0, 0.5, 0.5, 0.5], FOUR, strict=True)))


class Watcher:
    """Hears a source as the monitor does."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.state = State()
        self.said: list[Said] = []

    def hear(self, said: Said) -> None:
        self.said.append(said)
        match said:
            case Rewound():
                self.state = State()
            case Note():
                pass
            case _:
                self.state = apply(self.state, said, self.source.now_s())

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in self.said if isinstance(one, Message)]


def replay(
    path: Path, story: Callable[[ReplaySource, Watcher, Clock], Awaitable[None] | None], start_s: float = 0.0
) -> Watcher:
    """Play a recording, with a clock that only the story moves."""

    async def main() -> Watcher:
        clock = Clock()
        source = ReplaySource(Recording(path), start_s=start_s, clock=clock)
        watcher = Watcher(source)
        task = asyncio.create_task(source.listen(watcher.hear))
        await asyncio.sleep(0)
        if told := story(source, watcher, clock):
            await told
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return watcher

    return run_plain(main())


def look(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
    """Only look."""


class Script:
    """A source that tells what it is given."""

    def __init__(self, *said: Said) -> None:
        self._said = said
        self.asked = 0

    def now_s(self) -> float:
        return 7.0

    def ask_snapshot(self) -> None:
        self.asked += 1

    async def listen(self, hear: Hear) -> None:
        for one in self._said:
            hear(one)
        await asyncio.sleep(0)


@given(stories)
def test_what_was_heard_is_written_and_read_alike(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[float, Heard]]
) -> None:
    path = write(tmp_path_factory.mktemp("recording") / "all.jsonl.gz", story)
    recording = Recording(path)
    assert [heard_of(entry) for entry in recording] == [heard for _, heard in story]
    assert recording.duration_s == pytest.approx(sum(after_s for after_s, _ in story), abs=0.001 * len(story) + 0.001)
    assert recording.problem == ""


@given(stories)
def test_a_replay_comes_to_the_state_that_was_watched(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[float, Heard]]
) -> None:
    path = write(tmp_path_factory.mktemp("recording") / "all.jsonl", story)
    recording = Recording(path)
    watched = State()
    for entry in recording:
        watched = apply(watched, heard_of(entry), entry.at_s)
    assert replay(path, look, start_s=recording.duration_s).state == watched


@given(stories, st.lists(st.floats(-1, 40), max_size=5))
def test_wherever_one_has_been_a_moment_shows_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[float, Heard]], moments: list[float]
) -> None:
    path = write(tmp_path_factory.mktemp("recording") / "all.jsonl", story)

    def wander(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        for moment_s in moments:
            source.seek(moment_s)

    wandered = replay(path, wander)
    last_s = moments[-1] if moments else 0.0
    assert wandered.state == replay(path, look, start_s=last_s).state


@given(stories, st.data())
def test_a_file_that_was_cut_anywhere_plays_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[float, Heard]], data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("recording") / "all.jsonl", story)
    whole, header = path.read_bytes(), len(path.read_bytes().splitlines(keepends=True)[0])
    cut = data.draw(st.integers(header, len(whole)))
    path.write_bytes(whole[:cut])
    recording = Recording(path)
    ends = [number for number, byte in enumerate(whole) if byte == ord("\n")]
    at_most = sum(end <= cut for end in ends) - 1  # a last line that lacks only its end is whole
    assert [heard_of(entry) for entry in recording] == [heard for _, heard in story[:at_most]]
    assert bool(recording.problem) == (cut not in {len(whole), *ends, *(end + 1 for end in ends)})


def test_a_compressed_file_of_a_killed_monitor_plays_up_to_its_last_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "killed.jsonl.gz", Clock()
    recorder = Recorder(path, clock)
    for heard in FOUR:
        clock.now_s += 0.6
        recorder.write(heard)
    killed = tmp_path / "copy.jsonl.gz"
    killed.write_bytes(path.read_bytes())
    recorder.close()
    assert [heard_of(entry) for entry in Recording(killed)] == FOUR[:4]
    assert "the file is cut or broken" in Recording(killed).problem


@pytest.mark.parametrize("line", [BROKEN, b"{}\n", b'{"at_s":0.1,"connected":true}\n', b"\n"])
def test_a_broken_line_ends_the_recording_and_is_told(four: Path, line: bytes) -> None:
    header, *lines = four.read_bytes().splitlines(keepends=True)
    four.write_bytes(b"".join([header, *lines[:3], line, *lines[3:]]))
    watcher = replay(four, look, start_s=9.0)
    assert watcher.numbers == [0, 1, 2]
    assert watcher.said[0] == Note("This recording is not whole: the file is cut or broken after line 4, at 1.0 s.")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "is no recording of this monitor"),
        (b"CryptoPulse\n", "is no recording of this monitor"),
        (b'{"format":"cryptopulse-recording","version":2,"began_at":"2026-11-22T17:07:49Z"}\n', "a newer version"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_the_reason(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "some.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=why):
        Recording(path)


def test_a_name_in_gz_that_is_not_compressed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.jsonl.gz").write_bytes(b"{}\n")
    with pytest.raises(RecordingError, match="cannot be read: Not a gzipped file"):
        Recording(tmp_path / "some.jsonl.gz")


def test_nobodys_recording_is_written_over(four: Path) -> None:
    before = four.read_bytes()
    with pytest.raises(RecordingError, match="cannot be recorded to: File exists"):
        Recorder(four)
    assert four.read_bytes() == before


def test_a_compressed_recording_is_one_that_gzip_can_read(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl.gz", [(0.0, Connected())])
    [_, line] = gzip.decompress(path.read_bytes()).splitlines()
    assert msgspec.json.decode(line) == {"at_s": 0.0, "connected": True}


def test_all_that_a_source_tells_is_told_on_and_written(tmp_path: Path) -> None:
    path, script = tmp_path / "all.jsonl", Script(Connected(), Note("not of Redis"), FOUR[0])
    recorded = RecordedSource(script, Recorder(path))
    told: list[Said] = []
    run_plain(recorded.listen(told.append))
    recorded.ask_snapshot()
    assert told == [Connected(), Note("not of Redis"), FOUR[0]]
    assert [heard_of(entry) for entry in Recording(path)] == [Connected(), FOUR[0]]
    assert (script.asked, recorded.now_s()) == (1, 7.0)


def test_a_full_disk_ends_the_recording_with_a_word_and_not_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "all.jsonl")

    def refuse(_: Heard) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder, "write", refuse)
    told: list[Said] = []
    run_plain(RecordedSource(Script(*FOUR), recorder).listen(told.append))
    note = Note(f"Not recorded any more: {tmp_path / 'all.jsonl'}: No space left on device")
    assert told == [FOUR[0], note, *FOUR[1:]]


def test_a_disk_that_is_really_full_is_told_at_the_start() -> None:
    with pytest.raises(RecordingError, match="/dev/full cannot be recorded to"):
        Recorder(Path("/dev/full"))


def test_each_message_comes_at_its_time(four: Path) -> None:
    async def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        seen = []
        for now_s in (0.0, 0.4, 0.5, 1.6):
            clock.now_s = now_s
            source.set_speed(1.0)  # the clock of a test wakes nobody
            await asyncio.sleep(0.01)
            seen.append((watcher.numbers, source.position_s))
        assert seen == [([0], 0.0), ([0], 0.4), ([0, 1], 0.5), ([0, 1, 2, 3], 1.5)]
        assert source.paused

    replay(four, story)


def test_time_of_a_replay_really_goes_by(four: Path) -> None:
    async def main() -> list[int]:
        source = ReplaySource(Recording(four), speed=10)
        watcher = Watcher(source)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await source.listen(watcher.hear)
        return watcher.numbers

    assert run_plain(main()) == [0, 1, 2, 3]


def test_a_replay_has_the_controls_of_time(four: Path) -> None:
    source = ReplaySource(Recording(four))
    assert isinstance(source, Controls)
    assert source.duration_s == 1.5


def test_a_pause_stands_still_and_goes_on_from_there(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        clock.now_s = 0.3
        source.set_paused(paused=True)
        clock.now_s = 60.0
        assert (source.paused, source.position_s) == (True, 0.3)
        source.set_paused(paused=False)
        clock.now_s = 60.2
        assert (source.paused, round(source.position_s, 3)) == (False, 0.5)

    replay(four, story)


def test_twice_the_speed_is_half_the_time(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        clock.now_s = 0.25
        source.set_speed(2)
        clock.now_s = 0.5
        assert (source.speed, source.position_s) == (2, 0.75)
        source.set_speed(1000)
        assert source.speed == 100

    replay(four, story)


def test_steps_tell_so_many_messages_and_stand_still(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        source.step()
        assert (watcher.numbers, source.position_s, source.paused) == ([0, 1], 0.5, True)
        source.step(2)
        assert (watcher.numbers, source.position_s) == ([0, 1, 2, 3], 1.5)
        source.step()
        assert (watcher.numbers, source.position_s) == ([0, 1, 2, 3], 1.5)

    replay(four, story)


def test_a_step_takes_along_what_else_was_heard_before_the_message(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [(0.1, Connected()), (0.1, Lost("gone")), (0.1, FOUR[0]), (0.1, FOUR[1])])

    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        source.step()
        assert watcher.said == [Connected(), Lost("gone"), FOUR[0]]

    replay(path, story)


def test_going_back_tells_everything_up_to_there_anew(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        source.seek(1.2)
        assert watcher.said == FOUR[:3]
        source.seek(0.6)
        assert watcher.said == [*FOUR[:3], Rewound(), *FOUR[:2]]
        assert source.position_s == 0.6

    replay(four, story)


def test_nothing_is_beyond_the_end_nor_before_the_beginning(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        source.seek(99)
        assert (source.position_s, watcher.numbers) == (1.5, [0, 1, 2, 3])
        source.seek(-1)
        assert (source.position_s, watcher.said[4:]) == (0.0, [Rewound(), FOUR[0]])

    replay(four, story)


def test_going_on_from_the_end_starts_over(four: Path) -> None:
    def story(source: ReplaySource, watcher: Watcher, clock: Clock) -> None:
        source.set_paused(paused=False)
        assert (watcher.said[4:], source.position_s, source.paused) == ([Rewound(), FOUR[0]], 0.0, False)

    replay(four, story, start_s=2.0)


def test_each_thing_is_told_at_the_moment_it_was_heard(four: Path) -> None:
    source = ReplaySource(Recording(four), start_s=1.5)
    moments: list[float] = []

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await source.listen(lambda _: moments.append(source.now_s()))

    run_plain(main())
    assert (moments, source.now_s()) == (AT, 1.5)


def test_an_entry_says_what_was_heard() -> None:
    said: Iterator[Heard] = iter([Connected(), Unreadable(), Lost("gone"), Lost(""), FOUR[0]])
    for heard in said:
        line = msgspec.json.encode(entry_of(1.0, heard))
        assert heard_of(msgspec.json.decode(line, type=Entry)) == heard
