"""Whether results became better or worse over the night, apart from which profile had its turn when."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import median
from typing import NamedTuple

# With fewer in sight, halves differ by chance alone.
MIN_RESULTS = 20


class Timed(NamedTuple):
    """A result: whose it is (results are only compared within one stratum), when it began, whether it is solved."""

    stratum: str
    began: float
    solved: bool


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Solved shares of the earlier and the later half, and how likely so large a change is without any drift.

    `change` is later minus earlier within strata, in shares. Change and `p_value` are None with a `refusal`.
    """

    earlier: float | None = None
    later: float | None = None
    change: float | None = None
    p_value: float | None = None
    refusal: str = ""


def drift(results: Sequence[Timed]) -> Drift:
    """Halves of the night compared within strata.

    Source: W. G. Cochran, Biometrics 10 (1954) 417-451, and N. Mantel and W. Haenszel, J. Natl. Cancer Inst. 22
    (1959) 719-748, two-sided, without correction for continuity.
    """
    if len(results) < MIN_RESULTS:
        return Drift(refusal=f"{len(results)} results with a known start; {MIN_RESULTS} or more are needed")
    middle = median(one.began for one in results)
    strata: dict[str, list[tuple[bool, bool]]] = {}
    for one in results:
        strata.setdefault(one.stratum, []).append((one.began > middle, one.solved))
    excess = variance = weight = 0.0
    for pairs in strata.values():
        found = _table(pairs)
        excess, variance, weight = excess + found[0], variance + found[1], weight + found[2]
    if not variance:
        return Drift(
            refusal="no cell has different results in both halves of the night; repeats in rounds would tell"
        )
    return Drift(
        earlier=_share([one.solved for one in results if one.began <= middle]),
        later=_share([one.solved for one in results if one.began > middle]),
        change=excess / weight,
        p_value=erfc(abs(excess) / sqrt(2 * variance)),
    )


def _table(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float, float]:
    """Solved later ones above their expectation, the variance of that, and the stratum's weight."""
    n, late, solved = len(pairs), sum(is_late for is_late, _ in pairs), sum(is_solved for _, is_solved in pairs)
    if n < 2:
        return 0.0, 0.0, 0.0
    both = sum(is_late and is_solved for is_late, is_solved in pairs)
    variance = late * (n - late) * solved * (n - solved) / (n * n * (n - 1))
    return both - late * solved / n, variance, late * (n - late) / n


def _share(solved: Sequence[bool]) -> float | None:
    return sum(solved) / len(solved) if solved else None
