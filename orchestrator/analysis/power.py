"""What an experiment of this size can see, and how many more targets or repeats would settle a comparison.

Source: E. Miller, "Adding error bars to evals", arXiv 2411.00640 (2024), section 5: the variance of a paired
difference is (between + within / repeats) / targets.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from orchestrator.analysis.tally import Arm, judged

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance of paired differences of shares: `between` targets, and `within` one repeat of both arms.

    `within` is None without repeats: then `between` contains it, and nobody can say what repeats would bring.
    """

    targets: int
    repeats: float
    between: float
    within: float | None

    def detectable(self, alpha: float = ALPHA, power: float = POWER) -> float:
        """The smallest true difference that a test at `alpha` finds with chance `power`, in shares."""
        return _reach(alpha, power) * sqrt(self._variance(self.repeats) / self.targets)

    def targets_for(self, difference: float, alpha: float = ALPHA, power: float = POWER) -> int:
        """Targets, in all and with the repeats at hand, that make `difference` detectable."""
        return _whole(_reach(alpha, power) ** 2 * self._variance(self.repeats) / _square(difference))

    def repeats_for(self, difference: float, alpha: float = ALPHA, power: float = POWER) -> int | None:
        """Repeats of each cell, on the targets at hand, that would; None where no number does or nobody can say."""
        if self.within is None:
            return None
        room = self.targets * _square(difference) / _reach(alpha, power) ** 2 - self.between
        return _whole(self.within / room) if room > 0 else None

    def _variance(self, repeats: float) -> float:
        return self.between + (self.within or 0.0) / repeats


def spread(first: Arm, second: Arm) -> Spread | None:
    """From the targets that both have results on; None with fewer than 2 of them.

    One result more for either side is added, as `with_unseen` of the bootstrap does and for its reason.
    """
    one, other = judged(first), judged(second)
    common = sorted(one.keys() & other.keys())
    if len(common) < 2:
        return None
    differences = [one[t].solved / one[t].results - other[t].solved / other[t].results for t in common]
    cells = [cell for t in common for cell in (one[t], other[t])]
    repeats = len(cells) / sum(1 / cell.results for cell in cells)  # the harmonic mean is what variances go by
    mean = sum(differences) / (len(common) + 2)
    variance = (sum(value * value for value in differences) + 2 / repeats**2) / (len(common) + 2) - mean * mean
    if any(cell.results < 2 for cell in cells):
        return Spread(targets=len(common), repeats=repeats, between=variance, within=None)
    # s (c - s) / (c (c - 1)): the unbiased variance of one repeat; a pair has one of each arm.
    inside = sum(c.solved * (c.results - c.solved) / (c.results * (c.results - 1)) for c in cells) / len(common)
    return Spread(targets=len(common), repeats=repeats, between=max(0.0, variance - inside / repeats), within=inside)


def independent_results(
    first: float, second: float, difference: float, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Results of each of two arms with these rates that make `difference` detectable, all results being independent.

    Rates of 0 and 1 count as 1 % off, since nobody knows them to be exact. Source: J. L. Fleiss, B. Levin
    and M. C. Paik, Statistical Methods for Rates and Proportions (2003), section 4.3, without continuity correction.
    """
    variance = sum(max(rate * (1 - rate), 0.01) for rate in (first, second))
    return _whole(_reach(alpha, power) ** 2 * variance / _square(difference))


def _reach(alpha: float, power: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)


def _square(difference: float) -> float:
    if not difference:
        raise ValueError("no number of targets or repeats tells a difference of 0; name the smallest that matters")
    return difference * difference


def _whole(number: float) -> int:
    return max(1, ceil(number - 1e-9))
