"""A score of one arm that no other arm can move: quality against budgets that are stated beforehand.

The legacy score divides by the largest cost and time among the runs shown, so that leaving one out reorders the
others, and a run that costs nothing wins with any quality. Here both are measured against fixed budgets for one job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.analysis.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one job may cost before it counts as much as its weight says; `weight`s are of money and of time.

    At the budget and a weight of 0.3 an arm needs 1.3 times the solved jobs of one that costs nothing.
    """

    cost_usd: float = 1.0
    seconds: float = 1800.0
    cost_weight: float = 0.3
    time_weight: float = 0.3

    def __post_init__(self) -> None:
        """Refuse budgets that nothing can be measured against. Raises ValueError."""
        if self.cost_usd <= 0 or self.seconds <= 0:
            raise ValueError(f"budgets must be positive, found {self.cost_usd} USD and {self.seconds} s")
        if self.cost_weight < 0 or self.time_weight < 0:
            raise ValueError(f"weights must not be negative, found {self.cost_weight} and {self.time_weight}")


@dataclass(frozen=True, kw_only=True)
class ScoredArm:
    """What goes in: solved jobs (every check passed) of all that were planned, of which `missing` gave no result.

    `cost_usd` and `seconds` are means over results, None where one of them is unknown.
    """

    label: str
    solved: int
    planned: int
    missing: int = 0
    cost_usd: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class FixedScore:
    """0-100. `value` takes missing jobs as not solved, `span` up to all of them solved. None with a `refusal`."""

    label: str
    value: float | None
    span: Interval | None = None
    refusal: str = ""


def fixed_score(arm: ScoredArm, budget: Budget) -> FixedScore:
    """100 x solved / planned, divided by 1 + cost weight x cost / budget + time weight x time / budget.

    Source: our own. The denominator is what was planned, so that no job can leave it; an unknown cost or time makes
    the score unknown unless its weight is 0. Raises ValueError where more is solved or missing than planned.
    """
    if not 0 <= arm.solved <= arm.planned - arm.missing <= arm.planned:
        counts = f"{arm.solved} solved and {arm.missing} missing of {arm.planned} planned"
        raise ValueError(f"{arm.label}: {counts} cannot be")
    cost = ("cost", budget.cost_weight, arm.cost_usd, budget.cost_usd)
    time = ("time", budget.time_weight, arm.seconds, budget.seconds)
    unknown = [name for name, weight, used, _ in (cost, time) if weight and used is None]
    if not arm.planned or unknown:
        reason = f"{' and '.join(unknown)} not fully known" if arm.planned else "no job was planned"
        return FixedScore(label=arm.label, value=None, refusal=reason)
    burden = 1 + sum(weight * (used or 0.0) / allowed for _, weight, used, allowed in (cost, time))
    low, high = (100 * count / arm.planned / burden for count in (arm.solved, arm.solved + arm.missing))
    return FixedScore(label=arm.label, value=low, span=Interval(low, high))


def first_by_weight(
    arms: Sequence[ScoredArm], budget: Budget, weights: Sequence[float] = (0.0, 0.1, 0.3, 1.0, 3.0)
) -> Mapping[str, float]:
    """The share of all combinations of the two weights in which each arm has the highest score, ties shared.

    An arm that is first for every weight needs no agreement on what money and time are worth. Only arms with a known
    score at every weight take part; empty without two of them, and where none solved anything.
    """
    settings = [replace(budget, cost_weight=cost, time_weight=time) for cost in weights for time in weights]
    values = [{arm.label: fixed_score(arm, setting).value for arm in arms} for setting in settings]
    able = [arm.label for arm in arms if all(found[arm.label] is not None for found in values)]
    if len(able) < 2 or not any(found[label] for found in values for label in able):
        return {}
    first = dict.fromkeys(able, 0.0)
    for found in values:
        top = max((found[label] or 0.0 for label in able), default=0.0)
        winners = [label for label in able if found[label] == top]
        for label in winners:
            first[label] += 1 / len(winners) / len(settings)
    return first
