"""A table of a report as plain text cells; every form of the report draws the same ones."""

from dataclasses import dataclass, replace

# More rows than one reads on a terminal or in a pull request.
MAX_ROWS = 25


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table. The first column names the row; columns in `numeric` are set flush right."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""

    @property
    def folded(self) -> "Table":
        """The first rows, with a word on how many more there are."""
        rest = len(self.rows) - MAX_ROWS
        # A few rows more are shorter than asking for them.
        if rest <= 5:
            return self
        more = f"The first {MAX_ROWS} of {len(self.rows):,} rows; `--all` shows {rest:,} more."
        return replace(self, rows=self.rows[:MAX_ROWS], note=f"{more} {self.note}".strip())

    @property
    def tells_nothing(self) -> bool:
        """Whether every number in it is unknown: that is said once, where what is known is counted."""
        numbers = [row[at] for row in self.rows for at in self.numeric]
        return bool(numbers) and all(cell in ("unknown", "–", "") for cell in numbers)
