"""Asking this machine what only a worker's code can know, in a process of its own: ADR 15."""

import subprocess
import sys

from orchestrator.domain.errors import BakeoffError, Conflict, NotFound, StorageError, Unavailable
from orchestrator.settings import child_environment

# What the process tells in words, by its exit code; anything else is a fault of ours, with its last words.
_TOLD = {int(kind.exit_code): kind for kind in (Unavailable, StorageError, NotFound, Conflict)}


def ask_worker(module: str, question: str, *, what: str, timeout_seconds: float) -> str:
    """What `python -m module` answers to `question` on its standard input, both JSON; `what` it does in words.

    Raises Unavailable when that takes too long, what it tells by its exit code, and BakeoffError when it crashes.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=question,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} took longer than {timeout_seconds:g} s") from None
    if done.returncode in _TOLD:
        raise _TOLD[done.returncode](done.stderr.strip())
    if done.returncode != 0:
        raise BakeoffError(f"{what} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout
