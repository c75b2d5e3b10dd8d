"""Asking this machine what only a worker's code can know, in a process of its own: ADR 15."""

import subprocess
import sys

from orchestrator.domain.errors import BakeoffError, Unavailable
from orchestrator.settings import child_environment


def ask_worker(module: str, question: str, *, what: str, timeout_seconds: float) -> str:
    """What `python -m module` answers to `question` on its standard input, both JSON; `what` it does in words.

    Raises Unavailable when that takes too long, and BakeoffError with its last words when it fails.
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
    if done.returncode != 0:
        raise BakeoffError(f"{what} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout
