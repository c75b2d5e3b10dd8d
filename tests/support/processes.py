"""What the process table says about a lab's processes."""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def marked(attempts: Collection[str]) -> dict[int, str]:
    """Living processes with the mark of one of these attempts: pid to command line."""
    wanted = {f"BAKEOFF_ATTEMPT={one}".encode() for one in attempts}
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):
            if wanted.intersection((folder / "environ").read_bytes().split(b"\0")) and alive(int(folder.name)):
                found[int(folder.name)] = command(int(folder.name))
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] != "Z"


def command(pid: int) -> str:
    """Its command line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def children(pid: int) -> dict[int, str]:
    """Direct children of every thread of a process: pid to command line."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.update({int(word): command(int(word)) for word in task.read_text().split()})
    return found


def descendants(pid: int) -> dict[int, str]:
    """Everything below a process."""
    found = children(pid)
    for child in list(found):
        found |= descendants(child)
    return found


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(pid: int) -> None:
    """SIGKILL."""
    send(pid, signal.SIGKILL)
