"""The whole benchmark, small: real servers, real processes."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.report import Report

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


@pytest.mark.timeout(120)  # two variants, each on new servers, and on a busy machine
def test_batching_saves_calls_and_the_printed_figures_are_those_that_were_counted(tmp_path: Path) -> None:
    printed = printed_by(*SMALL, "--results", str(tmp_path))
    [path] = tmp_path.glob("*.json")
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    off, on = (run.summary for run in report.runs)

    assert off.requests == on.requests == len(report.runs[0].outcomes) == len(report.runs[1].outcomes)
    assert (off.answered, off.other) == (off.requests, {})
    assert (on.answered, on.other) == (on.requests, {})
    assert 0 < on.calls < off.calls <= off.requests

    assert [run.settings for run in report.runs] == [{"BATCH_THRESHOLD": "1"}, {}]
    assert cells(printed, "requests") == [str(off.requests), str(on.requests)]
    assert cells(printed, "upstream calls") == [str(off.calls), str(on.calls)]
    assert cells(printed, "reduction") == [f"{1 - run.calls / run.answered:.1%}" for run in (off, on)]
    assert str(path) in printed
