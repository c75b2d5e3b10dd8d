"""A small disk of its own for a machine's home, which a fault may fill. Only root may mount one."""

import os
import shutil
import subprocess
from pathlib import Path

_SIZE = "32m"
_CHUNK = bytes(65536)


def can_be_made() -> bool:
    """Whether this user may mount one."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class Disk:
    """A file system in memory at a folder, until `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._filler = folder, folder / "filler"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "bakeoff-faults", str(folder)], check=True)

    def fill(self) -> None:
        """Leave no byte."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while file.write(_CHUNK):
                    pass
            except OSError:
                return

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, also under the feet of somebody who still has a file open there."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
