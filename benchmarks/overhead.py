"""What batching adds to the upstream's latency when a batch is full: `python -m benchmarks.overhead --help`."""

from collections.abc import Sequence
from contextlib import ExitStack

import click
import msgspec

from benchmarks.alone import Options, alone, options
from benchmarks.contestants import OURS
from benchmarks.figures import Spread, middle
from benchmarks.generator import Measured, order_for
from benchmarks.generator import measure as load
from benchmarks.report import Section, Table
from benchmarks.service import Ground, Service, running

_LATENCY_MS = 50.0
_BURSTS = 100  # a turn
_BURST_SIZE = 3
_COINS = 20
_HEAD = ("server", "p50, ms", "p95, ms", "p99, ms", "max, ms", "CPU ms an answer", "not 200")
_TEXT = f"""\
Bursts of {_BURST_SIZE} requests at once for one coin, which fill a batch, one after the other with a pause in between;
the upstream takes {_LATENCY_MS:g} ms, which are taken off. What it takes beyond them when the same generator asks it
without a server in between stands in the last row, and is in all the others. As shipped, servers on core 0 and all else
on core 1, contestants in turns of {_BURSTS} bursts; each quantile is the median of the turns'. Of two instances, on one
core, the second table tells how long after the first answer of a burst the last answer of the other instance came: what
it takes to wake who waits there."""


class Turn(msgspec.Struct, frozen=True):
    """One turn of one contestant."""

    server: str
    instances: int
    measured: Measured
    upstream: Measured | None = None  # once for each: one request a burst to the upstream alone


def measure(base: Ground, told: Options) -> Section:
    """Run everything."""
    turns = [turn for instances in (1, 2) for turn in _turns(base, told, instances)]
    names = [each.name for each in told.contestants]
    return Section(
        name="overhead",
        text=_TEXT,
        headline=_headline(turns),
        tables=[
            Table(
                _HEAD,
                [*(_beyond(turns, name) for name in names), _upstream_alone(turns)],
                f"Beyond the upstream's {_LATENCY_MS:g} ms, one instance",
            ),
            Table(
                _HEAD,
                [_elsewhere(turns, name) for name in names],
                "On the other of two instances, after the first answer",
            ),
        ],
        raw=turns,
    )


def _turns(base: Ground, told: Options, instances: int) -> list[Turn]:
    with ExitStack() as stack:
        services = [
            stack.enter_context(running(base, each, instances=instances, latency_ms=_LATENCY_MS))
            for each in told.contestants
        ]
        return [
            _turn(service, instances, place, told)
            for place in range(1 if told.quick else told.turns)
            for service in services
        ]


def _turn(service: Service, instances: int, place: int, told: Options) -> Turn:
    click.echo(f"overhead: {service.contestant.name}, {instances} instances …", err=True)
    order = order_for(
        service,
        f"o{place}",
        [f"coin-{number}" for number in range(_COINS)],
        mode="burst",
        users=_BURSTS,
        bursts=10 if told.quick else _BURSTS,
        burst_size=_BURST_SIZE,
    )
    turn = Turn(service.contestant.name, instances, load(service, order))
    if instances > 1 or place > 0:
        return turn
    to_upstream = msgspec.structs.replace(order, targets=[service.upstream_address], burst_size=1)
    return msgspec.structs.replace(turn, upstream=load(service, to_upstream))


def _beyond(turns: Sequence[Turn], server: str) -> list[str]:
    runs = [turn.measured for turn in turns if (turn.server, turn.instances) == (server, 1)]
    return _row(server, runs, [run.load.wait_ms for run in runs], _LATENCY_MS)


def _upstream_alone(turns: Sequence[Turn]) -> list[str]:
    runs = [turn.upstream for turn in turns if turn.upstream]
    *row, _cpu_of_idle_servers, missed = _row(
        "the upstream alone", runs, [run.load.wait_ms for run in runs], _LATENCY_MS
    )
    return [*row, "", missed]


def _elsewhere(turns: Sequence[Turn], server: str) -> list[str]:
    runs = [turn.measured for turn in turns if (turn.server, turn.instances) == (server, 2)]
    return _row(server, runs, [run.load.elsewhere_ms for run in runs], 0)


def _row(server: str, runs: Sequence[Measured], spreads: Sequence[Spread | None], less_ms: float) -> list[str]:
    known = [each for each in spreads if each]
    quantiles = [
        f"{middle([getattr(each, name) for each in known]) - less_ms:.1f}" for name in ("p50", "p95", "p99", "max")
    ]
    missed = sum(run.load.requests - run.load.answered for run in runs)
    return [server, *quantiles, f"{middle([run.cpu_ms_an_answer for run in runs]):.2f}", str(missed)]


def _headline(turns: Sequence[Turn]) -> str:
    _, p50, _, p99, *_ = _beyond(turns, OURS.name)
    _, upstream_p50, *_ = _upstream_alone(turns)
    return (
        f"three at once: {p50} ms beyond the upstream's {_LATENCY_MS:g} ms at p50, {p99} ms at p99; "
        f"the upstream alone {upstream_p50} ms beyond them at p50"
    )


@click.command()
@options
def main(**how: object) -> None:
    """Measure what batching adds to the upstream's latency, and how soon other instances wake."""
    alone(measure, how)


if __name__ == "__main__":
    main()
