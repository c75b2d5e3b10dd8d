"""What a supervised harness tells about its own stages: its files, followed live, as events. No file is fatal."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from orchestrator.domain.events import Event, InnerRunEnded, InnerStateSeen, OutputSeen, TelemetryFault
from orchestrator.domain.experiment import Telemetry
from orchestrator.domain.harness import INNER_STAGES, inner_run, inner_stage
from workers.agents.reading import count, parse_object, text
from workers.agents.tail import Tail

# Further faults of a file are counted, and no events of their own.
_TOLD_FAULTS = 10
_STATE_BYTES = 1024 * 1024


class HarnessFiles:
    """Follows the files of one supervised command, from their present ends on."""

    def __init__(self, telemetry: Telemetry, fill: Callable[[str], Path]) -> None:
        """`fill` makes a path of a template."""
        self.faults = 0
        self.run: InnerRunEnded | None = None  # the last one that ended
        self._stages = 0
        self._told_faults: dict[str, int] = {}
        self._iterations = _tail(telemetry.iterations, fill)
        self._runs = _tail(telemetry.runs, fill)
        self._state = _State(fill(telemetry.state)) if telemetry.state else None

    def poll(self) -> Iterator[Event]:
        """What has become known since the last call."""
        for tail, read in ((self._iterations, self._stage), (self._runs, self._ended)):
            if tail is not None:
                yield from self._follow(tail, read)
        if self._state is not None and (seen := self._state.read()) is not None:
            # That the file was written is a sign of life.
            yield OutputSeen(size_bytes=1)
            yield seen

    def finish(self) -> None:
        """The harness is gone: a line that is torn by now stays torn."""
        self.faults += sum(tail.torn for tail in (self._iterations, self._runs) if tail is not None)
        self.faults += self._state.broken if self._state else 0

    def _follow(self, tail: Tail, read: "Callable[[Mapping[str, object]], Event | None]") -> Iterator[Event]:
        rewrites, too_long = tail.rewrites, tail.long_lines
        lines = tail.read()
        if tail.new_bytes:
            yield OutputSeen(size_bytes=tail.new_bytes)
        if tail.rewrites > rewrites:
            yield from self._fault(tail, "was written anew; lines that were known are not counted again")
        for _ in range(tail.long_lines - too_long):
            yield from self._fault(tail, "has a line that is too long")
        for line in lines:
            record = parse_object(line)
            event = None if record is None else read(record)
            if event is not None:
                yield event
            else:
                yield from self._fault(tail, "has a line that is no record of a stage or run")

    def _stage(self, record: Mapping[str, object]) -> Event | None:
        told = inner_stage(record, self._stages + 1)
        self._stages += told is not None
        return told

    def _ended(self, record: Mapping[str, object]) -> Event | None:
        told = inner_run(record)
        if not told.word:
            return None
        self.run = told
        return told

    def _fault(self, tail: Tail, what: str) -> Iterator[Event]:
        self.faults += 1
        told = self._told_faults[tail.path.name] = self._told_faults.get(tail.path.name, 0) + 1
        if told <= _TOLD_FAULTS:
            yield TelemetryFault(file=tail.path.name, fault=what)


def _tail(template: str | None, fill: Callable[[str], Path]) -> Tail | None:
    def complete(line: bytes) -> bool:
        return parse_object(line) is not None

    return Tail(fill(template), complete=complete, max_lines=INNER_STAGES - 1) if template else None


class _State:
    """A small JSON object that is written anew again and again."""

    def __init__(self, path: Path) -> None:
        self.broken = False  # as it was last seen
        self._path = path
        self._seen = self._version()

    def read(self) -> InnerStateSeen | None:
        """What it says, when it has changed; None while it is being written or says nothing that is known."""
        version = self._version()
        if version is None or version == self._seen:
            return None
        record = self._record()
        self.broken = record is None
        if record is None:
            return None  # half written perhaps: the next look tells
        self._seen = version
        return InnerStateSeen(
            stage=text(record, "stage")[:32].lower() or None,
            task=text(record, "task_id") or None,
            iteration=count(record, "iteration"),
            context_tokens=count(record, "context_tokens"),
        )

    def _version(self) -> tuple[int, int, int] | None:
        try:
            about = self._path.stat()
        except OSError:
            return None
        regular = stat.S_ISREG(about.st_mode) and about.st_size <= _STATE_BYTES
        return (about.st_ino, about.st_size, about.st_mtime_ns) if regular else None

    def _record(self) -> Mapping[str, object] | None:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return parse_object(os.read(file, _STATE_BYTES)) if stat.S_ISREG(os.fstat(file).st_mode) else None
        except OSError:
            return None
        finally:
            os.close(file)
