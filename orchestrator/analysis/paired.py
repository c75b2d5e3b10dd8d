"""Arms compared two by two on the targets that both have results on: how far apart, and can one say so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from math import ceil, log2

import numpy as np

from orchestrator.analysis.bootstrap import SEED, agreeing, percentiles, resampled_means, target_weights
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.multiplicity import holm
from orchestrator.analysis.sign_test import mcnemar, sign_flip
from orchestrator.analysis.tally import Arm, Floats, Grid, grid

# The chance, over all pairs together, of telling apart what is equal.
ALPHA = 0.05


class PairTest(StrEnum):
    """How the p-value was made."""

    MCNEMAR = "exact McNemar"
    SIGN_FLIP = "sign flips by target"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`first` against `second` on `targets` that both have results on; each target counts once, whatever its repeats.

    `difference` is the mean over targets of first share minus second share (-1 to 1), `interval` its 95 % interval on
    its own. `p_value` is of this pair alone, `p_corrected` after Holm over all pairs. All None with a `refusal`.
    """

    first: str
    second: str
    targets: int
    first_better: int
    second_better: int
    difference: float | None = None
    interval: Interval | None = None
    test: PairTest | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    refusal: str = ""

    @property
    def apart(self) -> bool:
        """Whether the data tell them apart, with all pairs taken into account."""
        return self.p_corrected is not None and self.p_corrected <= ALPHA


def targets_to_tell(pairs: int) -> int:
    """The fewest targets on which so many comparisons could tell two apart, were one better on every target."""
    return ceil(1 + log2(max(1, pairs) / ALPHA))


def compare(arms: Mapping[str, Arm], seed: int = SEED) -> tuple[Pair, ...]:
    """Every pair, in the order of the arms; refused where even one that is better on all targets could be chance."""
    table = grid(arms)
    places = list(combinations(range(len(table.labels)), 2))
    if not places:
        return ()
    shares = table.shares
    differences = np.array([shares[first] - shares[second] for first, second in places])
    means = resampled_means(differences, target_weights(len(table.targets), seed=seed))
    flips = _flips(table, places, differences, seed)
    pairs = [_pair(table, place, differences[at], means[:, at], flips.get(at)) for at, place in enumerate(places)]
    corrected = iter(holm([pair.p_value for pair in pairs if pair.p_value is not None]))
    return tuple(pair if pair.p_value is None else replace(pair, p_corrected=next(corrected)) for pair in pairs)


def _flips(table: Grid, places: list[tuple[int, int]], differences: Floats, seed: int) -> dict[int, float]:
    """The p-values of pairs that have repeats; those without have McNemar's test, which is exact for any number."""
    repeated = [at for at, (first, second) in enumerate(places) if _repeats(table, first, second, differences[at])]
    if not repeated:
        return {}
    return dict(zip(repeated, sign_flip(np.nan_to_num(differences[repeated]), seed=seed), strict=True))


def _repeats(table: Grid, first: int, second: int, differences: Floats) -> bool:
    common = ~np.isnan(differences)
    return bool((table.results[[first, second]][:, common] > 1).any())


def _pair(table: Grid, place: tuple[int, int], row: Floats, means: Floats, flipped: float | None) -> Pair:
    known = row[~np.isnan(row)]
    better, worse = int((known > 0).sum()), int((known < 0).sum())
    bare = Pair(
        first=table.labels[place[0]],
        second=table.labels[place[1]],
        targets=len(known),
        first_better=better,
        second_better=worse,
    )
    if len(known) < targets_to_tell(1):
        return replace(bare, refusal=_refusal(len(known)))
    difference = float(known.mean())
    alike = better == worse == 0 or bool(np.ptp(known) == 0)
    return replace(
        bare,
        difference=difference,
        interval=agreeing(difference, len(known)) if alike else percentiles(means, len(known)),
        test=PairTest.MCNEMAR if flipped is None else PairTest.SIGN_FLIP,
        p_value=mcnemar(better, worse) if flipped is None else flipped,
    )


def _refusal(targets: int) -> str:
    least = targets_to_tell(1)
    if not targets:
        return f"no target has results of both; {least} or more are needed"
    return (
        f"{targets} common target{'s' * (targets > 1)}: even one that is better on every one of them could be so by "
        f"chance in more than 1 of 20 cases; {least} or more are needed"
    )
