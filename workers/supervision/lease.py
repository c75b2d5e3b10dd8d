"""How long an attempt may live, as its heartbeat last learned it, shared between threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LeaseView:
    """The boot time, in seconds, at which the attempt's processes must be gone.

    The heartbeat's thread moves it; listeners are called in that thread, so that a renewal reaches the shim
    even while the supervisor's loop is busy. A deadline never moves back: heartbeats can overtake each other.
    """

    def __init__(self, deadline: float) -> None:
        self._lock = threading.Lock()
        self._deadline = deadline
        self._listeners: list[Callable[[float], None]] = []

    @property
    def deadline(self) -> float:
        """Boot time in seconds."""
        return self._deadline

    def renew_until(self, deadline: float) -> None:
        """Move the deadline, and tell every listener."""
        with self._lock:
            if deadline <= self._deadline:
                return
            self._deadline = deadline
            for listener in self._listeners:
                listener(deadline)

    @contextmanager
    def telling(self, listener: Callable[[float], None]) -> Iterator[None]:
        """Call `listener` with the present deadline, and with each later one until the block ends."""
        with self._lock:
            self._listeners.append(listener)
            listener(self._deadline)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)
