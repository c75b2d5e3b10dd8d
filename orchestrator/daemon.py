"""The scheduler's loop: reap, wake, dispatch, send. Everything it knows it can lose; the database has the truth."""

import logging
import threading
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from orchestrator.broker import publish
from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.domain.lease import Observer
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.settings import Settings
from orchestrator.storage import attempts
from orchestrator.storage import dispatch as store
from orchestrator.storage.engine import Database

log = logging.getLogger("bakeoff.scheduler")


class Scheduler:
    """One scheduler process. `run` returns when `stop` is set."""

    def __init__(self, settings: Settings, database: Database, app: Celery) -> None:
        self._settings, self._database, self._app = settings, database, app
        self._observer = Observer(
            ttl_seconds=settings.lease_ttl_seconds, max_gap_seconds=max(1.0, settings.lease_ttl_seconds / 2)
        )
        # When each open hint was last sent, on the boot clock; lost at a restart, which sends all of them again.
        self._sent: dict[tuple[int, str], float] = {}
        self._next_reap = 0.0

    def run(self, stop: threading.Event, on_pass: Callable[[], None] = lambda: None) -> None:
        """Pass after pass until `stop`. A database or broker that is away is logged once a second and waited for."""
        while not stop.is_set():
            try:
                self.tick()
                pause = self._settings.tick_seconds
            except (StorageError, BrokerError, RedisError, OSError) as error:
                log.warning("pass_failed kind=%s error=%s", type(error).__name__, error)
                pause = 1.0
            on_pass()
            stop.wait(pause)

    def tick(self) -> int:
        """One pass. Returns how many hints were sent."""
        now = boot_seconds()
        if now >= self._next_reap:
            # A quarter of the ttl is fine enough to judge it, and a second is often enough for short ones.
            self._next_reap = now + min(1.0, self._settings.lease_ttl_seconds / 4)
            self._reap()
            store.wake_parked(self._database, utc_now())
        dispatch(self._database, utc_now())
        return self._send()

    def _reap(self) -> None:
        asked_at = boot_seconds()
        beats = attempts.live_beats(self._database)
        for beat in self._observer.look(beats, asked_at=asked_at, read_at=boot_seconds()):
            detail = f"no heartbeat for {self._settings.lease_ttl_seconds:g} s"
            if attempts.expire(self._database, beat, detail, utc_now()):
                log.warning("lease_expired attempt=%s heartbeat=%d", beat.attempt_id, beat.heartbeat)

    def _send(self) -> int:
        now = boot_seconds()
        with self._database.read() as connection:
            hints = store.open_hints(connection)
            due = [h for h in hints if now - self._sent.get(h[:2], -1e9) >= self._settings.rehint_seconds]
            labels = store.labels(connection, [hint.job_id for hint in due])
        open_keys = {hint[:2] for hint in hints}
        self._sent = {key: at for key, at in self._sent.items() if key in open_keys}
        if not due:
            return 0
        sent = publish(self._app, due, labels)
        self._sent.update({hint[:2]: now for hint in due})
        return sent
