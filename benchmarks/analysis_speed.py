"""How long the statistics of a large experiment take: 25 profiles on 500 targets, 2,000 resamples. Wanted: up to 5 s.

Everything that a report computes from the tallies is in it: intervals by target, all 300 pairs with their tests and
correction, and the frontier with the share of resamples of each member.
"""

import random
import sys
import time
from collections.abc import Callable
from functools import partial

from orchestrator.analysis.arms import certainty
from orchestrator.analysis.draws import drawn_by_target
from orchestrator.analysis.frontier_odds import Offer, cheapest_not_worse, frontier_odds
from orchestrator.analysis.paired import compare
from orchestrator.analysis.tally import Tally, total

PROFILES, TARGETS, REPEATS = 25, 500, 3
WANTED_SECONDS = 5.0
Arms = dict[str, dict[str, Tally]]


def made(seed: int = 1) -> Arms:
    """Profiles of different skill on targets of different difficulty."""
    draw = random.Random(seed)
    ease = [draw.random() for _ in range(TARGETS)]
    return {
        f"profile{number:02}": {
            f"target{at:03}": Tally(
                sum(draw.random() < (ease[at] + number / PROFILES) / 2 for _ in range(REPEATS)), REPEATS
            )
            for at in range(TARGETS)
        }
        for number in range(PROFILES)
    }


def _frontier(arms: Arms) -> None:
    offers = [
        Offer(label=label, cost=float(index + 1), rate=total(arm).solved / total(arm).results)
        for index, (label, arm) in enumerate(arms.items())
    ]
    drawn = drawn_by_target(arms)
    frontier_odds(offers, drawn)
    if drawn is not None:
        cheapest_not_worse(offers, drawn, 0.05)


def _sure(arms: Arms) -> None:
    for label, arm in arms.items():
        certainty(label, arm)


def _timed(name: str, work: Callable[[], object]) -> float:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    wall = time.perf_counter() - began
    print(f"{name:32} {wall:6.2f} s (CPU {time.process_time() - cpu:5.2f} s)")
    return wall


def main() -> None:
    """Print the table; exit 1 when the sum is above what is wanted."""
    arms = made()
    spent = _timed("rates, errors, intervals, passes", partial(_sure, arms))
    spent += _timed("300 pairs", partial(compare, arms))
    spent += _timed("frontier", partial(_frontier, arms))
    print(f"{'together':32} {spent:6.2f} s   goal {WANTED_SECONDS:g} s")
    sys.exit(spent > WANTED_SECONDS)


if __name__ == "__main__":
    main()
