"""Recorded trials from a CSV file, also gzipped: `task`, `submission`, and `started` and `ended` or `seconds`."""

import csv
import gzip
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.analysis.workload import Trial
from orchestrator.domain.errors import Fault, InvalidInput

_MOST_FAULTS = 20


def load_trials(path: Path) -> tuple[list[Trial], int]:
    """The trials that have their times, and how many rows have none. Raises InvalidInput."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            return _read(path, csv.DictReader(lines))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput([Fault(file=str(path), field="", message=f"cannot be read: {error}")]) from None


def _read(path: Path, rows: "csv.DictReader[str]") -> tuple[list[Trial], int]:
    names = set(rows.fieldnames or ())
    times = {"seconds"} if "seconds" in names else {"started", "ended"}
    missing = sorted(({"task", "submission"} | times) - names)
    if missing:
        accepted = "columns task, submission, and started and ended (ISO 8601) or seconds"
        raise InvalidInput(
            [Fault(file=str(path), field=", ".join(missing), message="no such column", line=1, accepted=accepted)]
        )
    return _trials(path, enumerate(rows, start=2))


def _trials(path: Path, rows: Iterable[tuple[int, Mapping[str, str | None]]]) -> tuple[list[Trial], int]:
    trials: list[Trial] = []
    faults: list[Fault] = []
    without = 0
    for line, row in rows:
        try:
            seconds = _seconds(row)
        except ValueError as error:
            faults.append(Fault(file=str(path), field="time", message=str(error), line=line))
            if len(faults) == _MOST_FAULTS:
                break
            continue
        if seconds is None:
            without += 1
        else:
            trials.append(Trial(row["task"] or "", row["submission"] or "", seconds))
    if faults:
        raise InvalidInput(faults)
    if not trials:
        raise InvalidInput([Fault(file=str(path), field="", message="holds no trial with its times")])
    return trials, without


def _seconds(row: Mapping[str, str | None]) -> float | None:
    """None where the row tells no time. Raises ValueError."""
    if row.get("seconds"):
        seconds = float(row["seconds"] or "")
    elif row.get("started") and row.get("ended"):
        begun, ended = (datetime.fromisoformat(row[name] or "") for name in ("started", "ended"))
        if (begun.tzinfo is None) != (ended.tzinfo is None):
            raise ValueError("one of started and ended has a time zone and the other has none")
        seconds = (ended - begun).total_seconds()
    else:
        return None
    if not 0 <= seconds < 1e9:
        raise ValueError(f"lasted {seconds:g} s")
    return seconds
