"""Rates of all arms as they might have been: drawn by target, or by count where only counts are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.bootstrap import RESAMPLES, SEED, resampled_rates, target_weights
from orchestrator.analysis.tally import Arm, Floats, Tally, grid

# With fewer targets, resamples repeat the few that were seen, and shares of resamples look far too sure.
MIN_DRAWN = 10
_UNSEEN = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Rates by resample (row) and arm (column), drawn from so many `units`: targets, or the fewest results."""

    rates: Floats
    units: int

    def claim(self, share: float) -> float:
        """A share of resamples as a probability: never nearer to 0 or 1 than so many units can tell.

        Resamples hold only what was seen, and half a unit more for either side keeps them from certainty (Jeffreys).
        """
        return (share * self.units + 0.5) / (self.units + 1)


def drawn_by_target(arms: Mapping[str, Arm], seed: int = SEED) -> Draws | None:
    """Resampled rates, a column per arm in their order; None on fewer targets than tell of others.

    Each arm gets two targets more that it solves or not by chance: who looks best among several was lucky, too. On 10
    targets without them a choice that was said to be wrong in 6 % was in 22 % (`benchmarks/statistics_check.py`).
    """
    table = grid(arms)
    if len(table.targets) < MIN_DRAWN:
        return None
    rates = resampled_rates(table, target_weights(len(table.targets), seed=seed))
    seen = (table.results > 0).sum(axis=1)
    unseen = np.random.default_rng(seed + 1).binomial(_UNSEEN, 0.5, size=rates.shape)
    return Draws(rates=(rates * seen + unseen) / (seen + _UNSEEN), units=len(table.targets))


def drawn_by_count(counts: Sequence[Tally], resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """Rates drawn where only counts are known: each arm on its own, so pairing cannot help and ties look wider.

    Source: the parametric bootstrap, B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), section
    6.5, with half a success and half a failure added (Jeffreys), for a share of 0 or 1 would never vary.
    """
    solved, results = (np.array(column, dtype=np.float64) for column in zip(*counts, strict=True))
    chances = (solved + 0.5) / (results + 1)
    drawn = np.random.default_rng(seed).binomial(results.astype(np.int64), chances, size=(resamples, len(counts)))
    rates: Floats = np.divide(drawn, results, out=np.full(drawn.shape, np.nan), where=results > 0)
    return Draws(rates=rates, units=int(results.min()))
