"""A network cable to a second machine: two namespaces, and a relay in the near one before each of our Unix sockets.

Only root may make namespaces. A Unix socket is a file, which the far one could reach by its path: whoever is to feel
the cable has to be given `url`s alone.
"""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.embedded import tethered

_RELAY = Path(__file__).parents[3] / "examples" / "two-machines" / "relay.py"
_NEAR, _FAR = "10.231.9.1", "10.231.9.2"
_COUNT = itertools.count(1)


def can_be_made() -> bool:
    """Whether this user may make one, and has iproute2."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Cable:
    """One cable with its two ends. Names carry our process id; the addresses are in namespaces of our own."""

    def __init__(self) -> None:
        tag = f"{os.getpid()}-{next(_COUNT)}"
        self._near, self._far = f"bakeoff-{tag}-near", f"bakeoff-{tag}-far"
        self._relays: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        for space in (self._near, self._far):
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", self._near, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self._far)
        for space, address in ((self._near, _NEAR), (self._far, _FAR)):
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def inside(self) -> list[str]:
        """What to put before a command that runs at the far end."""
        return _exec(self._far)

    def reach(self, port: int, socket: str) -> str:
        """Make a Unix socket reachable from the far end; the address for it. Idempotent."""
        known = self._relays.get(port)
        if known is None or known[0] != socket or known[1].poll() is not None:
            self._end(port)
            argv = [*_exec(self._near), sys.executable, str(_RELAY), _NEAR, str(port), socket]
            self._relays[port] = (socket, subprocess.Popen(tethered(argv), stdin=subprocess.DEVNULL))
        return f"{_NEAR}:{port}"

    def serve(self, port: int, folder: Path) -> None:
        """A model server of the far end's own at this port of its loopback, which knows no path."""
        argv = [*_exec(self._far), sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            tethered([*argv, "--directory", str(folder)]), stdin=quiet, stdout=quiet, stderr=quiet
        )
        self._relays[port] = ("", process)

    def cut(self) -> None:
        """Pull it at the near end: packets vanish, and nobody is told."""
        _ip("-n", self._near, "link", "set", "eth0", "down")

    def join(self) -> None:
        """Put it back."""
        _ip("-n", self._near, "link", "set", "eth0", "up")

    def close(self) -> None:
        """Remove everything; what still runs at the far end has no network then."""
        for port in list(self._relays):
            self._end(port)
        for space in (self._near, self._far):
            _ip("netns", "del", space)

    def _end(self, port: int) -> None:
        if port in self._relays:
            _, process = self._relays.pop(port)
            process.kill()
            process.wait()


def _exec(space: str) -> list[str]:
    # By its path: what is tethered is looked up nowhere.
    return [shutil.which("ip") or "ip", "netns", "exec", space]


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
