"""Waiting for what another process does: generous, since a loaded machine is slow, and quick when it is not."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

# Nothing here takes that long on purpose; only a bug or a dead machine does.
PLENTY_SECONDS = 60.0
_LOOK_SECONDS = 0.02

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = PLENTY_SECONDS) -> T:
    """The first true value that `look` returns. Fails the test, naming `what`, after `seconds`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        pause.wait(_LOOK_SECONDS)
    return found
