"""The JSON lines files that an agent appends to while it works: what is new in them, from their ends on."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workers.agents.lines import LineSplitter


class Growth(NamedTuple):
    """What one file grew by: its bytes, and the lines that they completed."""

    path: Path
    size_bytes: int
    lines: list[bytes]


class SessionFiles:
    """All files below `folder` that match `pattern`. What they hold when this is made is an earlier run's."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._offsets: dict[Path, int] = {path: path.stat().st_size for path in self._files()}
        self._splitters: dict[Path, LineSplitter] = {}

    def grown(self) -> Iterator[Growth]:
        """The files that grew since the last call, new ones included."""
        for path in self._files():
            data = self._new_bytes(path)
            if data:
                yield Growth(path, len(data), self._splitters.setdefault(path, LineSplitter()).split(data))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(self._pattern))

    def _new_bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
        except OSError:  # it was there a moment ago: the next call tells
            return b""
        self._offsets[path] = self._offsets.get(path, 0) + len(data)
        return data
