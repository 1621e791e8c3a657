"""The log as a process writes it."""

import json
import subprocess
import sys
from typing import Any

import pytest

SAY = """
import logging, sys, structlog
from server.logs import configure_logs
configure_logs(sys.argv[1])
log = structlog.get_logger("server.test")
structlog.contextvars.bind_contextvars(request_id="mine")
log.debug("quiet")
log.info("loud", path="/\\x1b[31m")
logging.getLogger("redis").warning("a library %s", "speaks")
logging.getLogger("hypercorn.error").info("Running on http://internal")
def burn(secret):
    raise ValueError("burnt")
try:
    burn(sys.argv[2])
except ValueError as error:
    log.error("failed", exc_info=error)
"""
AS_TERMINAL = "import sys; sys.stderr.isatty = lambda: True\n"


def stderr_of(script: str, level: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, level, "hunter2"], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def lines_of(level: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr_of(SAY, level).splitlines()]


def test_a_line_is_json_with_its_time_its_level_and_its_request() -> None:
    line = lines_of("info")[0]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "loud",
        "level": "info",
        "logger": "server.test",
        "path": "/\x1b[31m",
        "request_id": "mine",
    }


def test_libraries_speak_the_same_way() -> None:
    line = lines_of("info")[1]
    assert (line["event"], line["level"], line["logger"]) == ("a library speaks", "warning", "redis")


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["quiet", "loud", "a library speaks", "failed"]),
        ("info", ["loud", "a library speaks", "failed"]),
        ("warning", ["a library speaks", "failed"]),
        ("error", ["failed"]),
    ],
)
def test_the_level_is_the_least_that_is_written(level: str, events: list[str]) -> None:
    assert [line["event"] for line in lines_of(level)] == events


@pytest.mark.parametrize("script", [SAY, AS_TERMINAL + SAY])
def test_a_traceback_names_lines_but_no_values(script: str) -> None:
    text = stderr_of(script, "info")
    assert "ValueError: burnt" in text
    assert text.count("hunter2") == 0


def test_on_a_terminal_a_path_cannot_play_with_it() -> None:
    text = stderr_of(AS_TERMINAL + SAY, "info")
    assert r"'/\x1b[31m'" in text


def test_text_beyond_ascii_is_escaped_in_json_too() -> None:
    say = SAY.replace("\\x1b[31m", "\\u009b31m\\u2028é")
    text = stderr_of(say, "info")
    assert text.isascii()
    assert json.loads(text.splitlines()[0])["path"] == "/\u009b31m\u2028é"


NOTED = """
import io, json, os, sys, trio, structlog
from server.logs import configure_logs
written, failures = [], []
class Noting(io.RawIOBase):
    def writable(self): return True
    def write(self, data):
        if failures:
            raise failures.pop()
        written.append([json.loads(line)["event"] for line in bytes(data).splitlines()])
        return len(data)
sys.stderr = io.TextIOWrapper(Noting())  # as PYTHONUNBUFFERED has it
lines = configure_logs(sys.argv[1])
log = structlog.get_logger("server.test")
"""

KEEP = """
async def say(word):
    log.info(word)
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, "one")
        nursery.start_soon(say, "two")
    log.info("three")
    await trio.lowlevel.checkpoint()
    log.info("four")
log.info("before")
trio.run(main, instruments=[lines])
log.info("after")
os.write(2, repr(list(map(sorted, written))).encode())
"""

FAIL = """
async def main():
    failures.append(OSError(28, "No space left on device"))
    log.info("one")
    await trio.lowlevel.checkpoint()
    log.info("two")
    os.write(2, repr(written).encode())
trio.run(main, instruments=[lines])
"""


def test_lines_of_one_pass_of_the_scheduler_are_written_at_once() -> None:
    assert stderr_of(NOTED + KEEP, "info") == "[['before'], ['one', 'two'], ['three'], ['four'], ['after']]"


FAIL_AGAIN = FAIL.replace(
    'log.info("two")', 'failures.append(OSError(28, "still none")); log.info("two"); log.info("three")'
)


def test_a_log_that_cannot_be_written_ends_nobody() -> None:
    assert stderr_of(NOTED + FAIL_AGAIN, "info") == "[['three']]"


def test_where_a_pass_could_not_be_written_lines_are_from_then_on_each_by_itself() -> None:
    assert stderr_of(NOTED + FAIL, "info") == "[['two']]"
