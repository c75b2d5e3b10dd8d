"""JSON lines out of a byte stream that is cut anywhere: what every adapter with such a stream shares."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.domain.events import AgentEnded, EndReason, Event, OutputSeen
from workers.agents.reading import parse_object

# The longest line kept. opencode repeats a tool's whole output twice in one line; 16 MiB has never been seen.
MAX_LINE_BYTES = 16 * 1024 * 1024


class LineSplitter:
    """Cuts a stream into lines, keeps an unfinished one, and drops lines that are too long."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.dropped = 0
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def unfinished(self) -> bool:
        """Whether a line was begun."""
        return self._size > self._max or bool(self.rest().strip())

    def split(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        pieces = data.split(b"\n")
        lines = []
        for piece in pieces[:-1]:
            self._keep(piece)
            if self._size > self._max:
                self.dropped += 1
            else:
                lines.append(self.rest())
            self.clear()
        self._keep(pieces[-1])
        return lines

    def rest(self) -> bytes:
        """The unfinished line so far; empty when it is already too long."""
        if self._size > self._max:
            return b""
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

    def clear(self) -> None:
        """Forget the unfinished line."""
        self._parts, self._size = [], 0

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        if self._size > self._max:
            self._parts = []
        else:
            self._parts.append(piece)


class JsonLinesReader(ABC):
    """A `StreamReader` for a program that prints one JSON object per line.

    `unparsed` counts lines that are no JSON object, `unknown` the objects of types that the adapter does not know.
    Whole lines that begin with one of `repeats` tell nothing new and are not parsed.
    """

    repeats: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.unparsed = 0
        self.unknown: Counter[str] = Counter()
        self._lines = LineSplitter()

    def feed(self, data: bytes) -> Sequence[Event]:
        """Events in the next bytes of standard output (any split, also inside a line)."""
        if not data:
            return ()
        events: list[Event] = [OutputSeen(size_bytes=len(data))]
        dropped = self._lines.dropped
        for line in self._lines.split(data):
            events.extend(self._line(line))
        self.unparsed += self._lines.dropped - dropped
        return events

    def poll(self) -> Sequence[Event]:
        """Events of a last line whose newline never came; a JSON object that is whole cannot grow."""
        rest = self._lines.rest().rstrip()
        if not rest.endswith(b"}") or (record := parse_object(rest)) is None:
            return ()
        self._lines.clear()
        return tuple(self.handle(record))

    @abstractmethod
    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""

    def cut_line(self) -> None:
        """Count a line that the end of the stream cut."""
        if self._lines.unfinished:
            self.unparsed += 1
            self._lines.clear()

    def _line(self, line: bytes) -> Iterable[Event]:
        if not line.strip() or (line.startswith(self.repeats) and line.endswith(b"}")):
            return ()
        record = parse_object(line)
        if record is None:
            self.unparsed += 1
            return ()
        return self.handle(record)


def agent_ended(reason: EndReason | None, exit_code: int | None, final_text: str) -> AgentEnded:
    """The end, with `reason` None when the agent told none: then a failing exit code is all the evidence."""
    if reason is None:
        failed = exit_code is not None and exit_code > 0
        reason = EndReason.ERROR if failed else EndReason.NO_FINAL_EVENT
    return AgentEnded(reason=reason, exit_code=exit_code, final_text=final_text)
