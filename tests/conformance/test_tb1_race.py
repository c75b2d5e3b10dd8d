"""A race over recorded trials ends with the winner of all of them, after a third of the runs.

The three best submissions (60.1, 54.7 and 51.9 % solved) cannot be told apart on 80 targets, so a race does not end
by itself. "The same winner" means: the winner of all trials was never stopped, and it has the best rate of those that
were not when `most_runs` ended the race.
"""

import csv
import gzip
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.analysis.race import RaceRow
from orchestrator.analysis.race_replay import replay
from orchestrator.domain.race import Race

TRIALS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "tb1_trials.csv.gz"
ORDERS = 40
WINNER = "20250923_droid_claude-4-1-opus"

pytestmark = pytest.mark.skipif(not TRIALS.is_file(), reason="the recorded trials are not beside this checkout")


def trials(seed: int) -> list[RaceRow]:
    """The trials with targets, and the trials of each cell, in an order drawn by `seed`."""
    with gzip.open(TRIALS, "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: draw(seed, row["submission"], row["trial"], row["run"]))
    targets = sorted({row["task"] for row in rows}, key=lambda task: draw(seed, task))
    place = {task: at for at, task in enumerate(targets)}
    made: Counter[tuple[str, str]] = Counter()
    found = []
    for row in rows:
        cell = row["submission"], row["task"]
        made[cell] += 1
        # A trial without a verdict says nothing: it ended before it was judged.
        solved = None if row["resolved"] == "" else row["resolved"] == "1"
        found.append(
            RaceRow(arm=cell[0], target=cell[1], repeat=made[cell], order=place[cell[1]], ended=True, solved=solved)
        )
    return found


def draw(seed: int, *names: str) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *names)).encode()).digest()


def test_the_same_winner_with_35_percent_of_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    rules = Race(margin=0.05, most_runs=0.345)
    found = [replay(trials(seed), rules) for seed in range(ORDERS)]

    shares = [one.runs / one.of_runs for one in found]
    same = sum(one.winner == WINNER for one in found)
    kept = sum(WINNER in dict(one.inside) for one in found)
    with capsys.disabled():
        print(
            f"\nof {ORDERS} orders: same winner {same}, winner never stopped {kept}; runs {100 * min(shares):.1f} to "
            f"{100 * max(shares):.1f} %; left at the end {sorted(Counter(len(one.inside) for one in found).items())}"
        )
    assert max(shares) <= 0.35
    assert kept == ORDERS
    assert same >= 0.9 * ORDERS


def test_without_an_end_the_race_keeps_who_cannot_be_told_apart() -> None:
    found = replay(trials(0), Race(margin=0.05))

    assert [arm for arm, _ in found.inside] == [WINNER, "20250924_droid_gpt-5", "20250923_droid_claude-4-sonnet"]
    assert not found.spent
