"""Server-sent events out of a byte stream in any split, in bounded memory."""

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseDecoder:
    """Yields the data of each event. An event larger than `max_event_bytes` is skipped and counted."""

    def __init__(self, max_event_bytes: int) -> None:
        self.max_event_bytes = max_event_bytes
        self.skipped = 0
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._too_long = False  # of the present event; its rest is thrown away
        self._in_long_line = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Data of the events that this chunk completes."""
        self._buffer += chunk
        start = 0
        for end in _LINE_END.finditer(self._buffer):
            # A carriage return at the very end may be half of a CR LF: wait for the next byte.
            if end.group() == b"\r" and end.end() == len(self._buffer):
                break
            line, start = bytes(self._buffer[start : end.start()]), end.end()
            yield from self._line(line)
        del self._buffer[:start]
        self._bound()

    def finish(self) -> Iterator[bytes]:
        """The event that the end of the stream completes, though the standard would drop it."""
        yield from self._line(bytes(self._buffer).removesuffix(b"\r"))
        yield from self._line(b"")
        self._buffer.clear()

    def _line(self, line: bytes) -> Iterator[bytes]:
        if self._in_long_line:
            self._in_long_line = False
            return
        if line:
            self._field(line)
            return
        if self._too_long:
            self.skipped += 1
        elif self._data:
            yield b"\n".join(self._data)
        self._data, self._size, self._too_long = [], 0, False

    def _field(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > self.max_event_bytes:
            self._too_long, self._data = True, []
        elif line.startswith(b"data:") and not self._too_long:
            self._data.append(line[5:].removeprefix(b" "))

    def _bound(self) -> None:
        # Keep a last CR: it decides where the line ends.
        tail = self._buffer[-1:] if self._buffer.endswith(b"\r") else bytearray()
        partial = len(self._buffer) - len(tail)
        if partial and partial + self._size > self.max_event_bytes:
            self._too_long = self._in_long_line = True
            self._data, self._buffer = [], tail
