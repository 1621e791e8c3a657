"""What it takes to hold many requests, in memory and lateness: `python -m benchmarks.waiters --help`."""

from collections.abc import Sequence

import click
import msgspec

from benchmarks.alone import Options, alone, options
from benchmarks.contestants import OURS, Contestant
from benchmarks.figures import middle
from benchmarks.generator import Measured, order_for
from benchmarks.generator import measure as load
from benchmarks.report import Section, Table
from benchmarks.service import Ground, running
from benchmarks.variants import OUT_OF_REACH, shipped

_LATENCY_MS = 100.0
_CASES = ((1000, 1), (5000, 1), (5000, 500), (10_000, 1))  # (waiters, coins)
_WARM_WAITERS = 300
_TURNS = 2
_HEAD = (
    "waiters", "coins", "server", "bytes a waiter", "RSS idle, MB", "RSS held, MB", "last answer after, s", "late, s",
    "upstream calls", "CPU ms an answer", "not 200",
)  # fmt: skip
_TEXT = f"""\
All connections are opened before and left alone for a moment: what they take is in *RSS idle*. Then each sends one
request of a user of its own; the threshold is out of reach (`BATCH_THRESHOLD={OUT_OF_REACH}`, the one setting here that
is not as shipped), so all are held until their window of {shipped("batch_window_ms") / 1000:g} s ends and a call of
{_LATENCY_MS:g} ms is made. *Bytes a waiter* is RSS held less RSS idle, by the number of waiters, at the last look while
at least 98 % were unanswered, or a dash if there was no such look. *Late* is the last answer, after window and call of
the first request. Each on a new server that had held {_WARM_WAITERS} before; medians of {_TURNS} turns."""


class Turn(msgspec.Struct, frozen=True):
    """One turn of one contestant."""

    server: str
    waiters: int
    coins: int
    measured: Measured

    @property
    def bytes_a_waiter(self) -> float | None:
        """What each holds of the servers' memory."""
        held = self.measured.rss_held_bytes
        return None if held is None else (held - self.measured.rss_idle_bytes) / self.waiters


def measure(base: Ground, told: Options) -> Section:
    """Run everything."""
    cases = [(100, 1)] if told.quick else _CASES
    turns = [
        _turn(base, contestant, waiters, coins, told)
        for _ in range(1 if told.quick else _TURNS)
        for waiters, coins in cases
        for contestant in told.contestants
    ]
    rows = [_row(turns, waiters, coins, each.name) for waiters, coins in cases for each in told.contestants]
    return Section(
        name="waiters",
        text=_TEXT,
        headline=_headline(turns),
        tables=[Table(_HEAD, rows)],
        raw=turns,
    )


def _turn(base: Ground, contestant: Contestant, waiters: int, coins: int, told: Options) -> Turn:
    click.echo(f"waiters: {contestant.name}, {waiters} for {coins} coins …", err=True)
    far = {"BATCH_THRESHOLD": str(OUT_OF_REACH)}
    names = [f"coin-{number}" for number in range(coins)]
    with running(base, contestant, latency_ms=_LATENCY_MS, settings=far) as service:
        if not told.quick:
            load(
                service, order_for(service, "warm", names, mode="hold", connections=_WARM_WAITERS, users=_WARM_WAITERS)
            )
        order = order_for(service, "held", names, mode="hold", connections=waiters, users=waiters)
        return Turn(contestant.name, waiters, coins, load(service, order))


def _row(turns: Sequence[Turn], waiters: int, coins: int, server: str) -> list[str]:
    those = [turn for turn in turns if (turn.server, turn.waiters, turn.coins) == (server, waiters, coins)]
    runs = [turn.measured for turn in those]
    sizes = [turn.bytes_a_waiter for turn in those if turn.bytes_a_waiter is not None]
    held = [run.rss_held_bytes for run in runs if run.rss_held_bytes is not None]
    last_s = middle([run.load.last_after_s for run in runs])
    due_s = (shipped("batch_window_ms") + _LATENCY_MS) / 1000
    return [
        str(waiters),
        str(coins),
        server,
        f"{middle(sizes):,.0f}" if sizes else "-",
        f"{middle([run.rss_idle_bytes for run in runs]) / 1e6:.1f}",
        f"{middle(held) / 1e6:.1f}" if held else "-",
        f"{last_s:.2f}",
        f"{last_s - due_s:.2f}",
        f"{middle([run.calls for run in runs]):.0f}",
        f"{middle([run.cpu_ms_an_answer for run in runs]):.3f}",
        str(sum(run.load.requests - run.load.answered for run in runs)),
    ]


def _headline(turns: Sequence[Turn]) -> str:
    last = turns[0] if len(turns) == 1 else turns[len(turns) // 2 - 1]
    row = _row(turns, last.waiters, last.coins, OURS.name)
    return f"{row[0]} waiters: {row[3]} bytes each, the last answered after {row[6]} s"


@click.command()
@options
def main(**how: object) -> None:
    """Measure what held requests cost, and how late they are answered."""
    alone(measure, how)


if __name__ == "__main__":
    main()
