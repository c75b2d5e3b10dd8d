"""What other threads tell the supervisor of a stage: events of the gateway, orders of the heartbeat."""

import os
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.domain.events import Event, LimitsChanged
from orchestrator.domain.outcome import Outcome


class EndOrder(NamedTuple):
    """End the stage with this outcome, for this reason in words."""

    outcome: Outcome
    detail: str


class StageInbox:
    """A thread-safe queue that a poll loop can wait on. Whoever makes it closes it, after the stage.

    What arrives after the stage's end stays in `drain`: a request that was cut off still cost tokens.
    """

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._order: EndOrder | None = None
        self._retuned: dict[str, float | int | None] = {}
        self._closed = False

    def fileno(self) -> int:
        """Readable while something waits."""
        return self._wake

    def put(self, event: Event) -> None:
        """Hand an event over. Never blocks; after `close` it is dropped."""
        with self._lock:
            if not self._closed:
                self._events.append(event)
                os.eventfd_write(self._wake, 1)

    def order_end(self, outcome: Outcome, detail: str) -> None:
        """End the stage. The first order counts; one given before the stage ends it as it starts."""
        with self._lock:
            if not self._closed:
                self._order = self._order or EndOrder(outcome, detail)
                os.eventfd_write(self._wake, 1)

    def retune(self, changes: Mapping[str, float | int | None]) -> None:
        """Other limits, by name, instead of those of earlier calls; nothing happens when they are the same."""
        with self._lock:
            if self._closed or dict(changes) == self._retuned:
                return
            self._retuned = dict(changes)
            self._events.append(LimitsChanged(changes=self._retuned))
            os.eventfd_write(self._wake, 1)

    @property
    def retuned(self) -> Mapping[str, float | int | None]:
        """The limits that were changed so far, for the stages to come."""
        return self._retuned

    @property
    def order(self) -> EndOrder | None:
        """The order to end, once there is one."""
        return self._order

    def drain(self) -> list[Event]:
        """Take every waiting event, oldest first."""
        with self._lock:
            if not self._closed:
                try:
                    os.eventfd_read(self._wake)
                except BlockingIOError:
                    return []
            events = list(self._events)
            self._events.clear()
            return events

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._wake)
