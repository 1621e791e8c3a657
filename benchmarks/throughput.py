"""How many answers, and what each costs, contestants in turns: `python -m benchmarks.throughput --help`."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product

import click
import msgspec

from benchmarks.alone import Options, alone, options
from benchmarks.contestants import OURS
from benchmarks.figures import middle
from benchmarks.generator import Measured, listen, order_for
from benchmarks.generator import measure as load
from benchmarks.redis_use import Heard
from benchmarks.report import Section, Table, number
from benchmarks.service import Ground, Service, running

_CONNECTIONS = (64, 256)
_COINS = (1, 20)
# At 20 requests each, enough for some 20,000 answers a second over six seconds; a run that needs more ends early.
_USERS = 6000
_HEAD = (
    "requests under way", "coins", "server", "answers/s", "CPU ms an answer", "answers a call", "wait p50 / p99, ms",
    "Redis: commands sent an answer", "run in all", "reads", "not 200",
)  # fmt: skip

_TEXT = """\
A closed loop: as many requests are always under way as the first column says, each answer is followed by the next
request. One instance as shipped, threshold 3, log at its shipped level into a file, an upstream that answers at once: a
small one, since our simulator would hold up who calls it often. Servers have core 0; generator, Redis and upstream core
1; Postgres both. Contestants are up together and take turns; figures are the medians of the turns, with the lowest and
the highest in brackets. Each user sends as many requests as the shipped limit allows, and users take turns. CPU is user
and system time of a server's processes. Redis counts commands inside of scripts like others: *sent* is what clients
sent, by the share that MONITOR heard in a stretch of its own; *run in all* is Redis' own count; *reads* are its reads
from sockets, so what was sent together is one: round trips, or fewer."""


class Turn(msgspec.Struct, frozen=True):
    """One turn of one contestant."""

    server: str
    connections: int
    coins: int
    measured: Measured
    heard: Heard


def measure(base: Ground, told: Options) -> Section:
    """Run everything."""
    cells = [(8, 1)] if told.quick else list(product(_CONNECTIONS, _COINS))
    turns: list[Turn] = []
    with ExitStack() as stack:
        services = [stack.enter_context(running(base, contestant)) for contestant in told.contestants]
        for number_of_turn in range(1 if told.quick else told.turns):
            for connections, coins in cells:
                for service in services:
                    click.echo(f"throughput: {service.contestant.name}, C={connections}, {coins} coins …", err=True)
                    turns.append(_turn(service, connections, coins, number_of_turn, told))
    rows = [_row(connections, coins, turns, each.name) for connections, coins in cells for each in told.contestants]
    return Section(
        name="throughput",
        text=_TEXT,
        headline=_headline(turns),
        tables=[Table(_HEAD, rows)],
        raw=turns,
    )


def _turn(service: Service, connections: int, coins: int, number_of_turn: int, told: Options) -> Turn:
    order = order_for(
        service,
        f"t{number_of_turn}-{connections}-{coins}",
        [f"coin-{place}" for place in range(coins)],
        mode="closed",
        connections=connections,
        users=200 if told.quick else _USERS,
        seconds=0.5 if told.quick else told.seconds,
        seed=told.seed + number_of_turn,
    )
    measured = load(service, order)
    return Turn(service.contestant.name, connections, coins, measured, listen(service, order))


def _row(connections: int, coins: int, turns: Sequence[Turn], server: str) -> list[str]:
    those = [turn for turn in turns if (turn.server, turn.connections, turn.coins) == (server, connections, coins)]
    runs = [turn.measured for turn in those]
    run_in_all = [run.redis.commands / max(1, run.load.requests) for run in runs]
    sent = [count * (turn.heard.sent_share or 0) for count, turn in zip(run_in_all, those, strict=True)]
    waits = [run.load.wait_ms for run in runs if run.load.wait_ms]
    return [
        str(connections),
        str(coins),
        server,
        _range([run.answers_a_second for run in runs], ".0f"),
        _range([run.cpu_ms_an_answer for run in runs], ".3f"),
        number(middle([run.load.answered / max(1, run.calls) for run in runs]), ".1f"),
        f"{middle([wait.p50 for wait in waits]):.1f} / {middle([wait.p99 for wait in waits]):.1f}",
        number(middle(sent), ".2f"),
        number(middle(run_in_all), ".1f"),
        number(middle([run.redis.reads / max(1, run.load.requests) for run in runs]), ".3f"),
        str(sum(run.load.requests - run.load.answered for run in runs)),
    ]


def _range(values: Sequence[float], form: str) -> str:
    return f"{middle(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _headline(turns: Sequence[Turn]) -> str:
    last = turns[-1]
    costs = {
        server: middle(
            [
                turn.measured.cpu_ms_an_answer
                for turn in turns
                if (turn.server, turn.connections, turn.coins) == (server, last.connections, last.coins)
            ]
        )
        for server in dict.fromkeys(turn.server for turn in turns)
    }
    told = ", ".join(f"{server} {cost:.3f} ms ({cost / costs[OURS.name]:.2f} x)" for server, cost in costs.items())
    return f"CPU an answer at C={last.connections}, {last.coins} coins: {told}"


@click.command()
@options
def main(**how: object) -> None:
    """Measure how many answers a server gives on one core, and what each costs."""
    alone(measure, how)


if __name__ == "__main__":
    main()
