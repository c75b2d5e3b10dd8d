"""How sure a mean cost is: targets drawn anew with all their results, as for rates."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.analysis.bootstrap import percentiles, target_weights
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.tally import Floats
from orchestrator.analysis.variants import labels, variant_of

# Resamples of fewer targets repeat the few that were seen, and the mean looks far too sure.
MIN_TARGETS = 5


def cost_intervals(jobs: Sequence[JobRow]) -> dict[str, Interval]:
    """The 95 % interval of the mean list price of a result, in micro-dollars, by label of the variant.

    Only variants whose cost is known for every result, on `MIN_TARGETS` targets or more. Source: see `bootstrap`.
    """
    named = labels(jobs)
    found: dict[str, dict[str, list[int | None]]] = {}
    for job in jobs:
        if standing(job) is Standing.RESULT:
            by_target = found.setdefault(named[variant_of(job)], {})
            by_target.setdefault(job.target, []).append(job.cost_usd_micros)
    weights: dict[int, Floats] = {}
    return {
        label: _interval(costs, weights)
        for label, by_target in found.items()
        if len(costs := _complete(by_target)) >= MIN_TARGETS
    }


def _complete(by_target: Mapping[str, Sequence[int | None]]) -> list[list[int]]:
    known = [[cost for cost in by_target[target] if cost is not None] for target in sorted(by_target)]
    counts = sum(map(len, by_target.values()))
    return known if sum(map(len, known)) == counts else []


def _interval(costs: Sequence[Sequence[int]], weights: dict[int, Floats]) -> Interval:
    """Resamples of so many targets are drawn once for all variants that have as many."""
    size = len(costs)
    if size not in weights:
        weights[size] = target_weights(size)
    sums, counts = np.array([float(sum(one)) for one in costs]), np.array([float(len(one)) for one in costs])
    mean = float(sums.sum() / counts.sum())
    low, high = percentiles((weights[size] @ sums) / (weights[size] @ counts), size)
    return Interval(max(0.0, min(low, mean)), max(high, mean))
