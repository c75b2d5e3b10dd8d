"""A file that keeps the beginning of a stream, and never grows over its bound."""

from pathlib import Path
from types import TracebackType
from typing import Self

from workers.owned import create


class BoundedFile:
    """Keeps the first `limit_bytes`, then one line that says so; remembers the last bytes in memory.

    `seen_bytes` counts everything, kept or not.
    """

    def __init__(self, path: Path, limit_bytes: int, tail_bytes: int = 8192) -> None:
        self.seen_bytes = 0
        self.truncated = False
        self._limit, self._tail_bytes = limit_bytes, tail_bytes
        self._tail = b""
        # Unbuffered: what was seen is on record even when the worker is killed in the next instant.
        self._file = create(path, buffering=0)

    @property
    def tail(self) -> str:
        """The last bytes of the stream as text."""
        return self._tail.decode(errors="replace")

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError when the disk does not."""
        room = max(0, self._limit - self.seen_bytes)
        self.seen_bytes += len(data)
        self._tail = (self._tail + data)[-self._tail_bytes :]
        kept = memoryview(data)[:room]
        while kept:
            kept = kept[self._file.write(kept) or 0 :]
        if self.seen_bytes > self._limit and not self.truncated:
            self.truncated = True
            self._file.write(f"\n[bakeoff: only the first {self._limit} bytes are kept]\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.truncated:
                self._file.write(f"[bakeoff: there were {self.seen_bytes} bytes]\n".encode())
        finally:
            self._file.close()
