"""Solved results by target: the one input of all statistics, whether the rows are ours or imported."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Tally(NamedTuple):
    """How many of the results on one target were solved."""

    solved: int
    results: int


# The results of one arm (a profile, a submission) by target. A target without results may be absent or (0, 0).
Arm = Mapping[str, Tally]


def tally(results: Iterable[tuple[str, bool]]) -> dict[str, Tally]:
    """Count (target, solved) pairs, one for each result."""
    counts: dict[str, Tally] = {}
    for target, solved in results:
        before = counts.get(target, Tally(0, 0))
        counts[target] = Tally(before.solved + solved, before.results + 1)
    return counts


def judged(arm: Arm) -> dict[str, Tally]:
    """The targets that have results. Raises ValueError where a count cannot be."""
    for target, (solved, results) in arm.items():
        if not 0 <= solved <= results:
            raise ValueError(f"0 <= solved <= results must hold, found {solved} of {results} on {target!r}")
    return {target: Tally(*found) for target, found in arm.items() if found[1]}


def total(arm: Arm) -> Tally:
    """The sum over all targets."""
    return Tally(sum(found[0] for found in arm.values()), sum(found[1] for found in arm.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Arms by targets as columns of numbers: both arrays have one row per arm and one column per target."""

    labels: tuple[str, ...]
    targets: tuple[str, ...]
    solved: Floats
    results: Floats

    @property
    def shares(self) -> Floats:
        """Solved share of each cell; not a number where it has no result."""
        empty = np.full_like(self.solved, np.nan)
        return np.divide(self.solved, self.results, out=empty, where=self.results > 0)

    def row(self, label: str) -> int:
        """The place of an arm."""
        return self.labels.index(label)


def grid(arms: Mapping[str, Arm], targets: Sequence[str] | None = None) -> Grid:
    """The arms in their order, the targets by name: all that any arm has results on, unless they are given."""
    known = {label: judged(arm) for label, arm in arms.items()}
    names = tuple(sorted({target for arm in known.values() for target in arm}) if targets is None else targets)
    none = Tally(0, 0)
    counts = [[arm.get(target, none) for target in names] for arm in known.values()]
    cells = np.array(counts, dtype=np.float64).reshape(len(known), len(names), 2)
    return Grid(labels=tuple(known), targets=names, solved=cells[:, :, 0], results=cells[:, :, 1])
