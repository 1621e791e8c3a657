"""All benchmarks, into one report: `make bench`."""

from pathlib import Path

import click

from benchmarks import overhead, reduction, scale, throughput, waiters
from benchmarks.alone import RESULTS, options, run_all

_REPORT = Path(__file__).with_name("published")
_ALL = (reduction.measure, overhead.measure, throughput.measure, waiters.measure, scale.measure)


@click.command()
@options
def main(**how: object) -> None:
    """Run all benchmarks one after the other, in less than 20 minutes, and write one report."""
    if how["quick"] and how["results"] == _REPORT:
        how["results"] = RESULTS  # what means little must not stand in place of what does
    path, report = run_all(_ALL, how)
    for section in report.sections:
        click.echo(f"{section.name:<12}{section.headline}")
    click.echo(f"Report: {path}")


if __name__ == "__main__":
    # Only the whole is kept in the repository.
    main(default_map={"results": _REPORT})
