"""Tables of trials as rows: CSV, compressed or not, read as it streams by, a million lines and more."""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from typing import IO, NamedTuple, cast

from orchestrator.domain.errors import Fault, InvalidInput, NotFound
from orchestrator.domain.untyped import storable
from orchestrator.interop.tally import Tally

_NEEDED = ("submission", "task", "resolved")
_OPTIONAL = (
    *("run", "trial", "failure_mode", "agent", "model", "agent_version", "cost_usd", "in_tok", "out_tok"),
    *("started", "ended", "agent_started", "agent_ended"),
)
# A field of a table of results; a quote that never closes would otherwise swallow the rest of the file.
_MAX_FIELD_CHARS = 131_072

Row = Mapping[str, str]


class Line(NamedTuple):
    """A row of the table, and where it stands."""

    number: int
    row: Row


def read_lines(path: Path, tally: Tally) -> Iterator[Line]:
    """The rows of a CSV file, which may be compressed. Rows that do not fit the header are noted and left out.

    Raises NotFound, and InvalidInput for what is no such table.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from None
    with closing(raw):
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            yield from _rows(TextIOWrapper(stream, "utf-8-sig", newline=""), path, tally)
        except UnicodeDecodeError:
            raise _refused(path, "is not UTF-8 text") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            text = f"its compressed data is damaged: {error}; import again when it is whole"
            raise _refused(path, text) from None
        except OSError as error:
            raise NotFound(f"{path}: {error.strerror or error}") from None


def _rows(text: Iterable[str], path: Path, tally: Tally) -> Iterator[Line]:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in _NEEDED if name not in header]
        if missing or len(set(header)) < len(header):
            what = f"has no column {', '.join(missing)}" if missing else "has a column twice"
            raise _refused(path, f"{what}; needed: {', '.join(_NEEDED)}, read: {', '.join(_OPTIONAL)}", 1)
        for cells in reader:
            if len(cells) == len(header):
                yield Line(reader.line_num, dict(zip(header, map(storable, cells), strict=True)))
            elif cells:
                found = f"{{rows}} rows have {len(cells)} fields, and the header {len(header)}"
                tally.note("torn_row", f"{path.name}:{reader.line_num}", found, "left out")
    except csv.Error as error:
        raise _refused(path, f"is no CSV: {error}; import again when that is mended", reader.line_num) from None


def _refused(path: Path, message: str, line: int | None = None) -> InvalidInput:
    return InvalidInput([Fault(file=str(path), field="", message=message, line=line)])
