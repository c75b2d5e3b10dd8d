"""On recorded trials of six agents, longest guessed first comes within 4 % of what no order can beat."""

import csv
import gzip
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.analysis.simulate import SimulatedJob, guessed_from_others, simulate
from orchestrator.domain.order import Placed, interleave

_TRIALS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "tb1_trials.csv.gz"

pytestmark = pytest.mark.skipif(not _TRIALS.is_file(), reason="the recorded trials are not beside this checkout")


def _trials() -> tuple[list[Placed], list[float]]:
    """Every trial that has its times, as (task, submission, repeat), and its seconds."""
    placed: list[Placed] = []
    seconds: list[float] = []
    runs: dict[tuple[str, str], int] = {}
    with gzip.open(_TRIALS, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["started"] and row["ended"]:
                cell = row["task"], row["submission"]
                runs[cell] = runs.get(cell, 0) + 1
                placed.append(Placed(target=cell[0], profile=cell[1], repeat=runs[cell]))
                took = datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["started"])
                seconds.append(took.total_seconds())
    return placed, seconds


@pytest.mark.parametrize("seed", range(5))
def test_guessed_durations_are_enough_at_64_slots(seed: int) -> None:
    placed, seconds = _trials()
    assert len(placed) == 2371
    guesses = guessed_from_others([(job.target, job.profile) for job in placed], seconds)
    places = interleave(placed, seed, expected=guesses)
    jobs = [SimulatedJob(("pool:x",), at, took) for at, took in zip(places, seconds, strict=True)]
    done = simulate(jobs, {"pool:x": 64}, tick_seconds=0.1)
    assert done.lower_bound_seconds == pytest.approx(sum(seconds) / 64)
    assert done.ratio is not None
    assert done.ratio <= 1.04
