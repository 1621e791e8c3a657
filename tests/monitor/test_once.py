"""One look: as text, as JSON, from Redis or a recording; and what is said when there is nothing to see."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from core import keys
from core.events import Message, encode_message
from monitor.once import NobodyAnswers, Report, as_json, as_text, look, look_back
from monitor.recording import Recorder, Recording
from monitor.source import RedisSource
from monitor.state import Connected, Lost
from tests.monitor.conftest import run_plain
from tests.monitor.samples import batch, caller, coin, flushed, message, snapshot

T = TypeVar("T")

DOCS = Path(__file__).parents[2] / "docs" / "monitor.md"


def told(number: int, coin_id: str = "bitcoin") -> Message:
    said = snapshot(batch(coin_id), coins=(coin(coin_id),), callers=(caller(),), requests=number)
    return message("api-1", said, flushed(coin_id), number=number)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Bitcoin, and two seconds later ethereum."""
    now = iter([0.0, 0.0, 0.1, 2.0])
    recorder = Recorder(tmp_path / "two.jsonl", lambda: next(now))
    for heard in (Connected(), told(1), told(2, "ethereum")):
        recorder.write(heard)
    recorder.close()
    return tmp_path / "two.jsonl"


@contextmanager
def speaking(redis_url: str, say: Callable[[int], Message]) -> Iterator[None]:
    """An instance that speaks as often as real ones do."""
    ended = threading.Event()

    def speak() -> None:
        with redis.Redis.from_url(redis_url) as client:
            number = 0
            while not ended.wait(0.1):
                number += 1
                client.publish(keys.EVENTS, encode_message(say(number)))

    thread = threading.Thread(target=speak)
    thread.start()
    yield
    ended.set()
    thread.join()


def once(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cryptopulse", "monitor", "--once", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_main_screen_is_printed_as_plain_text_a_hundred_columns_wide(recording: Path) -> None:
    shown = once("--replay", str(recording))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "ethereum" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_a_terminal_gets_colours(recording: Path) -> None:
    assert "\x1b[" in run_plain(as_text(look_back(Recording(recording)), colours=True))


def test_a_moment_of_a_recording_is_shown_as_it_was_then(recording: Path) -> None:
    before = json.loads(once("--replay", str(recording), "--at", "1.5", "--json").stdout)
    after = json.loads(once("--replay", str(recording), "--json").stdout)
    assert [row["coin_id"] for row in before["batches"]] == ["bitcoin"]
    assert [row["coin_id"] for row in after["batches"]] == ["ethereum"]


def test_everything_is_in_the_json_and_every_name_is_in_the_docs(recording: Path) -> None:
    report = json.loads(as_json(look_back(Recording(recording))))
    assert tuple(report) == Report.__struct_fields__
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))
    assert names_in(report) - documented == set()


def names_in(value: Any) -> set[str]:
    match value:
        case dict():
            return set(value).union(*map(names_in, value.values()))
        case list():
            return set().union(*map(names_in, value))
        case _:
            return set()


def test_instances_that_speak_are_seen_within_two_seconds(redis_url: str) -> None:
    with speaking(redis_url, told):
        began_at = time.monotonic()
        picture = run_plain(look(RedisSource(redis_url)))
        assert time.monotonic() - began_at < 2
    assert [instance.name for instance in picture.state.instances.values()] == ["api-1"]
    assert "bitcoin" in run_plain(as_text(picture, colours=False))


def test_without_an_instance_it_says_so_in_a_line_and_ends_with_1(redis_url: str) -> None:
    ended = once("--redis-url", redis_url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: Redis answers, but no instance does\n"


def test_without_a_redis_it_says_why() -> None:
    with pytest.raises(NobodyAnswers, match=r"Redis cannot be heard: .*Connect call failed"):
        run_plain(look(RedisSource("redis://127.0.0.1:1/0")))


def test_a_recording_of_nobody_is_nobody(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "none.jsonl")
    recorder.write(Lost("gone"))
    recorder.close()
    with pytest.raises(NobodyAnswers, match="Redis cannot be heard: gone"):
        look_back(Recording(tmp_path / "none.jsonl"))


def test_a_recording_that_is_cut_is_shown_up_to_there_and_told(recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-30])
    shown = once("--replay", str(recording), "--json")
    assert shown.stderr == "This recording is not whole: the file is cut or broken after line 3, at 0.1 s.\n"
    assert [row["coin_id"] for row in json.loads(shown.stdout)["batches"]] == ["bitcoin"]
