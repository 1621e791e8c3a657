"""What monitors cost the servers they watch: CPU an answer, with three attached and without, in turns."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec
import trio

from benchmarks.monitor_stage import Stage, running_stage
from benchmarks.monitor_terminal import Terminal, monitor_on_terminal
from benchmarks.replay import replay
from benchmarks.trace import Traffic, make_trace

_TURNS = 10
_MONITORS = 3
_QUIET_S = 4.0  # instances are told of nobody for three seconds before they fall silent
_OK = 200


class Servers(msgspec.Struct, frozen=True):
    """CPU milliseconds an answer, turn by turn."""

    alone_ms: list[float]
    watched_ms: list[float]

    def described(self) -> Iterator[str]:
        """Rows to read."""
        alone, watched = median(self.alone_ms), median(self.watched_ms)
        yield f"CPU of the servers an answer, medians of {_TURNS} turns each, 200 requests/s:"
        yield f"{'without a monitor':34}{alone:>9.3f} ms"
        yield f"{f'with {_MONITORS} monitors':34}{watched:>9.3f} ms   {watched / alone - 1:+.1%}, bar: within 10 %"


def compare_servers(folder: Path) -> Servers:
    """The same requests in each turn, with monitors and without, one after the other."""
    alone: list[float] = []
    watched: list[float] = []
    with running_stage(folder, {"THROTTLE_GLOBAL_LIMIT": "1000000"}) as stage:
        stage.start()
        stage.start()
        trio.run(_turn, stage, [])  # what is slow only once is over
        for _ in range(_TURNS):
            alone.append(trio.run(_turn, stage, []))
            with ExitStack() as monitors:
                terminals = [
                    monitors.enter_context(monitor_on_terminal("--redis-url", stage.redis_url))
                    for _ in range(_MONITORS)
                ]
                watched.append(trio.run(_turn, stage, terminals))
    return Servers(alone, watched)


async def _turn(stage: Stage, terminals: Sequence[Terminal]) -> float:
    trace = make_trace(Traffic(rate=200, seconds=6, coins=40, skew=1.0, seed=9))
    async with trio.open_nursery() as nursery:
        for terminal in terminals:
            nursery.start_soon(_look, terminal)
        await trio.sleep(_QUIET_S)
        before_s = stage.cpu_s()
        outcomes = await replay(trace, stage.urls, stage.tokens(1))
        used_s = stage.cpu_s() - before_s
        nursery.cancel_scope.cancel()
    return used_s * 1000 / sum(outcome.status == _OK for outcome in outcomes)


async def _look(terminal: Terminal) -> None:
    """A terminal whose window is full would stop the monitor."""
    while True:
        await trio.to_thread.run_sync(terminal.read, 0.2)
