"""Arms compared two by two on the targets that both have results on: how far apart, and can one say so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from math import ceil, log2

import numpy as np

from orchestrator.analysis.bootstrap import SEED, percentiles, resampled_means, target_weights, with_unseen
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
    its own. `p_value` is of this pair alone, `p_corrected` after Holm over the `compared` pairs.
    All None with a `refusal`.
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
    compared: int | None = None
    refusal: str = ""

    @property
    def apart(self) -> bool:
        """Whether the data tell them apart, with all pairs taken into account."""
        return self.p_corrected is not None and self.p_corrected <= ALPHA

    @property
    def targets_lacking(self) -> int:
        """So many common targets more are needed before a result as clear as can be would tell them apart."""
        return max(0, targets_to_tell(self.compared or 1) - self.targets)

    def turned(self) -> "Pair":
        """The same comparison, seen from the second."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_better=self.second_better,
            second_better=self.first_better,
            difference=None if self.difference is None else -self.difference,
            interval=None if self.interval is None else Interval(-self.interval.high, -self.interval.low),
        )


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
    rows = with_unseen(differences, _one_result(table, places))
    means = resampled_means(rows, target_weights(len(table.targets) + 2, seed=seed))
    flips = _flips(table, places, differences, seed)
    pairs = [_pair(table, place, differences[at], means[:, at], flips.get(at)) for at, place in enumerate(places)]
    judged = holm([pair.p_value for pair in pairs if pair.p_value is not None])
    left = iter(judged)
    return tuple(
        pair if pair.p_value is None else replace(pair, p_corrected=next(left), compared=len(judged))
        for pair in pairs
    )


def _one_result(table: Grid, places: list[tuple[int, int]]) -> Floats:
    """The mean part of a common target that one result is, for each pair; 1 where nothing is in common."""
    parts = np.divide(1.0, table.results, out=np.full_like(table.results, np.nan), where=table.results > 0)
    both = [(parts[first] + parts[second]) / 2 for first, second in places]
    return np.array([np.nanmean(row) if not np.isnan(row).all() else 1.0 for row in both])


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
    low, high = percentiles(means, len(known) + 2)
    return replace(
        bare,
        difference=difference,
        interval=Interval(min(low, difference), max(high, difference)),
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
