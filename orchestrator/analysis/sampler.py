"""Draws of what jobs will take: where estimates come from the same runs, what these leave open is drawn once for all.

For each simulated night: the true spread and centre of each set of runs (inverse chi-square and normal, the posterior
of a normal), then every job around them. A single job so drawn has about its estimate's interval.

Three runs leave it open whether a job takes a thousand times as long, and of hundreds of jobs some would each night.
So the spreads of many sets are moved towards what is usual among them, and none is drawn as more than 1.5 of itself.
Source of the first: G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression",
Statistical Applications in Genetics and Molecular Biology 3 (2004), article 3.
"""

from collections.abc import Mapping, Sequence
from math import log
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.estimate import Estimate

Floats = npt.NDArray[np.float64]
_NORMAL = NormalDist()
# What is usual weighs as much as so many degrees of freedom, and is asked of so many sets of runs at the least.
_USUAL_DEGREES, _FEWEST_SETS = 4.0, 5
_WIDEST = 1.5


class Sampler:
    """Of one quantity, for jobs in their order. `kin` names what a job shares with its repeats: its target.

    Where only other targets were seen, all repeats on one target are drawn alike: they will be long together.
    """

    def __init__(self, estimates: Sequence[Estimate | None], kin: Sequence[str]) -> None:
        fits: dict[object, int] = {}
        shown: list[Estimate] = []
        twins: dict[tuple[int, str], int] = {}
        fit_of, like = [], []
        for index, (found, name) in enumerate(zip(estimates, kin, strict=True)):
            if found is None:
                fit_of.append(-1)
                like.append(index)
                continue
            key = (found.source, found.runs, found.middle, found.spread)
            if key not in fits:
                fits[key] = len(shown)
                shown.append(found)
            fit_of.append(fits[key])
            like.append(index if found.source.of_this_target else twins.setdefault((fits[key], name), index))
        self._fit, self._like = np.array(fit_of, dtype=np.int64), np.array(like, dtype=np.int64)
        self.known = self._fit >= 0
        spreads = [one.spread for one in shown]
        self._mu = np.array([log(one.middle) if one.middle > 0 else -np.inf for one in shown])
        self._sigma = np.array([one.sigma if one else 0.0 for one in spreads])
        self._degrees = np.array([one.degrees if one else 1.0 for one in spreads])
        self._centre = np.array([one.centre if one else 0.0 for one in spreads])
        near = np.array([one.source.of_this_target for one in shown], dtype=bool)
        for alike in (near, ~near):
            _towards_usual(self._sigma, self._degrees, alike & (self._sigma > 0))
        self._most = np.array([np.inf if e is None or e.most is None else e.most for e in estimates])

    def draw(self, chance: np.random.Generator, normal: Floats, elapsed: Mapping[int, float] | None = None) -> Floats:
        """One night; what is unknown is NaN. `normal` holds a standard normal number per job.

        Jobs that run for `elapsed` already take longer than that: for them it is what is left.
        """
        drawn = np.full(len(self._fit), np.nan)
        if not self._mu.size:
            return drawn
        wider = np.sqrt(self._degrees / chance.chisquare(self._degrees))
        sigma = self._sigma * np.minimum(wider, _WIDEST)
        # The centre is as uncertain as the spread of this night says.
        mu = self._mu + sigma * np.sqrt(self._centre) * chance.standard_normal(len(sigma))
        z = normal[self._like]
        for index, gone in (elapsed or {}).items():
            if self.known[index] and sigma[self._fit[index]] > 0:
                z[index] = _beyond(mu[self._fit[index]], sigma[self._fit[index]], gone, z[index])
        which = self._fit[self.known]
        drawn[self.known] = np.exp(np.minimum(mu[which] + sigma[which] * z[self.known], 700.0))
        drawn = np.where(drawn > self._most, self._most, drawn)
        for index, gone in (elapsed or {}).items():
            drawn[index] = max(0.0, drawn[index] - gone) if self.known[index] else np.nan
        return drawn


def _towards_usual(sigma: Floats, degrees: Floats, which: npt.NDArray[np.bool_]) -> None:
    """Change these spreads in place. The usual variance is a median, so that a few wild sets do not make it."""
    if which.sum() < _FEWEST_SETS:
        return
    variance, own = sigma[which] ** 2, degrees[which]
    # The median of chi-square by its mean, after Wilson and Hilferty.
    usual = float(np.median(variance / (1 - 2 / (9 * own)) ** 3))
    sigma[which] = np.sqrt((own * variance + _USUAL_DEGREES * usual) / (own + _USUAL_DEGREES))
    degrees[which] = own + _USUAL_DEGREES


def _beyond(mu: float, sigma: float, gone: float, z: float) -> float:
    """The same quantile among the runs that take longer than `gone`."""
    if gone <= 0:
        return z
    past = _NORMAL.cdf((log(gone) - mu) / sigma)
    share = past + (1 - past) * _NORMAL.cdf(z)
    return _NORMAL.inv_cdf(min(max(share, 1e-12), 1 - 1e-12))
