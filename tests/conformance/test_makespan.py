"""On recorded trials of six agents, longest guessed first comes within 4 % of what no order can beat."""

from pathlib import Path

import pytest

from orchestrator.analysis.simulate import simulate
from orchestrator.analysis.workload import recorded
from orchestrator.files.trials import load_trials

_TRIALS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "tb1_trials.csv.gz"

pytestmark = pytest.mark.skipif(not _TRIALS.is_file(), reason="the recorded trials are not beside this checkout")


@pytest.mark.parametrize("seed", range(5))
def test_guessed_durations_are_enough_at_64_slots(seed: int) -> None:
    trials, without = load_trials(_TRIALS)
    assert (len(trials), without) == (2371, 1172)
    work = recorded(trials, 64, seed)
    done = simulate(work.jobs, work.slots, tick_seconds=0.1)
    assert done.lower_bound_seconds == pytest.approx(sum(trial.seconds for trial in trials) / 64)
    assert done.ratio is not None
    assert done.ratio <= 1.04
