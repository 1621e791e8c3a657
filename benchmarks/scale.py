"""How calls, CPU and Redis grow with instances and with coins: `python -m benchmarks.scale --help`."""

import click
import msgspec
import trio

from benchmarks.alone import Options, alone, options
from benchmarks.contestants import OURS
from benchmarks.figures import Spread, spread
from benchmarks.reduction import users_within_limit
from benchmarks.replay import replay
from benchmarks.report import Section, Table, quantiles
from benchmarks.service import Ground, running
from benchmarks.trace import Traffic, make_trace
from benchmarks.variants import shipped
from core.simulation import optimum

_RATE = 200.0
_SECONDS = 10.0
_LATENCY_MS = 100.0
_INSTANCES = (1, 2, 4)
_COINS = (1, 10, 100, 1000, 10_000)
_FIXED_INSTANCES, _FIXED_COINS = 2, 100
_OK = 200
_HEAD = (
    "instances", "coins", "answered", "calls", "fewest", "CPU ms an answer, all instances", "Redis commands an answer",
    "Redis reads an answer", "wait p50 / p95 / p99 / max, ms", "sent late at most, ms",
)  # fmt: skip
_TEXT = f"""\
{_RATE:g} requests a second for {_SECONDS:g} s, coins by Zipf's law, upstream {_LATENCY_MS:g} ms, as shipped: over 1, 2
and 4 instances for {_FIXED_COINS} coins, and for 1 to 10,000 coins over {_FIXED_INSTANCES} instances. All instances are
on core 0, so more of them are more work and no more room: it is the cost of agreeing that shows. Redis commands are its
own count, those inside of scripts too; reads are its reads from sockets."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One number of instances with one number of coins."""

    instances: int
    coins: int
    requests: int
    answered: int
    calls: int
    fewest: int
    cpu_ms: float  # an answer
    redis_commands: float  # an answer
    redis_reads: float  # an answer
    wait_ms: Spread | None
    late_ms: float  # how far the sender was behind at worst


def measure(base: Ground, told: Options) -> Section:
    """Run everything."""
    wanted = [(each, _FIXED_COINS) for each in _INSTANCES] + [(_FIXED_INSTANCES, each) for each in _COINS]
    cells = [_cell(base, *each, told) for each in ([(2, 10)] if told.quick else dict.fromkeys(wanted))]
    most = max(cells, key=lambda cell: cell.coins)
    return Section(
        name="scale",
        text=_TEXT,
        headline=f"{most.coins} coins: {most.calls} calls for {most.answered} answers; fewest: {most.fewest}",
        tables=[Table(_HEAD, [_row(cell) for cell in cells])],
        raw=cells,
    )


def _cell(base: Ground, instances: int, coins: int, told: Options) -> Cell:
    click.echo(f"scale: {instances} instances, {coins} coins …", err=True)
    seconds = 2.0 if told.quick else _SECONDS
    trace = make_trace(Traffic(rate=_RATE, seconds=seconds, coins=coins, skew=1, seed=told.seed))
    with running(base, OURS, instances=instances, latency_ms=_LATENCY_MS) as service:
        tokens = service.tokens(users_within_limit(len(trace)))
        cpu_s, calls, redis = service.cpu_s(), service.calls(), service.redis_use()
        outcomes = trio.run(replay, trace, service.urls, tokens)
        redis = service.redis_use().since(redis)
        calls = service.calls() - calls
        cpu_s = service.cpu_s() - cpu_s
    waits = [each.wait_ms for each in outcomes if each.status == _OK]
    answered = max(1, len(waits))
    return Cell(
        instances=instances,
        coins=coins,
        requests=len(outcomes),
        answered=len(waits),
        calls=calls,
        fewest=optimum(trace, shipped("batch_window_ms") / 1000),
        cpu_ms=cpu_s * 1000 / answered,
        redis_commands=redis.commands / answered,
        redis_reads=redis.reads / answered,
        wait_ms=spread(waits),
        late_ms=max(each.late_ms for each in outcomes),
    )


def _row(cell: Cell) -> list[str]:
    return [
        str(cell.instances),
        f"{cell.coins:,}",
        f"{cell.answered} of {cell.requests}",
        str(cell.calls),
        str(cell.fewest),
        f"{cell.cpu_ms:.2f}",
        f"{cell.redis_commands:.1f}",
        f"{cell.redis_reads:.2f}",
        quantiles(cell.wait_ms),
        f"{cell.late_ms:.0f}",
    ]


@click.command()
@options
def main(**how: object) -> None:
    """Measure how calls, CPU and Redis grow with instances and with coins."""
    alone(measure, how)


if __name__ == "__main__":
    main()
