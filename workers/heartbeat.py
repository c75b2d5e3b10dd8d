"""One thread per worker process that renews every attempt's lease and passes orders on: to end, and other limits.

The deadline that a renewal buys is counted from before it was sent, so the holder always ends first.
"""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from orchestrator.clock import boot_seconds
from orchestrator.domain.errors import StorageError
from orchestrator.domain.lease import holder_deadline
from orchestrator.domain.outcome import Outcome
from orchestrator.settings import Settings
from orchestrator.storage import attempts
from orchestrator.storage.engine import Database
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView

log = logging.getLogger("bakeoff.worker")

# How often orders are read; with the kill itself it must stay well under the promised 5 s.
_CANCEL_POLL_SECONDS = 1.0
_WORDS = {
    Outcome.CANCELLED: "cancelled on request",
    Outcome.PAUSED: "paused on request",
    Outcome.LEASE_LOST: "the job is no longer owned by this attempt",
}


@dataclass(frozen=True)
class Held:
    """A lease this process holds, and where orders for its attempt go."""

    lease: LeaseView
    inbox: StageInbox


class Heartbeats:
    """The renewing thread."""

    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float] = boot_seconds) -> None:
        self._settings, self._database, self._clock = settings, database, clock
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; leases that are still held run out by themselves."""
        self._stop.set()
        self._thread.join(timeout=30)

    def deadline(self, renewed_at: float) -> float:
        """The holder's deadline after a claim or renewal that was sent at `renewed_at`."""
        return holder_deadline(
            renewed_at=renewed_at,
            ttl_seconds=self._settings.lease_ttl_seconds,
            margin_seconds=self._settings.lease_margin_seconds,
        )

    def hold(self, attempt_id: str, held: Held) -> None:
        """Renew this attempt from now on."""
        with self._lock:
            self._held[attempt_id] = held

    def drop(self, attempt_id: str) -> None:
        """Renew it no more."""
        with self._lock:
            self._held.pop(attempt_id, None)

    def holds_any(self) -> bool:
        """Whether any attempt of this worker is not over yet."""
        return bool(self._snapshot())

    def order_all(self, outcome: Outcome, detail: str, only: Collection[str] | None = None) -> int:
        """Ask every running attempt, or `only` these, to end; returns how many there are."""
        held = {name: entry for name, entry in self._snapshot().items() if only is None or name in only}
        for entry in held.values():
            entry.inbox.order_end(outcome, detail)
        return len(held)

    def _snapshot(self) -> dict[str, Held]:
        with self._lock:
            return dict(self._held)

    def _run(self) -> None:
        next_beat = 0.0
        while not self._stop.is_set():
            held = self._snapshot()
            if held:
                try:
                    if self._clock() >= next_beat:
                        next_beat = self._clock() + self._settings.heartbeat_seconds
                        self._renew(held)
                    self._pass_orders_on(held)
                except StorageError as error:
                    # The shim holds the deadline: if this goes on too long the trees end without us.
                    log.warning("heartbeat_failed attempts=%d error=%s", len(held), error)
                except Exception:
                    # A bug in one round must not end the renewals of every attempt of this worker.
                    log.exception("heartbeat_failed attempts=%d", len(held))
            self._stop.wait(min(_CANCEL_POLL_SECONDS, self._settings.heartbeat_seconds))

    def _renew(self, held: dict[str, Held]) -> None:
        sent_at = self._clock()
        owned = attempts.renew(self._database, list(held))
        for attempt_id, entry in held.items():
            if attempt_id in owned:
                entry.lease.renew_until(self.deadline(sent_at))
            else:
                entry.inbox.order_end(Outcome.LEASE_LOST, _WORDS[Outcome.LEASE_LOST])

    def _pass_orders_on(self, held: dict[str, Held]) -> None:
        for attempt_id, outcome in attempts.orders_among(self._database, list(held)).items():
            held[attempt_id].inbox.order_end(outcome, _WORDS[outcome])
        for attempt_id, changes in attempts.retuned_among(self._database, list(held)).items():
            held[attempt_id].inbox.retune(changes)
