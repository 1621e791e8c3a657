"""A whole benchmark, small: real servers, real processes; and the pure parts of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import virtual
from benchmarks.reduction import users_within_limit
from benchmarks.trace import SHAPES
from benchmarks.variants import BUDGET, FRESHNESS, PATIENT, SHIPPED, VARIANTS
from benchmarks.virtual import NotOptimal, assert_optimal, simulated

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.timeout(150)  # real servers, on a busy machine
def test_it_runs_alone_and_writes_what_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.reduction", "--quick", "--results", str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        finally:
            process.terminate()  # it ends what it started
    assert process.returncode == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    [real] = re.findall(r"real instances.*\n\n(?:\|.*\n){2}\| ride-along \| (\d+) \| ([\d.]+)% \| (\d+) ", report)
    assert real[1] == "100.0"
    assert 0 < int(real[2]) < int(real[0])
    assert report.partition("## ")[2].strip() in printed
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "reduction.json", "calls-against-waits.svg"}


def test_of_all_variants_only_patience_and_older_prices_come_to_the_fewest_calls() -> None:
    runs = {(run.shape, run.variant): run.summary for run in simulated(60, seed=1) if run.limit_a_minute is None}
    for shape in SHAPES:
        assert runs[shape.name, PATIENT.name].calls == runs[shape.name, PATIENT.name].fewest
        for variant in VARIANTS:
            figures = runs[shape.name, variant.name]
            assert figures.share == 1
            assert figures.calls >= figures.fewest or variant is FRESHNESS
    assert runs["steady", SHIPPED.name].calls > runs["steady", BUDGET.name].calls


def test_within_a_budget_an_upstream_like_the_free_plan_refuses_nothing() -> None:
    limited = [run for run in simulated(60, seed=1) if run.limit_a_minute and run.variant == BUDGET.name]
    assert [(run.summary.calls_refused, run.summary.share) for run in limited] == [(0, 1.0)] * len(SHAPES)


def test_a_policy_that_makes_a_call_too_many_ends_it_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "PATIENT", SHIPPED)
    with pytest.raises(NotOptimal, match=r"steady: \d+ calls, where \d+ would do"):
        assert_optimal("steady", SHAPES[0].make(60, 1))


def test_no_user_comes_to_the_limit_as_shipped() -> None:
    assert [users_within_limit(requests) for requests in (0, 1, 20, 21, 800)] == [1, 1, 1, 2, 40]
