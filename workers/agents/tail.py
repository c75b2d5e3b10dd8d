"""What a growing file of an agent holds that was not there before."""

from pathlib import Path


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
