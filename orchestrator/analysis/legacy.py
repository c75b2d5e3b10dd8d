"""The efficiency score of the original showdown, kept to the digit so that old rankings can be reproduced.

It is shown beside, never instead of, the ranking by solved rate: it favours whatever cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_COST_WEIGHT = 0.3
_TIME_WEIGHT = 0.3
_FLOOR = 0.01
_KILL_PENALTY = 0.1
_MAX_PENALTY = 0.5


@dataclass(frozen=True, kw_only=True)
class LegacyRun:
    """The inputs of the score: tasks, cost in US dollars, seconds, and runs ended by a guard."""

    label: str
    completed: int
    total: int
    cost_usd: float
    duration_seconds: float
    kills: int = 0

    @property
    def rate(self) -> float:
        """Completed over total. A total of 0 counts as 1, and the rate may exceed 1: that is how the original did."""
        return self.completed / max(1, self.total)


@dataclass(frozen=True, kw_only=True)
class LegacyScore:
    """A run and its score, best first in a ranking."""

    run: LegacyRun
    score: float


def legacy_scores(runs: Sequence[LegacyRun]) -> tuple[LegacyScore, ...]:
    """Scores of these runs among each other, highest first, equal ones in the given order.

    score = rate / (0.3 * cost / max cost + 0.3 * time / max time + 0.01), less 10 % for each killed stage, 50 % at
    most. A maximum of 0 makes that share 0. Adding or leaving out a run changes the scores of the others.
    """
    max_cost = max((run.cost_usd for run in runs), default=0.0)
    max_time = max((run.duration_seconds for run in runs), default=0.0)
    scored = [LegacyScore(run=run, score=_score(run, max_cost, max_time)) for run in runs]
    return tuple(sorted(scored, key=lambda item: -item.score))


def _score(run: LegacyRun, max_cost: float, max_time: float) -> float:
    cost = run.cost_usd / max_cost if max_cost > 0 else 0.0
    time = run.duration_seconds / max_time if max_time > 0 else 0.0
    penalty = min(_KILL_PENALTY * run.kills, _MAX_PENALTY)
    return run.rate / (_COST_WEIGHT * cost + _TIME_WEIGHT * time + _FLOOR) * (1 - penalty)
