"""What all benchmarks have in common on the command line, and running one by itself.

@click.command()
@options
def main(**how): alone(measure, how)
"""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from benchmarks.contestants import OURS, PEERS, Contestant
from benchmarks.machine import this_machine
from benchmarks.report import Report, Section, write
from benchmarks.service import Ground, ground

RESULTS = Path(__file__).with_name("results")
_TERMINATED = 143  # as shells write it


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The knobs; those that a benchmark has no use for change nothing there."""

    quick: bool = False
    seed: int = 1
    seconds: float = 5.0
    turns: int = 3
    contestants: Sequence[Contestant] = (OURS,)


Measure = Callable[[Ground, Options], Section]
Command = Callable[..., None]


def options(command: Command) -> Command:
    """The options of every benchmark."""
    for option in (
        click.option("--quick", is_flag=True, help="In seconds, to see that it works; the figures mean little."),
        click.option("--seed", type=int, default=1, show_default=True, help="Which traces."),
        click.option(
            "--seconds",
            type=click.FloatRange(0.2, 60),
            default=5.0,
            show_default=True,
            help="How long a closed loop runs.",
        ),
        click.option(
            "--turns",
            type=click.IntRange(1, 20),
            default=3,
            show_default=True,
            help="How often each contestant has its turn.",
        ),
        PEERS,
        click.option(
            "--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="Where to write."
        ),
    ):
        command = option(command)
    return command


def alone(measure: Measure, how: Mapping[str, object]) -> None:
    """Run one benchmark, print what it says, and write it down."""
    path, report = run_all([measure], how)
    click.echo(f"{report.sections[0]}\n\nWritten to {path.parent}")


def run_all(measures: Sequence[Measure], how: Mapping[str, object]) -> tuple[Path, Report]:
    """Run benchmarks one after the other on the same ground; where the report is, and what it says."""
    # What was started is ended on the way out, also when somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    told = msgspec.convert(
        {name: value for name, value in how.items() if name != "results"}, Options, from_attributes=True
    )
    began_at, machine, start_s = datetime.now(UTC), this_machine(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cryptopulse-bench-") as folder, ground(Path(folder)) as base:
        sections = [measure(base, told) for measure in measures]
    report = Report(
        began_at=began_at,
        took_s=time.monotonic() - start_s,
        arguments=_arguments(told),
        machine=machine,
        sections=sections,
    )
    return write(report, Path(str(how["results"]))), report


def _arguments(told: Options) -> str:
    given = ["--quick"] if told.quick else []
    given += [f"--peer {each.name}=…" for each in told.contestants if each != OURS]
    return f' ARGS="{" ".join(given)}"' if given else ""
