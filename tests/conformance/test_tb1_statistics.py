"""The figures published for recorded trials come out of the rows."""

import csv
import gzip
from pathlib import Path

import pytest

from orchestrator.analysis.clusters import standard_errors
from orchestrator.analysis.passes import all_passes
from orchestrator.analysis.tally import Tally, tally

TRIALS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "tb1_trials.csv.gz"

pytestmark = pytest.mark.skipif(not TRIALS.is_file(), reason="the recorded trials are not beside this checkout")


def arms() -> dict[str, dict[str, Tally]]:
    with gzip.open(TRIALS, "rt") as file:
        rows = list(csv.DictReader(file))  # a trial without a verdict counts as unsolved, as it was published
    names = sorted({row["submission"] for row in rows})
    return {
        name: tally((row["task"], row["resolved"] == "1") for row in rows if row["submission"] == name)
        for name in names
    }


def test_the_three_standard_errors_of_droid_with_opus() -> None:
    errors = standard_errors(arms()["20250923_droid_claude-4-1-opus"])

    assert errors is not None
    found = (errors.rate, errors.within, errors.independent, errors.clustered)
    assert [100 * value for value in found if value is not None] == pytest.approx(
        [58.75, 1.22, 2.46, 4.93], abs=0.005
    )


def test_pass_at_k_and_pass_hat_k_of_droid_with_gpt_5() -> None:
    found = all_passes(arms()["20250924_droid_gpt-5"])

    assert [100 * one.at_least_once for one in found] == pytest.approx([52.5, 60.5, 63.375, 65.0, 66.25])
    assert [100 * one.every_time for one in found] == pytest.approx([52.5, 44.5, 39.375, 35.5, 32.5])
    assert {(one.targets, one.of) for one in found} == {(80, 80)}
