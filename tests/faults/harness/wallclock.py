"""A machine's wall clock, which a fault may set: a preloaded library adds what a file says to the kernel's time."""

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("wallclock.c")


def can_be_set() -> bool:
    """Whether there is a C compiler for the library."""
    return shutil.which("cc") is not None


class WallClock:
    """The clock of every process that is started with `environment`, also after they have started."""

    def __init__(self, root: Path, name: str) -> None:
        # No moment on a clock that was set says anything about the order of things.
        self.was_set = False
        self._ahead, self._library = root / f"clock-{name}", root / "wallclock.so"
        self._ahead.write_bytes(struct.pack("=q", 0))
        if can_be_set() and not self._library.exists():
            command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(_SOURCE)]
            subprocess.run(command, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process read it; nothing where it cannot be set."""
        if not self._library.exists():
            return {}
        return {"LD_PRELOAD": str(self._library), "BAKEOFF_FAULTS_CLOCK": str(self._ahead)}

    def set_ahead(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the real one; behind it when negative."""
        self.was_set = True
        with self._ahead.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", seconds))
