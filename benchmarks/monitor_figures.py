"""The bars that one monitor is measured by."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.figures import percentile
from benchmarks.monitor_crowd import crowd
from benchmarks.monitor_terminal import Terminal, TooLate, monitor_on_terminal
from server.local import running_valkey

_ROWS, _EVENTS = 5000, 200
_KEYS = 80
_ROWS_WALKED = 10  # down and up again: no scrolling
_TOO_LATE_S = 2.0
_KEY_EVERY_S = 0.23  # out of step with the paintings, four a second
_SETTLED_AFTER_S = 4.0


class Figure(msgspec.Struct, frozen=True):
    """One bar; whatever is less holds."""

    name: str
    value: float
    bar: float
    unit: str
    raw: list[float] = []

    @property
    def holds(self) -> bool:
        """Whether it is below the bar."""
        return self.value < self.bar

    @property
    def shown(self) -> str:
        """The value to read."""
        return f"{self.value:.3g} {self.unit}"

    @property
    def bar_shown(self) -> str:
        """The bar to read."""
        return f"< {self.bar:g} {self.unit}"


def loaded_figures(folder: Path, seconds: float) -> list[Figure]:
    """With nobody there, then with very many."""
    with running_valkey(folder / "valkey") as valkey:
        paints = [_first_paint_s(valkey.url) for _ in range(5)]
        with monitor_on_terminal("--redis-url", valkey.url) as terminal:
            terminal.read(_SETTLED_AFTER_S)
            idle = terminal.share_of_a_core(seconds)
        with crowd(valkey.url, rows=40, events_a_second=20), monitor_on_terminal("--redis-url", valkey.url) as terminal:
            terminal.read(_SETTLED_AFTER_S)
            busy = terminal.share_of_a_core(seconds)
        with (
            crowd(valkey.url, rows=_ROWS, events_a_second=_EVENTS),
            monitor_on_terminal("--redis-url", valkey.url) as terminal,
        ):
            terminal.read(_SETTLED_AFTER_S)
            crowded = terminal.share_of_a_core(seconds)
            keys = sorted(_keys_ms(terminal))
            memory_bytes = terminal.memory_bytes()
    return [
        Figure("first paint, median of 5", percentile(sorted(paints), 0.5), 1, "s", paints),
        Figure("idle, share of a core", idle * 100, 1, "%"),
        Figure("busy: 40 rows, 20 events/s", busy * 100, 20, "%"),
        Figure("5,000 rows, 200 events/s", crowded * 100, 20, "%"),
        Figure("key to paint there, p50", percentile(keys, 0.5), 50, "ms"),
        Figure("key to paint there, p95", percentile(keys, 0.95), 50, "ms", keys),
        Figure("memory there, at most", memory_bytes / 1e6, 120, "MB"),
    ]


def lost_figures(folder: Path) -> list[Figure]:
    """How long it takes until the banner is there."""
    return [
        Figure("banner, Redis stopped", _banner_s(folder / "hung", signal.SIGSTOP), 2, "s"),
        Figure("banner, Redis killed", _banner_s(folder / "dead", signal.SIGKILL), 2, "s"),
    ]


def _first_paint_s(redis_url: str) -> float:
    with monitor_on_terminal("--redis-url", redis_url) as terminal:
        return terminal.read_until(b"CryptoPulse") - terminal.began_s


def _keys_ms(terminal: Terminal) -> Sequence[float]:
    """From a key that moves the cursor until the row that it moves to is drawn as the selected one."""
    terminal.press("1g")
    took: list[float] = []
    for nth in range(_KEYS):
        terminal.read(_KEY_EVERY_S)
        down = nth // _ROWS_WALKED % 2 == 0
        row = nth % _ROWS_WALKED + 1 if down else _ROWS_WALKED - nth % _ROWS_WALKED - 1
        pressed_s = time.monotonic()
        terminal.press("j" if down else "k")
        try:
            took.append((terminal.read_until(_selected(row), within_s=_TOO_LATE_S) - pressed_s) * 1000)
        except TooLate:
            took.append(_TOO_LATE_S * 1000)
    return took


def _selected(row: int) -> bytes:
    """The sign of the cursor and the coin beside it, with nothing but styles and blanks between them."""
    return "▸".encode() + rb"(?:\x1b\[[0-9;]*m|\s)*" + f"coin-{row:05}".encode()


def _banner_s(folder: Path, with_signal: signal.Signals) -> float:
    with running_valkey(folder) as valkey, monitor_on_terminal("--redis-url", valkey.url) as terminal:
        terminal.read(_SETTLED_AFTER_S)
        os.kill(valkey.pid, with_signal)
        gone_s = time.monotonic()
        try:
            return terminal.read_until(b"lost", within_s=10) - gone_s
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
