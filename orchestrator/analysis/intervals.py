"""Intervals of solved rates, and of the difference of two."""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

from orchestrator.analysis.beta import beta_quantile

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A closed interval of shares (0-1) or of differences of shares (-1 to 1)."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Length of the interval."""
        return self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether the value lies inside."""
        return self.low <= value <= self.high


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a share; (0, 1) for n = 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927)
    209-212; recommended for small n by Brown, Cai and DasGupta, Statistical Science 16 (2001) 101-133.
    Raises ValueError when not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"0 <= successes <= n must hold, found {successes} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    z = _z(confidence)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the edges the exact bound is the edge; rounding must not put the share outside its interval.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a share; (0, 1) for n = 0. Counts need not be whole (an effective number of results).

    It covers the truth at least as often as it says, for every n and every true share, and is wider for that;
    Wilson's covers so often on the average. Take Wilson's to describe, this one where a claim rests on few or on
    unanimous results. Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated
    in the case of the binomial", Biometrika 26 (1934) 404-413. Raises ValueError when not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"0 <= successes <= n must hold, found {successes} of {n}")
    tail = (1 - confidence) / 2
    _z(confidence)
    low = beta_quantile(tail, successes, n - successes + 1) if successes > 0 else 0.0
    high = beta_quantile(1 - tail, successes + 1, n - successes) if successes < n else 1.0
    return Interval(low, high)


def difference(first: tuple[int, int], second: tuple[int, int], confidence: float = CONFIDENCE) -> Interval:
    """Interval of `first` share minus `second` share; each is (successes, n) of independent jobs.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998) 873-890, method 10 (hybrid score). Without data on one side it is (-1, 1).
    """
    if first[1] == 0 or second[1] == 0:
        return Interval(-1.0, 1.0)
    a, b = wilson(*first, confidence), wilson(*second, confidence)
    share_a, share_b = first[0] / first[1], second[0] / second[1]
    delta = share_a - share_b
    low = delta - sqrt((share_a - a.low) ** 2 + (b.high - share_b) ** 2)
    high = delta + sqrt((a.high - share_a) ** 2 + (share_b - b.low) ** 2)
    return Interval(max(-1.0, low), min(1.0, high))
