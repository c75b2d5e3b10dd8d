"""The JSON lines files that an agent appends to while it works: what is new in them, from their ends on."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from workers.agents.lines import LineSplitter

# What a file has more waits for the next look, and a file that is read whole is not read at all. An agent may write
# gigabytes, or make holes of any size.
MAX_LOOK_BYTES = 32 * 1024 * 1024


@contextmanager
def regular(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """The open file and its status. The one way in which a file that an agent writes is opened.

    Raises OSError, also for what is no regular file: nobody may be made to wait for a pipe, or to read a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file")
        yield descriptor, found
    finally:
        os.close(descriptor)


def content(path: Path, offset: int = 0) -> bytes:
    """The bytes from `offset` on, at most MAX_LOOK_BYTES. Raises OSError as `regular` does."""
    with regular(path) as (descriptor, _):
        return os.pread(descriptor, MAX_LOOK_BYTES, offset)


def whole(path: Path) -> bytes:
    """All of a file. Raises OSError as `content` does, and where it is too large for one look."""
    if (size := path.stat().st_size) > MAX_LOOK_BYTES:
        raise OSError(f"{path} has {size} bytes")
    return content(path)


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
            data = content(self._path, self._offset)
        except OSError:
            return b""
        self._offset += len(data)
        return data


class SessionFiles:
    """All files below `folder` that match `pattern`. What they hold when this is made is an earlier run's."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._tails = {path: FileTail(path, _size(path)) for path in self._files()}
        self._splitters: dict[Path, LineSplitter] = {}

    def grown(self) -> Iterator[Growth]:
        """The files that grew since the last call, new ones included."""
        for path in self._files():
            data = self._tails.setdefault(path, FileTail(path)).read()
            if data:
                yield Growth(path, len(data), self._splitters.setdefault(path, LineSplitter()).split(data))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(self._pattern))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nowhere
        return 0
