"""The whole benchmark, small: real servers, real processes."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.reduction import main
from benchmarks.report import Report
from benchmarks.variants import chosen

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--rate=20", "--seconds=2", "--coins=2", "--latency-ms=0", "--seed=7")


def printed_by(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.reduction", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        finally:
            process.terminate()  # it ends what it started
    assert process.returncode == 0
    return printed


def cells(printed: str, label: str) -> list[str]:
    """A row of the table, split."""
    [row] = re.findall(rf"^{label}  +(.+)$", printed, re.MULTILINE)
    return re.split(r"  +", row)


@pytest.mark.timeout(150)  # three variants, each on new servers, and on a busy machine
def test_batching_saves_calls_and_the_printed_figures_are_those_that_were_counted(tmp_path: Path) -> None:
    printed = printed_by(*SMALL, "--results", str(tmp_path))
    [path] = tmp_path.glob("*.json")
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    off, original, ride_along = summaries = [run.summary for run in report.runs]

    assert {len(run.outcomes) for run in report.runs} == {off.requests}
    assert [(run.answered, run.other) for run in summaries] == [(off.requests, {})] * 3
    assert 0 < report.optimum <= ride_along.calls <= original.calls < off.calls <= off.requests

    assert [run.variant for run in report.runs] == chosen("off,original,ride-along", limit_per_minute=None)
    assert cells(printed, "requests") == [str(run.requests) for run in summaries]
    assert cells(printed, "upstream calls") == [str(run.calls) for run in summaries]
    assert cells(printed, "reduction") == [f"{1 - run.calls / run.answered:.1%}" for run in summaries]
    assert str(path) in printed


@pytest.mark.timeout(100)
def test_within_a_budget_the_upstream_refuses_nothing_also_of_coins_that_are_made_up(tmp_path: Path) -> None:
    limited = ("--limit-per-minute=60", "--variants=budget", "--coins=400", "--skew=0")
    printed_by(*SMALL, *limited, "--results", str(tmp_path))
    [path] = tmp_path.glob("*.json")
    [run] = msgspec.json.decode(path.read_bytes(), type=Report).runs
    assert (run.summary.answered, run.summary.other) == (run.summary.requests, {})
    assert any(outcome.coin_id.startswith("made-up") for outcome in run.outcomes)
    assert run.summary.calls_refused == 0
    assert 0 < run.summary.calls_in_a_minute <= 60


@pytest.mark.parametrize("arguments", [["--variants=of"], ["--variants=budget"]])
def test_a_variant_that_there_is_not_starts_nothing(arguments: list[str]) -> None:
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "Invalid value for --variants: no variant" in refused.output
