"""Repeats of a target: solved at least once in k runs, and solved every time."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

from orchestrator.analysis.tally import Arm, Tally, judged


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Means over the targets that have k results or more, 0-1; `targets` of `of` targets have as many.

    `at_least_once` is pass@k, `every_time` is pass^k: what k runs give if one keeps the best, and how often one could
    rely on each. For k = 1 both are the mean share of solved results.
    """

    k: int
    at_least_once: float
    every_time: float
    targets: int
    of: int


def passes(arm: Arm, k: int) -> Passes | None:
    """Both unbiased estimates for k runs; None when no target has k results: nothing is extrapolated.

    Sources: pass@k is 1 - C(n - c, k) / C(n, k) of M. Chen et al., "Evaluating large language models trained on
    code", arXiv 2107.03374 (2021), section 2.1; pass^k is C(c, k) / C(n, k) of S. Yao et al., "tau-bench",
    arXiv 2406.12045 (2024), section 3. Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    cells = judged(arm)
    able = [cell for cell in cells.values() if cell.results >= k]
    if not able:
        return None
    return Passes(
        k=k,
        at_least_once=_mean(able, lambda cell: 1 - comb(cell.results - cell.solved, k) / comb(cell.results, k)),
        every_time=_mean(able, lambda cell: comb(cell.solved, k) / comb(cell.results, k)),
        targets=len(able),
        of=len(cells),
    )


def all_passes(arm: Arm) -> tuple[Passes, ...]:
    """From k = 1 to the largest number of repeats that every target has; empty without results."""
    least = min((cell.results for cell in judged(arm).values()), default=0)
    return tuple(found for k in range(1, least + 1) if (found := passes(arm, k)) is not None)


def _mean(cells: list[Tally], value: Callable[[Tally], float]) -> float:
    return sum(value(cell) for cell in cells) / len(cells)
