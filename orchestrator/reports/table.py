"""A table of a report as plain text cells; every form of the report draws the same ones."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table. The first column names the row; columns in `numeric` are set flush right."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
