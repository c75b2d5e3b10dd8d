"""What a job will take of something, from runs that ended: mean, middle, and an interval for the next run.

Times, tokens and money of agents are skewed: a run of the same task takes twice as long, or half. So the logarithm is
taken as normal, and the interval is that of one more observation, `mu ± t s √(1 + 1/n)`, back from the logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log, sqrt
from statistics import fmean

from orchestrator.analysis.beta import t_quantile

# Fewer runs than these say too little: agents' times vary by a factor of two and more on the same task.
LEAST_RUNS = 3
# Of ten next runs eight lie within the interval.
COVERAGE = 0.8


class Source(StrEnum):
    """Which runs an estimate is from; the nearest that are at least `LEAST_RUNS` are taken, in this order."""

    CELL = "same profile, same target"
    AGENT_ON_TARGET = "same agent and models, same target"
    SIZED = "same agent and models, sized by others on this target"
    PROFILE = "same profile, other targets"
    AGENT = "same agent and models, other targets"
    TARGET = "other agents on this target"

    @property
    def of_this_target(self) -> bool:
        """Whether runs of this very agent on this very target were seen."""
        return self in (Source.CELL, Source.AGENT_ON_TARGET)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The spread of logarithms: of one run (`sigma`), with its degrees of freedom, and of the centre as a share."""

    sigma: float
    degrees: float
    centre: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one more run takes. `mean` is for sums, `middle` (the median) for one job.

    `spread` is None where too few targets or agents were seen to tell how much another one differs. `most` is a
    limit that ends the run.
    """

    source: Source
    runs: int
    mean: float
    middle: float
    spread: Spread | None = None
    most: float | None = None

    @property
    def low(self) -> float | None:
        """The lower end of the interval, None where the spread is unknown."""
        return self._end(-1)

    @property
    def high(self) -> float | None:
        """The upper end, at most the limit."""
        return self._end(1)

    def _end(self, sign: int) -> float | None:
        if self.spread is None:
            return None
        spread = self.spread
        reach = t_quantile((1 + COVERAGE) / 2, spread.degrees) * spread.sigma * sqrt(1 + spread.centre)
        return self._limited(self.middle * exp(min(sign * reach, 700.0)))

    def _limited(self, value: float) -> float:
        return value if self.most is None else min(value, self.most)

    def limited(self, most: float | None) -> "Estimate":
        """The same under a limit."""
        if most is None:
            return self
        mean, middle = min(self.mean, most), min(self.middle, most)
        return Estimate(source=self.source, runs=self.runs, mean=mean, middle=middle, spread=self.spread, most=most)


def logs(values: Sequence[float]) -> list[float]:
    """Logarithms; what is 0 among others counts as half of the smallest of them."""
    floor = min((value for value in values if value > 0), default=2.0) / 2
    return [log(value if value > 0 else floor) for value in values]


def estimate_alike(source: Source, values: Sequence[float]) -> Estimate:
    """From runs of the same thing."""
    if not any(values):
        return _nothing(source, len(values))
    found = logs(values)
    mu, count = fmean(found), len(found)
    sigma = sqrt(sum((one - mu) ** 2 for one in found) / (count - 1))
    spread = Spread(sigma=sigma, degrees=count - 1.0, centre=1 / count)
    return Estimate(source=source, runs=count, mean=fmean(values), middle=exp(mu), spread=spread)


def estimate_another(source: Source, values: Sequence[float], groups: Sequence[str]) -> Estimate:
    """For a thing that was not seen, from runs of others like it: as many as there are `groups`, not runs."""
    if not any(values):
        return _nothing(source, len(values))
    found, kinds = logs(values), len(set(groups))
    mu = fmean(found)
    spread = None
    if kinds >= LEAST_RUNS:
        sigma = sqrt(sum((one - mu) ** 2 for one in found) / (len(found) - 1))
        spread = Spread(sigma=sigma, degrees=kinds - 1.0, centre=1 / kinds)
    return Estimate(source=source, runs=len(values), mean=fmean(values), middle=exp(mu), spread=spread)


def _nothing(source: Source, runs: int) -> Estimate:
    return Estimate(source=source, runs=runs, mean=0.0, middle=0.0, spread=Spread(sigma=0, degrees=1, centre=0))
