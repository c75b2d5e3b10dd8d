"""How often a race stops a profile that is best, and how many runs it takes: simulated matrices, many of each kind.

Targets are hard or easy for every profile and suit some better than others, so repeats of one target are alike. Every
case is looked at after every target. Exits with 1 where the best profile is stopped more often than was stated.
"""

import sys
from math import sqrt

import numpy as np

from orchestrator.analysis.race import RaceRow
from orchestrator.analysis.race_replay import replay
from orchestrator.domain.race import Race

RACES = 1000
CASES: list[tuple[str, list[float], int, int, Race]] = [
    ("2 equal", [0.5, 0.5], 200, 1, Race()),
    ("5 equal", [0.4] * 5, 100, 1, Race()),
    ("5 equal, 3 repeats", [0.4] * 5, 60, 3, Race()),
    ("5 equal, error rate 0.2", [0.4] * 5, 100, 1, Race(error_rate=0.2)),
    ("10 equal and easy", [0.9] * 10, 100, 1, Race()),
    ("2 equal before 3 worse", [0.6, 0.6, 0.3, 0.3, 0.3], 100, 1, Race()),
    ("1 a little ahead of 4", [0.55, 0.5, 0.5, 0.5, 0.5], 100, 1, Race()),
    ("1 far ahead of 4", [0.8, 0.3, 0.3, 0.3, 0.3], 100, 1, Race()),
    ("1 far ahead of 4, 3 repeats", [0.8, 0.3, 0.3, 0.3, 0.3], 100, 3, Race()),
    ("2 near, 3 far, margin 0.05", [0.6, 0.57, 0.3, 0.3, 0.3], 100, 1, Race(margin=0.05)),
]


def simulated(seed: int, rates: list[float], targets: int, repeats: int) -> list[RaceRow]:
    """Log-odds of a solution: the profile's, the target's (sd 1.5), and how the two suit each other (sd 1)."""
    random = np.random.default_rng(seed)
    ease = random.normal(0, 1.5, targets)
    rows = []
    for at, rate in enumerate(rates):
        odds = np.log(rate / (1 - rate)) + ease + random.normal(0, 1.0, targets)
        solved = random.random((repeats, targets)) < 1 / (1 + np.exp(-odds))
        rows += [
            RaceRow(
                arm=f"{at}",
                target=f"{target:04}",
                repeat=repeat + 1,
                order=target,
                ended=True,
                solved=bool(solved[repeat, target]),
            )
            for repeat in range(repeats)
            for target in range(targets)
        ]
    return rows


def main() -> int:
    """Print a line for each case."""
    print(f"{RACES} races each. 'wrong': a profile as good as the best was stopped (with a margin: the one best).")
    print(f"{'case':32} {'stated':>7} {'wrong':>7} {'stopped of the worse':>21} {'runs used':>10}")
    missed = False
    for name, rates, targets, repeats, rules in CASES:
        best = {f"{at}" for at, rate in enumerate(rates) if rate == max(rates)}
        found = [replay(simulated(seed, rates, targets, repeats), rules) for seed in range(RACES)]
        wrong = sum(any(stop.arm in best for stop in one.stops) for one in found) / RACES
        worse = len(rates) - len(best)
        gone = np.mean([sum(stop.arm not in best for stop in one.stops) for one in found]) / worse if worse else None
        used = np.mean([one.runs / one.of_runs for one in found])
        shown = "–" if gone is None else f"{100 * gone:.0f} %"
        print(f"{name:32} {rules.error_rate:7.2f} {wrong:7.3f} {shown:>21} {100 * used:8.0f} %")
        missed |= wrong > rules.error_rate + 2 * sqrt(rules.error_rate * (1 - rules.error_rate) / RACES)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
