"""How sure a solved rate is when the results of one target are alike: standard errors and an interval.

Targets are taken as drawn from all those that one could have set; the repeats of one target then count for less than
as many targets would.
"""

from dataclasses import dataclass
from math import sqrt

from orchestrator.analysis.beta import t_quantile
from orchestrator.analysis.intervals import CONFIDENCE, Interval, clopper_pearson
from orchestrator.analysis.tally import Arm, judged, total

# With fewer, the spread between targets is itself guesswork.
MIN_TARGETS = 5


@dataclass(frozen=True, kw_only=True)
class StandardErrors:
    """Of the solved rate, in shares. `within` is None where a target has no repeats, `clustered` with one target, and
    all of them where all results are alike: an error of 0 would claim what nobody has seen.

    `within` holds for these very targets with new repeats, `independent` if every result were a new target, and
    `clustered` for other targets of the same kind: the one to quote when the question is which profile to use.
    """

    rate: float
    within: float | None
    independent: float | None
    clustered: float | None


def standard_errors(arm: Arm) -> StandardErrors | None:
    """The three standard errors of the pooled rate; None without results.

    Source: E. Miller, "Adding error bars to evals", arXiv 2411.00640 (2024), sections 2.1, 2.2 and 3.1; the clustered
    one is the sandwich of K.-Y. Liang and S. L. Zeger, Biometrika 73 (1986) 13-22, without a small-sample factor.
    """
    cells = judged(arm)
    solved, n = total(cells)
    if not n:
        return None
    rate = solved / n
    if solved in (0, n):
        return StandardErrors(rate=rate, within=None, independent=None, clustered=None)
    repeated = all(cell.results > 1 for cell in cells.values())
    # c * p (1 - p) * c / (c - 1): the variance of a target's sum, estimated from its repeats.
    inside = sum(c * s * (c - s) / (c * (c - 1)) for s, c in cells.values()) if repeated else 0.0
    between = sum((s - c * rate) ** 2 for s, c in cells.values())
    return StandardErrors(
        rate=rate,
        within=sqrt(inside) / n if repeated else None,
        independent=sqrt(rate * (1 - rate) / n),
        clustered=sqrt(between) / n if len(cells) > 1 else None,
    )


def effective_results(arm: Arm) -> float | None:
    """As many independent results would be as telling as these. None without results, and never more than there are.

    The results over the design effect, clustered over independent variance. Where all are solved or none is, nothing
    tells how alike repeats are, and each target counts once.
    """
    errors = standard_errors(arm)
    if errors is None:
        return None
    cells = judged(arm)
    n, targets = total(cells).results, len(cells)
    if not errors.independent or not errors.clustered:
        return float(targets)
    correction = targets / (targets - 1)
    return min(float(n), n * errors.independent**2 / (errors.clustered**2 * correction))


def clustered_interval(arm: Arm, confidence: float = CONFIDENCE) -> Interval | None:
    """Clopper and Pearson's interval with the effective number of results; None on fewer than `MIN_TARGETS` targets.

    Source: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", Survey Methodology 24 (1998) 193-201, with their correction by t.
    """
    cells = judged(arm)
    effective = effective_results(arm)
    if effective is None or len(cells) < MIN_TARGETS:
        return None
    solved, n = total(cells)
    share = 0.5 + confidence / 2
    narrowed = (t_quantile(share, n - 1) / t_quantile(share, len(cells) - 1)) ** 2 if n > len(cells) else 1.0
    held = effective * narrowed
    return clopper_pearson(solved / n * held, held, confidence)
