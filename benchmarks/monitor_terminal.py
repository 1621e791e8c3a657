"""A monitor on a terminal of its own, its CPU and memory, and when it wrote what.

with monitor_on_terminal("--redis-url", url) as terminal:
    terminal.read_until(b"bitcoin")
    terminal.press("j")
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 15.0


def cpu_s_of(pid: int) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class TooLate(Exception):
    """What was waited for did not come."""


class Terminal:
    """The side of whoever looks."""

    def __init__(self, pid: int, terminal: int) -> None:
        self.pid = pid
        self._terminal = terminal
        self.began_s = time.monotonic()

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._terminal, keys.encode())

    def read(self, for_s: float) -> bytes:
        """Everything that is written in so long."""
        until_s, written = time.monotonic() + for_s, b""
        while (left_s := until_s - time.monotonic()) > 0:
            written += self._some(left_s)
        return written

    def read_until(self, pattern: bytes, within_s: float = _PATIENCE_S) -> float:
        """The moment at which something like this was written, or raise TooLate."""
        until_s, written = time.monotonic() + within_s, b""
        while not re.search(pattern, written):
            if time.monotonic() > until_s:
                raise TooLate(f"{pattern!r} not within {within_s} s")
            written += self._some(0.5)
        return time.monotonic()

    def cpu_s(self) -> float:
        """What it has used of the processors."""
        return cpu_s_of(self.pid)

    def share_of_a_core(self, for_s: float) -> float:
        """Over the time that follows."""
        began_s, before_s = time.monotonic(), self.cpu_s()
        self.read(for_s)
        return (self.cpu_s() - before_s) / (time.monotonic() - began_s)

    def memory_bytes(self) -> int:
        """What it has resident at most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        [peak] = [line.split()[1] for line in status if line.startswith("VmHWM:")]
        return int(peak) * 1024

    def _some(self, within_s: float) -> bytes:
        ready, _, _ = select.select([self._terminal], [], [], within_s)
        return os.read(self._terminal, 1 << 16) if ready else b""


@contextmanager
def monitor_on_terminal(*options: str, columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    """`cryptopulse monitor`, for as long as the block."""
    command = [sys.executable, "-P", "-m", "cryptopulse", "monitor", *options]
    pid, terminal = pty.fork()
    if pid == 0:  # the monitor's side
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": "/nonexistent"}
        os.execve(command[0], command, environment)  # noqa: S606 - ours
    try:
        yield Terminal(pid, terminal)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
