"""Findings of files with a million rows: what is found again and again is counted, with the first places of it."""

from dataclasses import dataclass

from orchestrator.interop.findings import Finding

# As many places as the report for people shows of equal findings.
_PLACES = 3
# A file in which nothing fits must not fill the memory with its faults.
_MAX_KINDS = 1000


@dataclass
class _Count:
    rows: int
    places: list[str]


class Tally:
    """Counts equal findings. `{rows}` in the text of one becomes their number."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def note(self, kind: str, where: str, found: str, read_as: str) -> None:
        """Count one more."""
        key = (kind, found, read_as)
        if key not in self._counts and len(self._counts) >= _MAX_KINDS:
            key = (kind, "{rows} more, each of its own", read_as)
        count = self._counts.setdefault(key, _Count(0, []))
        count.rows += 1
        if len(count.places) < _PLACES:
            count.places.append(where)

    def findings(self) -> list[Finding]:
        """One finding for each kind of thing, in the order in which they were found."""
        return [
            Finding(
                kind=kind, where=_places(count), found=found.replace("{rows}", f"{count.rows:,}"), read_as=read_as
            )
            for (kind, found, read_as), count in self._counts.items()
        ]


def _places(count: _Count) -> str:
    more = count.rows - len(count.places)
    return ", ".join(count.places) + (f" and {more:,} more" if more else "")
