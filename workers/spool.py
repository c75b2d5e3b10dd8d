"""Telemetry on its way to the database: a file per attempt first, then shipped; an outage only delays it.

Every record has a number within its attempt, so that shipping again after a crash stores nothing twice.
"""

import json
import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from orchestrator.clock import utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.storage.engine import Database
from orchestrator.storage.telemetry import EventRecord, StageRecord, ship

log = logging.getLogger("bakeoff.worker")

_SHIP_SECONDS = 0.5
_BATCH_LINES = 2000
_TIMES = ("started_at", "ended_at")


class Recorder:
    """Writes one attempt's records. Threads may share it."""

    def __init__(self, attempt_id: str, path: Path) -> None:
        self.attempt_id, self.path = attempt_id, path
        self._lock = threading.Lock()
        self._seq = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def event(self, kind: str, data: Mapping[str, Any], stage_ordinal: int | None = None) -> None:
        """Something happened now."""
        with self._lock:
            self._seq += 1
            self._write({"type": "event", "seq": self._seq, "stage": stage_ordinal, "kind": kind, "data": dict(data)})

    def stage(self, ordinal: int, values: Mapping[str, Any]) -> None:
        """A stage's columns as they stand now; only the first record of a stage needs all of them."""
        with self._lock:
            self._write({"type": "stage", "ordinal": ordinal, "values": dict(values)})

    def close(self) -> None:
        """No more records."""
        with self._lock:
            self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        record |= {"attempt": self.attempt_id, "at": utc_now().isoformat()}
        self._file.write(json.dumps(record, default=_plain, separators=(",", ":")) + "\n")
        self._file.flush()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Shipper:
    """One thread per worker process that ships every open spool file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offsets: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Begin shipping."""
        self._thread.start()

    def stop(self) -> None:
        """Ship what is there and stop."""
        self._stop.set()
        self._thread.join(timeout=30)

    def add(self, path: Path) -> None:
        """Ship this file's records as they come, from its beginning."""
        with self._lock:
            self._offsets.setdefault(path, 0)

    def adopt(self, spool: Path) -> int:
        """Take over the files that a dead worker left. Returns how many."""
        found = list(spool.glob("*.jsonl")) if spool.is_dir() else []
        for path in found:
            self.add(path)
        return len(found)

    def finish(self, path: Path) -> None:
        """Ship the rest of a closed file and remove it. Raises StorageError when the database is away."""
        with self._lock:
            while self._ship_some(path):
                pass
            self._offsets.pop(path, None)
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(_SHIP_SECONDS)
            with self._lock:
                for path in list(self._offsets):
                    self._try_ship(path)

    def _try_ship(self, path: Path) -> None:
        try:
            while self._ship_some(path):
                pass
        except StorageError as error:
            log.warning("telemetry_waits file=%s error=%s", path, error)
        except FileNotFoundError:
            self._offsets.pop(path, None)

    def _ship_some(self, path: Path) -> bool:
        offset = self._offsets.get(path, 0)
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.readlines(_BATCH_LINES * 500)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # a writer is in the middle of it, or died there
        if not lines:
            return False
        stage_records: dict[int, StageRecord] = {}
        event_records: list[EventRecord] = []
        for line in lines:
            _sort_in(line, stage_records, event_records)
        ship(self._database, list(stage_records.values()), event_records)
        self._offsets[path] = offset + sum(map(len, lines))
        return True


def _sort_in(line: bytes, stage_records: dict[int, StageRecord], event_records: list[EventRecord]) -> None:
    record = json.loads(line)
    if record["type"] == "event":
        event_records.append(
            EventRecord(
                attempt_id=record["attempt"],
                seq=record["seq"],
                stage_ordinal=record["stage"],
                at=datetime.fromisoformat(record["at"]),
                kind=record["kind"],
                data=record["data"],
            )
        )
        return
    ordinal = record["ordinal"]
    values = {
        name: datetime.fromisoformat(value) if name in _TIMES and value else value
        for name, value in record["values"].items()
    }
    earlier = stage_records.get(ordinal)
    merged = {**(earlier.values if earlier else {}), **values}
    stage_records[ordinal] = StageRecord(attempt_id=record["attempt"], ordinal=ordinal, values=merged)
