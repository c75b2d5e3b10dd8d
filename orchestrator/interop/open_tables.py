"""Tables of an experiment as CSV, JSON lines or Parquet: one file for each, written as its rows stream by."""

import csv
import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from orchestrator.domain.errors import Conflict, NotFound, Unavailable
from orchestrator.storage.engine import Database
from orchestrator.storage.export import EXPORTS, Column, Kind

Rows = Iterable[tuple[Any, ...]]
Writer = Callable[[Path, Sequence[Column], Rows], int]
# Of a Parquet file: rows that are compressed together.
_GROUP_ROWS = 50_000


def write_tables(
    database: Database, experiment: str, folder: Path, form: str, *, agent_text: bool, force: bool
) -> dict[str, int]:
    """Write every table in a form of `WRITERS`, all as of one moment; returns how many rows each has.

    Raises Conflict when a file is in the way, NotFound for Parquet without pyarrow, Unavailable.
    """
    write = WRITERS[form]
    if form == "parquet":
        _arrow()
    paths = {export.name: folder / f"{export.name}.{form}" for export in EXPORTS}
    make_room(folder, paths.values(), force=force)
    with database.snapshot() as connection:
        return {
            one.name: write(paths[one.name], one.columns, one.rows(connection, experiment, agent_text=agent_text))
            for one in EXPORTS
        }


def make_room(folder: Path, paths: Iterable[Path], *, force: bool) -> None:
    """Make the folder. Raises Conflict, and changes nothing, where a file is in the way."""
    for path in paths:
        if not force and os.path.lexists(path):
            raise Conflict(f"{path} is there already: -o names another folder, --force writes over")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be made: {error.strerror}") from None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when it is complete, and is gone otherwise."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _csv(path: Path, columns: Sequence[Column], rows: Rows) -> int:
    count = 0
    with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([column.name for column in columns])
        for count, row in enumerate(rows, 1):  # noqa: B007
            table.writerow([_text(value) for value in row])
    return count


# A spreadsheet takes a text that begins so for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _text(value: Any) -> Any:
    if isinstance(value, str):
        # A quote before it makes it text; one that stands there already gets another, so that no two are alike.
        return f"'{value}" if value.lstrip("'").startswith(_FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else value


def _jsonl(path: Path, columns: Sequence[Column], rows: Rows) -> int:
    names = [column.name for column in columns]
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        return write_lines(file, (dict(zip(names, map(_json, row), strict=True)) for row in rows))


def write_lines(file: IO[str], documents: Iterable[Any]) -> int:
    """One JSON document a line; returns how many."""
    count = 0
    for count, document in enumerate(documents, 1):  # noqa: B007
        file.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    return count


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _parquet(path: Path, columns: Sequence[Column], rows: Rows) -> int:
    arrow, parquet = _arrow()
    types = {
        Kind.TEXT: arrow.string(),
        Kind.INTEGER: arrow.int64(),
        Kind.REAL: arrow.float64(),
        Kind.BOOLEAN: arrow.bool_(),
        Kind.TIME: arrow.timestamp("us", tz="UTC"),
    }
    schema = arrow.schema([(column.name, types[column.kind]) for column in columns])
    source, count = iter(rows), 0
    with whole(path) as part, parquet.ParquetWriter(part, schema) as writer:
        while group := list(islice(source, _GROUP_ROWS)):
            arrays = [list(values) for values in zip(*group, strict=True)]
            writer.write_table(arrow.Table.from_pydict(dict(zip(schema.names, arrays, strict=True)), schema=schema))
            count += len(group)
    return count


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        message = (
            "Parquet needs pyarrow, which is not installed: pip install 'bakeoff[parquet]', or export csv or jsonl"
        )
        raise NotFound(message) from None


WRITERS: dict[str, Writer] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
