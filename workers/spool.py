"""Telemetry on its way to the database: a file per attempt first, then shipped; an outage only delays it.

Every record has a number within its attempt, so that shipping again after a crash stores nothing twice. Whoever
writes a file holds a lock on it, which the kernel drops with the process: a file without one is a dead worker's.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.clock import utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.storage.engine import Database
from orchestrator.storage.telemetry import Refused, ship
from workers.spool_lines import Batch, as_line

log = logging.getLogger("bakeoff.worker")

_SHIP_SECONDS = 0.5
_BATCH_BYTES = 1_000_000


class Recorder:
    """Writes one attempt's records. Threads may share it."""

    def __init__(self, attempt_id: str, path: Path) -> None:
        self.attempt_id, self.path = attempt_id, path
        self._lock = threading.Lock()
        self._seq = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # It gets its name when it is locked, so that nobody can take it for a dead worker's.
        unnamed = path.with_name(f".{path.name}.new")
        self._file = unnamed.open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)

    def event(self, kind: str, data: Mapping[str, Any], stage_ordinal: int | None = None) -> None:
        """Something happened now."""
        with self._lock:
            self._seq += 1
            self._write({"type": "event", "seq": self._seq, "stage": stage_ordinal, "kind": kind, "data": dict(data)})

    def stage(self, ordinal: int, values: Mapping[str, Any]) -> None:
        """A stage's columns as they stand now; only the first record of a stage needs all of them."""
        with self._lock:
            self._write({"type": "stage", "ordinal": ordinal, "values": dict(values)})

    def used(self, ordinal: int, minute: int, values: Mapping[str, Any]) -> None:
        """What the stage has used of its account within a minute so far; a later record replaces an earlier one."""
        with self._lock:
            self._seq += 1
            record = {"type": "ledger", "seq": self._seq, "stage": ordinal, "minute": minute, "values": dict(values)}
            self._write(record)

    def tasks(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Tasks of the attempt's ledger as they stand now; a later record of a task replaces an earlier one."""
        with self._lock:
            self._seq += 1
            self._write({"type": "tasks", "seq": self._seq, "tasks": list(rows)})

    def stated(self, values: Mapping[str, Any]) -> None:
        """What a provider stated about a window of an account."""
        with self._lock:
            self._write({"type": "statement", "values": dict(values)})

    def close(self) -> None:
        """No more records. What a full disk did not take is lost: the attempt's result must not be."""
        with self._lock:
            try:
                self._file.close()
            except OSError as error:
                log.warning("telemetry_lost attempt=%s error=%s", self.attempt_id, error)

    def _write(self, record: dict[str, Any]) -> None:
        record |= {"attempt": self.attempt_id, "at": utc_now().isoformat()}
        self._file.write(as_line(record))
        self._file.flush()


class Shipper:
    """One thread per worker process that ships every open spool file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offsets: dict[Path, int] = {}
        # Files that nobody writes any more: they go when all of them is shipped. With the lock on adopted ones.
        self._left: dict[Path, BinaryIO | None] = {}
        self._lock = threading.Lock()
        # Held while records are on their way, which may take as long as a database answers nothing.
        self._shipping = threading.Lock()
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

    def leave(self, path: Path) -> None:
        """Its writer has closed it: ship the rest when that is possible, then remove it."""
        with self._lock:
            if path in self._offsets:
                self._left.setdefault(path, None)

    def adopt(self, spool: Path) -> int:
        """Take over the files that dead workers left. Returns how many."""
        adopted = 0
        for path in sorted(spool.glob("*.jsonl")) if spool.is_dir() else []:
            lock = _lock_of_dead(path)
            if lock is not None:
                adopted += 1
                with self._lock:
                    self._offsets.setdefault(path, 0)
                    self._left[path] = lock
        return adopted

    def settle(self, spool: Path) -> None:
        """Ship what dead workers of this machine left, before this returns. Raises StorageError."""
        self.adopt(spool)
        self._round()

    def finish(self, path: Path) -> None:
        """Ship the rest of a closed file and remove it. Raises StorageError when the database is away."""
        with self._shipping:
            while self._ship_some([path]):
                pass
            self._remove(path)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(_SHIP_SECONDS)
            try:
                self._round()
            except StorageError as error:
                log.warning("telemetry_waits files=%d error=%s", len(self._offsets), error)
            except Exception:
                # Whatever is wrong with one round, the telemetry of this worker must not end with it.
                log.exception("telemetry_failed")

    def _round(self) -> None:
        with self._lock:
            paths, left = list(self._offsets), list(self._left)
        shipped = True
        while shipped:
            with self._shipping:
                shipped = self._ship_some(paths)
        for path in left:
            with self._shipping:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._forget(path)

    def _forget(self, path: Path) -> None:
        with self._lock:
            self._offsets.pop(path, None)
            lock = self._left.pop(path, None)
        if lock is not None:
            lock.close()

    def _ship_some(self, paths: Sequence[Path]) -> bool:
        """Ship the next lines of these files in one transaction; False when there is nothing more."""
        fresh: dict[Path, list[bytes]] = {}
        room = _BATCH_BYTES
        for path in paths:
            if room > 0 and (lines := self._next_lines(path, room)):
                fresh[path] = lines
                room -= sum(map(len, lines))
        if not fresh:
            return False
        try:
            self._ship([line for lines in fresh.values() for line in lines])
        except Refused:
            for path, lines in fresh.items():
                self._ship_apart(path, lines)
        with self._lock:
            for path, lines in fresh.items():
                self._offsets[path] = self._offsets.get(path, 0) + sum(map(len, lines))
        return True

    def _next_lines(self, path: Path, most_bytes: int) -> list[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                lines = file.readlines(most_bytes)
        except FileNotFoundError:
            self._forget(path)
            return []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # a writer is in the middle of it, or died there
        return lines

    def _ship(self, lines: Sequence[bytes]) -> None:
        batch = Batch()
        for line in lines:
            try:
                batch.take(line)
            except (ValueError, KeyError, TypeError) as error:
                # Half a line in the middle of a file: the disk was full once.
                log.warning("telemetry_dropped bytes=%d error=%s", len(line), error)
        ship(self._database, batch.records(), utc_now())

    def _ship_apart(self, path: Path, lines: Sequence[bytes]) -> None:
        """Of lines among which one is refused: this file's together, and if it is among those, each alone."""
        try:
            self._ship(lines)
        except Refused as error:
            if len(lines) == 1:
                log.warning("telemetry_dropped file=%s bytes=%d error=%s", path, len(lines[0]), error)
                return
            for line in lines:
                self._ship_apart(path, [line])


def _lock_of_dead(path: Path) -> BinaryIO | None:
    """The lock of a file whose writer is dead; None when it lives, or another worker takes the file over."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if os.fstat(file.fileno()).st_nlink == 0:  # shipped and removed between the two calls
        file.close()
        return None
    return file
