"""Two runs compared task by task, as a leaderboard publishes it beside its sums: how many tasks each solved alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.sign_test import mcnemar
from orchestrator.domain.untyped import count, number
from orchestrator.interop.leaderboard_file import Entry

# Published p-values are rounded at will; further off than a tenth of the value they are of another test.
_SAME_P = 0.1


@dataclass(frozen=True, kw_only=True)
class PublishedPair:
    """`first_only` tasks were solved by the first alone; `both`, `neither` and `tasks` are None where not told.

    `p_value` is ours, McNemar's exact one; `stated_p` the publisher's.
    """

    first: str
    second: str
    first_only: int
    second_only: int
    both: int | None
    neither: int | None
    tasks: int | None
    p_value: float
    stated_p: float | None

    @property
    def either(self) -> int | None:
        """Tasks that at least one solved: as good as choosing between the two could be."""
        return None if self.both is None else self.both + self.first_only + self.second_only

    @property
    def contradicts(self) -> bool:
        """Whether the publisher's p-value is not that of these counts."""
        return self.stated_p is not None and abs(self.stated_p - self.p_value) > _SAME_P * self.p_value


def read_pairs(entries: Sequence[Entry]) -> tuple[PublishedPair, ...]:
    """The comparisons that say how many tasks each solved alone; others say nothing that can be tested."""
    return tuple(found for entry in entries if (found := _pair(dict(entry.fields))) is not None)


def _pair(data: Mapping[str, object]) -> PublishedPair | None:
    alone = count(data, "a_only"), count(data, "b_only")
    if alone[0] is None or alone[1] is None or not data.get("a") or not data.get("b"):
        return None
    both, neither = count(data, "both"), count(data, "neither")
    whole = both is not None and neither is not None
    return PublishedPair(
        first=str(data["a"]),
        second=str(data["b"]),
        first_only=alone[0],
        second_only=alone[1],
        both=both,
        neither=neither,
        tasks=both + neither + alone[0] + alone[1] if whole and both is not None and neither is not None else None,
        p_value=mcnemar(alone[0], alone[1]),
        stated_p=number(data, "mcnemar_p"),
    )
