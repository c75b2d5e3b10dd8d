"""Resampling of targets: what the numbers would have been on other targets of the same kind.

Source: the cluster bootstrap, C. A. Field and A. H. Welsh, "Bootstrapping clustered data", JRSS B 69 (2007) 369-390:
whole targets are drawn with replacement, with all their results under all arms, which keeps the pairing.
"""

from math import sqrt
from statistics import NormalDist

import numpy as np

from orchestrator.analysis.beta import t_quantile
from orchestrator.analysis.intervals import CONFIDENCE, Interval
from orchestrator.analysis.tally import Floats, Grid

RESAMPLES = 2000
# Any number will do; a fixed one makes the same rows give the same report.
SEED = 1979


def target_weights(targets: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """How often each target was drawn: one row per resample, each with the sum `targets`."""
    drawn = np.random.default_rng(seed).integers(0, max(1, targets), size=(resamples, targets))
    drawn += np.arange(resamples)[:, None] * targets
    counts = np.bincount(drawn.ravel(), minlength=resamples * targets)
    return counts.reshape(resamples, targets).astype(np.float64)


def resampled_rates(grid: Grid, weights: Floats) -> Floats:
    """The pooled rate of each arm (column) in each resample (row); not a number where it has no result in it."""
    solved, results = weights @ grid.solved.T, weights @ grid.results.T
    return np.divide(solved, results, out=np.full_like(solved, np.nan), where=results > 0)


def resampled_means(values: Floats, weights: Floats) -> Floats:
    """The mean of each row of values (one column per target, not a number where there is none) in each resample."""
    known = ~np.isnan(values)
    sums, counts = weights @ np.where(known, values, 0.0).T, weights @ known.T.astype(np.float64)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def percentiles(resampled: Floats, targets: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval between percentiles of one quantity, set further apart where the targets are few.

    Source: the expanded percentile interval of T. C. Hesterberg, "What teachers should know about the bootstrap",
    The American Statistician 69 (2015) 371-386, section 5.3. Raises ValueError with fewer than 2 targets.
    """
    if targets < 2:
        raise ValueError(f"an interval needs 2 targets or more, found {targets}")
    reach = sqrt(targets / (targets - 1)) * t_quantile(0.5 + confidence / 2, targets - 1)
    tail = NormalDist().cdf(-reach)
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(float(low), float(high))


def with_unseen(differences: Floats, sizes: Floats) -> Floats:
    """Rows of differences (-1 to 1) with two targets more, on which one result more went to either side.

    Resampling cannot draw what was not seen: with one differing target of twenty it would never see the other side
    ahead. `sizes` has for each row what one result is of a target: 1 without repeats. Source: D. G. Bonett and R. M.
    Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data", Journal
    of Educational and Behavioral Statistics 37 (2012) 479-488, which adds one to both counts of differing pairs.
    """
    return np.hstack([differences, sizes[:, None], -sizes[:, None]])
