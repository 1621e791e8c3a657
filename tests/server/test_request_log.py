"""The line of a request, which is written without structlog where that can be told by nothing but the time it takes."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

# Writes the same request twice: straight, and by structlog.
WRITE = """
import sys, trio
from server.logs import configure_logs
from server.notes import notes_of
from server.request_log import RequestLog
level, path, caller, status, error, route = sys.argv[1:]
lines = configure_logs(level)

async def main():
    for log in (RequestLog(lines), RequestLog()):
        scope = {"type": "http", "method": "GET", "raw_path": path.encode(), "headers": [(b"x-request-id", b"mine")]}
        notes = notes_of(scope)
        notes.caller, notes.batch_id = caller or None, "b" * 32
        notes.route = route
        notes.error = ValueError("burnt") if error else None
        log.open(scope).write(int(status) if status else None)

trio.run(main, instruments=[lines])
"""


def written(
    level: str = "info",
    path: str = "/",
    caller: str = "",
    status: str = "200",
    error: str = "",
    route: str = "other",
) -> list[Any]:
    command = [sys.executable, "-c", WRITE, level, path, caller, status, error, route]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
        line.pop("duration_ms")
    return lines


@pytest.mark.parametrize(
    "request_told",
    [
        {"path": "/v1/price/bitcoin", "caller": "user:ann"},
        {"path": "/v1/price/bit%1b%22coin%5c"},
        {"path": "/v1/price/b%C3%AFtcoin"},
        {"caller": "user:\u2028ann"},
        {"status": "404", "error": "yes"},
        {"status": "502", "error": "yes"},
        {"status": "500", "error": "yes"},
        {"status": "499"},
        {"status": ""},
    ],
)
def test_a_line_is_the_same_whichever_way_it_is_written(request_told: dict[str, str]) -> None:
    straight, by_structlog = written(**request_told)
    assert straight == by_structlog
    assert straight["event"] == "request"
    assert straight["request_id"] == "mine"


@pytest.mark.parametrize(
    ("level", "route", "lines"),
    [
        ("debug", "other", 2),
        ("debug", "/health/live", 2),
        ("info", "other", 2),
        ("info", "/health/live", 0),
        ("warning", "other", 0),
    ],
)
def test_a_line_below_the_level_is_not_written(level: str, route: str, lines: int) -> None:
    assert len(written(level=level, route=route)) == lines
