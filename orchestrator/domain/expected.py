"""How long a job will take, judged by what ended before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# Fewer ends than these say too little: agents' times vary by a factor of two and more on the same task.
LEAST_ENDED = 3


class Ended(NamedTuple):
    """Attempts that ended with a result, of one cell: how many, and their seconds together."""

    cell_hash: str
    target_hash: str
    profile_hash: str
    times: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class History:
    """Mean seconds by cell, target and profile (content hashes), where at least LEAST_ENDED attempts ended."""

    cells: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    profiles: Mapping[str, float] = field(default_factory=dict)

    def expect(self, cell_hash: str, target_hash: str, profile_hash: str) -> float | None:
        """Expected seconds of a job: of its cell, else of its target with any profile, else of its profile.

        None when nothing is known of any of them.
        """
        for known, key in ((self.cells, cell_hash), (self.targets, target_hash), (self.profiles, profile_hash)):
            if key in known:
                return known[key]
        return None


NOTHING_ENDED = History()


def history_of(ended: Iterable[Ended]) -> History:
    """The means of what ended."""
    rows = list(ended)
    return History(
        cells=_means((row.cell_hash, row) for row in rows),
        targets=_means((row.target_hash, row) for row in rows),
        profiles=_means((row.profile_hash, row) for row in rows),
    )


def _means(keyed: Iterable[tuple[str, Ended]]) -> dict[str, float]:
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for key, row in keyed:
        counts[key] = counts.get(key, 0) + row.times
        seconds[key] = seconds.get(key, 0.0) + row.seconds
    return {key: seconds[key] / count for key, count in counts.items() if count >= LEAST_ENDED}
