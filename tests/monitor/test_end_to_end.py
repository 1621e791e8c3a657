"""The dashboard in a real terminal, of two real instances."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from benchmarks.monitor_stage import Stage, running_stage

PATIENCE_S = 12
COLUMNS, LINES = 120, 40
SETTINGS = {"BATCH_WINDOW_MS": "2000"}
ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"  # the alternate screen
CURSOR_IS_BACK = "\x1b[?25h"


class Terminal:
    """A program on a terminal of its own, and everything it wrote there."""

    def __init__(self, *command: str) -> None:
        self.written = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # the program's side
            os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color"})
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        self.before = termios.tcgetattr(self._terminal)

    @property
    def after(self) -> list[object]:
        """How the terminal is set now."""
        return termios.tcgetattr(self._terminal)

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, *texts: str) -> None:
        """Read until all of these were written."""
        until_s = time.monotonic() + PATIENCE_S
        while not all(text in self.written for text in texts):
            assert time.monotonic() < until_s, [text for text in texts if text not in self.written]
            self._read(0.1)

    def wait_for_end(self) -> int:
        """Its exit status."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            self._read(0.05)
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it goes on: {self.written[-3000:]!r}")

    def close(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def _read(self, within_s: float) -> None:
        ready, _, _ = select.select([self._terminal], [], [], within_s)
        if ready:
            try:
                self.written += os.read(self._terminal, 65_536).decode(errors="replace")
            except OSError:
                time.sleep(within_s)  # nobody has it open any more


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running_stage(tmp_path, SETTINGS) as stage:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda _: stage.start(), range(2)))
        yield stage


@pytest.fixture
def terminal(stage: Stage) -> Iterator[Terminal]:
    terminal = Terminal(sys.executable, "-m", "cryptopulse", "monitor", "--redis-url", stage.redis_url)
    yield terminal
    terminal.close()


def test_two_real_instances_are_on_the_screen_and_q_gives_the_terminal_back(stage: Stage, terminal: Terminal) -> None:
    terminal.wait_for(ENTERED, "2/2 up")
    [token] = stage.tokens(1)
    token, _ = stage.tokens(2)

    def ask(url: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}/v1/price/dogecoin", headers=headers, timeout=PATIENCE_S, trust_env=False).status_code

    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(ask, url) for url in stage.urls]
        terminal.wait_for("dogecoin", "2 waiters")
        assert [answer.result() for answer in answers] == [200, 200]
        terminal.press("4")
        terminal.wait_for("INSTANCE")
        terminal.press("q")
        assert terminal.wait_for_end() == 0
    assert terminal.written.rindex(LEFT) > terminal.written.rindex(ENTERED)
    assert CURSOR_IS_BACK in terminal.written
    assert terminal.after == terminal.before
