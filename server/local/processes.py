"""Processes that are not our children: what a pid runs, and how it is ended.

    if runs(pid, "valkey-server", "/some/folder"):
        end(pid, "valkey-server", "/some/folder")

A pid from a file may belong to somebody else by now, so none is signalled unless its command line holds the
words that its owner would have.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc")
_ASK_EVERY_S = 0.01
_KILLED_WITHIN_S = 5.0


def wait_until(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether `condition` came true in time; asked often, for a foreign process tells nobody."""
    gives_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > gives_up_at:
            return False
        time.sleep(_ASK_EVERY_S)  # between two looks, as said above
    return True


def runs(pid: int, *words: str) -> bool:
    """Whether `pid` is alive and its command line holds all `words`; a zombie has no command line."""
    line = _command_line(pid)
    return bool(line) and all(word in line for word in words)


def end(pid: int, *words: str, stop_with: signal.Signals = signal.SIGTERM, patience_s: float = 5.0) -> None:
    """End `pid` if it runs `words`: asked first, killed after `patience_s`; returns when it is gone."""
    for asked, wait_s in ((stop_with, patience_s), (signal.SIGKILL, _KILLED_WITHIN_S)):
        if not runs(pid, *words):
            return
        send(pid, asked)
        if wait_until(lambda: not runs(pid, *words), wait_s):
            return


def send(pid: int, asked: signal.Signals) -> None:
    """Signal `pid`, and wake it if it is stopped: a stopped process hears nothing but KILL."""
    try:
        os.kill(pid, asked)
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def _command_line(pid: int) -> str:
    if _PROC.joinpath("self").exists():
        try:
            return _PROC.joinpath(str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    # macOS has no /proc, and always has ps.
    asked = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout  # noqa: S603 - words of our own


def lines_of(path: Path) -> list[str]:
    """The lines of a file that may not be there."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def pid_in(path: Path) -> int | None:
    """The pid in the first line of a pid file that may not be there, or be half written."""
    first = next(iter(lines_of(path)), "").strip()
    return int(first) if first.isdigit() else None
