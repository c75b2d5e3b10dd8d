"""Sums of estimates: of what is known, with its coverage, and with the range in which the sum lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from orchestrator.analysis.estimate import Estimate
from orchestrator.analysis.sampler import Sampler

# Enough for two digits of a range; for large matrices the range is narrow anyway.
_DRAWS, _JOBS = 400, 4_000_000


@dataclass(frozen=True, kw_only=True)
class Total:
    """`mean` is the sum of the known means, None without any: a lower bound unless all of `of` are known.

    Eight of ten sums lie between `low` and `high`; None where a part or its spread is unknown.
    """

    known: int
    of: int
    mean: float | None
    low: float | None = None
    high: float | None = None

    @property
    def complete(self) -> bool:
        """Whether it is no lower bound."""
        return self.known == self.of


def total(estimates: Sequence[Estimate | None], kin: Sequence[str], seed: int = 0) -> Total:
    """The sum over jobs; `kin` is as for `Sampler`. The same arguments give the same total."""
    known = [one for one in estimates if one is not None]
    if not known:
        return Total(known=0, of=len(estimates), mean=None)
    mean = fsum(one.mean for one in known)
    if len(known) < len(estimates) or any(one.spread is None for one in known):
        return Total(known=len(known), of=len(estimates), mean=mean)
    chance, sampler = np.random.default_rng(seed), Sampler(estimates, kin)
    draws = max(20, min(_DRAWS, _JOBS // len(known)))
    sums = [float(sampler.draw(chance, chance.standard_normal(len(known))).sum()) for _ in range(draws)]
    low, high = np.quantile(sums, [0.1, 0.9]).tolist()
    # Of skewed parts the mean may lie outside; a range without its sum would only confuse.
    return Total(known=len(known), of=len(known), mean=mean, low=min(low, mean), high=max(high, mean))
