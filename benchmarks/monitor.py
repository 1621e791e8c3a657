"""What the monitor takes, and what it costs those it watches: `make bench-monitor`.

The monitor runs as users run it, on a terminal; a made-up instance tells it of 5,000 coins and 200 events a second.
With `--servers`, two real instances answer the same requests ten times with three monitors attached and ten without.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from benchmarks.machine import Machine, this_machine
from benchmarks.monitor_figures import Figure, loaded_figures, lost_figures
from benchmarks.monitor_servers import Servers, compare_servers

RESULTS = Path(__file__).with_name("results")


class Report(msgspec.Struct, frozen=True):
    """Everything that is known about a benchmark that ran."""

    began_at: datetime
    machine: Machine
    figures: list[Figure]
    servers: Servers | None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--servers", is_flag=True, help="Only what three monitors cost the servers; some four minutes.")
@click.option("--seconds", default=15.0, show_default=True, help="How long each share of a core is measured.")
def main(*, servers: bool, seconds: float) -> None:
    """Measure the bars of the monitor."""
    began_at, machine = datetime.now(UTC), this_machine()
    with tempfile.TemporaryDirectory(prefix="cryptopulse-bench-monitor-") as folder:
        compared = compare_servers(Path(folder)) if servers else None
        figures = [] if servers else [*loaded_figures(Path(folder), seconds), *lost_figures(Path(folder))]
    report = Report(began_at, machine, figures, compared)
    click.echo(described(report))
    click.echo(f"\nRaw: {_saved(report)}")


def described(report: Report) -> str:
    """The table, and on what it was measured."""
    rows = [f"{'':34}{'measured':>12}{'bar':>12}"]
    rows += [
        f"{one.name:34}{one.shown:>12}{one.bar_shown:>12}{'' if one.holds else '  MISSED'}" for one in report.figures
    ]
    if report.servers:
        rows += [*report.servers.described()]
    machine = report.machine
    return "\n".join([*rows, "", f"{machine.cpu}, {machine.cores} cores for all, load {machine.load} before.",
                      f"{machine.system}, {machine.python}."])  # fmt: skip


def _saved(report: Report) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"monitor-{report.began_at:%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return path


if __name__ == "__main__":
    main()
