"""Tables of trials as rows: CSV, compressed or not, read as it streams by, a million lines and more."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.untyped import storable
from orchestrator.interop.input_file import MIB, refused, text_lines
from orchestrator.interop.tally import Tally

_NEEDED = ("submission", "task", "resolved")
_OPTIONAL = (
    *("run", "trial", "failure_mode", "agent", "model", "agent_version", "cost_usd", "in_tok", "out_tok"),
    *("started", "ended", "agent_started", "agent_ended"),
)
# A field of a table of results; a quote that never closes would otherwise swallow the rest of the file.
_MAX_FIELD_CHARS = 131_072
# A row may go over many lines, and of many fields.
_MAX_ROW_CHARS = MIB

Row = Mapping[str, str]


class Line(NamedTuple):
    """A row of the table, and where it stands."""

    number: int
    row: Row


def check_whole(path: Path) -> None:
    """Read a table to its end, so that one which is damaged somewhere is refused before any of it is stored.

    Raises what `read_lines` does.
    """
    for _ in read_lines(path, Tally()):
        pass


def read_lines(path: Path, tally: Tally) -> Iterator[Line]:
    """The rows of a CSV file, which may be compressed. Rows that do not fit the header are noted and left out.

    Raises NotFound, and InvalidInput for what is no such table.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)
    lines = _RowsOfLines(text_lines(path))
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in _NEEDED if name not in header]
        if missing or len(set(header)) < len(header):
            what = f"has no column {', '.join(missing)}" if missing else "has a column twice"
            raise refused(path, f"{what}; needed: {', '.join(_NEEDED)}, read: {', '.join(_OPTIONAL)}", 1)
        for cells in reader:
            lines.chars = 0
            if len(cells) == len(header):
                yield Line(reader.line_num, dict(zip(header, map(storable, cells), strict=True)))
            elif cells:
                found = f"{{rows}} rows have {len(cells)} fields, and the header {len(header)}"
                tally.note("torn_row", f"{path.name}:{reader.line_num}", found, "left out")
    except csv.Error as error:
        raise refused(path, f"is no CSV: {error}; import again when that is mended", reader.line_num) from None


class _RowsOfLines:
    """Lines for a reader of CSV, `chars` of which were taken since somebody set it back to 0: a row has an end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.chars = lines, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.chars += len(line)
        if self.chars > _MAX_ROW_CHARS:
            raise csv.Error(f"a row of more than {_MAX_ROW_CHARS} characters")
        return line
