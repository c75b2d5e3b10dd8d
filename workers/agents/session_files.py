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


class FileTail:
    """Reads one file from `offset` on. A file that is not there yet, or not any more, has nothing new."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset

    def read(self) -> bytes:
        """The bytes added since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return b""
        self._offset += len(data)
        return data


class SessionFiles:
    """All files below `folder` that match `pattern`. What they hold when this is made is an earlier run's."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._tails = {path: FileTail(path, path.stat().st_size) for path in self._files()}
        self._splitters: dict[Path, LineSplitter] = {}

    def grown(self) -> Iterator[Growth]:
        """The files that grew since the last call, new ones included."""
        for path in self._files():
            data = self._tails.setdefault(path, FileTail(path)).read()
            if data:
                yield Growth(path, len(data), self._splitters.setdefault(path, LineSplitter()).split(data))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(self._pattern))
