"""A measured quantity over several rows together with its coverage: unknown values are counted, never taken as 0."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from orchestrator.analysis.tally import Floats


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Sum, mean, median and range of the known values; each None when nothing is known.

    `known` of `of` values were known. `total` is a lower bound of the true sum unless `complete`.
    """

    known: int
    of: int
    total: float | None
    mean: float | None
    median: float | None
    low: float | None
    high: float | None

    @property
    def complete(self) -> bool:
        """Whether there are values and every one is known."""
        return self.of > 0 and self.known == self.of

    @property
    def coverage(self) -> str:
        """`18 of 24 known`."""
        return f"{self.known} of {self.of} known"


def measure(values: Iterable[float | None]) -> Measure:
    """Summarise values of which some may be unknown."""
    every = list(values)
    known = sorted(value for value in every if value is not None)
    if not known:
        return Measure(known=0, of=len(every), total=None, mean=None, median=None, low=None, high=None)
    total = sum(known)
    return Measure(
        known=len(known),
        of=len(every),
        total=total,
        mean=total / len(known),
        median=median(known),
        low=known[0],
        high=known[-1],
    )


def measure_column(values: Floats, *, counts: bool) -> Measure:
    """As `measure`, of a column in which not a number is unknown; `counts` are whole numbers and stay so."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Measure(known=0, of=len(values), total=None, mean=None, median=None, low=None, high=None)
    total, low, high, middle = (float(one) for one in (known.sum(), known.min(), known.max(), np.median(known)))
    if counts:
        total, low, high = int(total), int(low), int(high)
        middle = int(middle) if len(known) % 2 else middle
    return Measure(
        known=len(known), of=len(values), total=total, mean=total / len(known), median=middle, low=low, high=high
    )
