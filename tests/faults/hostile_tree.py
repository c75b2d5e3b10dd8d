"""An agent that leaves every kind of process behind; each tells its kind on a FIFO. Ends when FIFO.go appears.

Run as `python -I -S hostile_tree.py FIFO [deaf]`; deaf: the agent itself ignores TERM, too.
Nothing here lives longer than a minute, should all else fail.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

LIFE_SECONDS = 60
SUBREAPER = 36
# One line each; `respawned` comes again whenever one is killed.
KINDS = (
    *("main", "plain", "setsid", "setpgid", "deaf", "daemon", "reaper", "reaped", "respawner", "respawned"),
    *("chain", "nohup", "scrubbed", "ghost", "stopped"),
)
BORN = time.monotonic()


def tell(kind: str) -> None:
    fd = os.open(sys.argv[1], os.O_WRONLY)
    os.write(fd, f"{kind}\n".encode())
    os.close(fd)


def live() -> None:
    while time.monotonic() - BORN < LIFE_SECONDS:
        time.sleep(1)
    os._exit(0)


def spawn(kind: str, prepare: Callable[[], object]) -> None:
    if os.fork() == 0:
        prepare()
        tell(kind)
        live()


def nothing() -> None:
    """Be an ordinary child."""


def be_deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def daemonise() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    be_deaf()
    os.closerange(0, 4096)


def reap() -> None:
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    spawn("reaped", daemonise)


def respawn() -> None:
    os.setsid()
    be_deaf()
    tell("respawner")
    while time.monotonic() - BORN < LIFE_SECONDS:
        child = os.fork()
        if child == 0:
            tell("respawned")
            live()
        os.waitpid(child, 0)


def chain() -> None:
    """Never the same process for longer than 2 ms; each holds FIFO.life open, from which its end can be told."""
    os.open(f"{sys.argv[1]}.life", os.O_WRONLY)
    os.setsid()
    be_deaf()
    tell("chain")
    while time.monotonic() - BORN < LIFE_SECONDS:
        if os.fork():
            os._exit(0)
        time.sleep(0.002)


def start(kind: str, *prefix: str, keep_environment: bool = True) -> None:
    script = (
        f"import os; fd = os.open({sys.argv[1]!r}, os.O_WRONLY); os.write(fd, b'{kind}\\n'); os.closerange(0, 99)"
    )
    script += f"; import time; time.sleep({LIFE_SECONDS})"
    subprocess.Popen(
        [*prefix, sys.executable, "-I", "-S", "-c", script],
        env=None if keep_environment else {},
        cwd="/",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def start_ghost() -> None:
    """Orphaned at once, with neither environment, session, directory nor descriptor of the attempt."""
    if os.fork() == 0:
        start("ghost", keep_environment=False)
        os._exit(0)


def stop_itself() -> None:
    tell("stopped")
    os.kill(os.getpid(), signal.SIGSTOP)


def main() -> None:
    spawn("plain", nothing)
    spawn("setsid", os.setsid)
    spawn("setpgid", lambda: os.setpgid(0, 0))
    spawn("deaf", be_deaf)
    spawn("daemon", daemonise)
    spawn("reaper", reap)
    spawn("again", respawn)
    spawn("never", chain)
    spawn("never", stop_itself)
    start("nohup", "nohup")
    start("scrubbed", keep_environment=False)
    start_ghost()
    if "deaf" in sys.argv:
        be_deaf()
    tell("main")
    while not os.path.exists(f"{sys.argv[1]}.go"):  # noqa: PTH110 - stdlib without site: keep the start short
        time.sleep(0.01)


if __name__ == "__main__":
    main()
