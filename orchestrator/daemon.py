"""The scheduler's loops: reap, wake, dispatch; and send. Everything it knows it can lose; the database has the truth.

Sending has a thread of its own: a broker that is away holds every publish up for 6 to 10 seconds, and a scheduler
that does not look at the heartbeats for so long takes itself for blind and expires nothing.
"""

import logging
import threading
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from orchestrator.broker import publish
from orchestrator.clock import boot_id, boot_seconds, start_ticks, utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.domain.lease import Beat, Observer
from orchestrator.domain.outcome import Outcome
from orchestrator.postman import Postman
from orchestrator.scheduling.campaigns import settle_campaigns
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.scheduling.pools import settle
from orchestrator.scheduling.races import RaceWatch
from orchestrator.settings import Settings
from orchestrator.storage import attempts, breakers, quota
from orchestrator.storage import dispatch as store
from orchestrator.storage.engine import Database
from orchestrator.storage.leader import Leadership

log = logging.getLogger("bakeoff.scheduler")

# Between two tries while the database or the broker is away.
_AWAY_SECONDS = 1.0
# How long the end waits for hints that are just going out.
_LAST_SEND_SECONDS = 5.0
# The postman keeps to a bound of its own; this one is for a database that hangs.
_LAST_NOTICE_SECONDS = 9.0
# Quotas are judged this often, and rest this many times as long as a judgement of many windows took.
_JUDGE_SECONDS = 1.0
_JUDGE_REST = 50.0
# Races likewise, and sooner again: every job that begins meanwhile may be one too many.
_RACE_REST = 5.0
# Share of the usual pause after a pass that started something.
_BUSY = 0.2


class Scheduler:
    """One scheduler process. With a `leadership` it acts only while it leads, and stands by otherwise."""

    def __init__(
        self, settings: Settings, database: Database, app: Celery, leadership: Leadership | None = None
    ) -> None:
        self._settings, self._database, self._app = settings, database, app
        self._leadership, self._leads = leadership, leadership is None
        self._observer = Observer(
            ttl_seconds=settings.lease_ttl_seconds, max_gap_seconds=max(1.0, settings.lease_ttl_seconds / 2)
        )
        # When each open hint was last sent, on the boot clock; lost at a restart, which sends all of them again.
        self._sent: dict[tuple[int, str], float] = {}
        self._next_reap = 0.0
        self._next_judgement = 0.0
        self._next_race = 0.0
        self._races = RaceWatch()
        self._decided = threading.Event()

    @property
    def leads(self) -> bool:
        """Whether the last pass was this one's to make."""
        return self._leads

    def run(self, stop: threading.Event, on_pass: Callable[[], None] = lambda: None) -> None:
        """Pass after pass until `stop`. A database or broker that is away is logged once a second and waited for."""
        sender = threading.Thread(target=self._keep_sending, args=(stop,), name="hints", daemon=True)
        sender.start()
        postman = threading.Thread(
            target=Postman(self._database, lambda: self._leads).run, args=(stop,), name="notices", daemon=True
        )
        postman.start()
        while not stop.is_set():
            began = boot_seconds()
            started = self._tried(self.decide)
            if self._leads and self._leadership is not None:
                self._leadership.count_pass(boot_seconds() - began)
            self._decided.set()
            on_pass()
            # While jobs are short enough to keep a pass busy, the next one follows sooner.
            pause = self._settings.tick_seconds * (_BUSY if started else 1.0)
            stop.wait(_AWAY_SECONDS if started is None else pause)
        self._decided.set()
        sender.join(_LAST_SEND_SECONDS)
        postman.join(_LAST_NOTICE_SECONDS)
        if self._leadership is not None:
            self._tried(self._resign)

    def _resign(self) -> int:
        assert self._leadership is not None  # asked by run
        self._leads = False
        self._leadership.resign()
        return 0

    def _keep_sending(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._decided.wait()
            self._decided.clear()
            if self._tried(self.send) is None:
                stop.wait(_AWAY_SECONDS)

    def _tried(self, act: Callable[[], int]) -> int | None:
        try:
            return act()
        except (StorageError, KombuError, RedisError, OSError) as error:
            log.warning("pass_failed kind=%s error=%s", type(error).__name__, error)
            return None

    def tick(self) -> int:
        """One pass of both. Returns how many hints were sent."""
        self.decide()
        return self.send()

    def decide(self) -> int:
        """What the database alone decides: which leases have expired, what is awake again, and what starts next.

        Returns how many jobs were queued; 0 while another scheduler leads.
        """
        if not self._may_act():
            return 0
        now = boot_seconds()
        if now >= self._next_reap:
            # A quarter of the ttl is fine enough to judge it, and a second is often enough for short ones.
            self._next_reap = now + min(1.0, self._settings.lease_ttl_seconds / 4)
            self._reap()
            self._end_cancelled()
            breakers.wake(self._database, utc_now())
            store.wake_parked(self._database, utc_now())
            for pool in settle(self._database, utc_now()):
                log.warning("pool_slots_changed %s", pool)
            for campaign in settle_campaigns(self._database, utc_now()):
                log.info("second_part_begins %s", campaign)
        if now >= self._next_race:
            self._judge_races()
        if now >= self._next_judgement:
            self._judge_quotas()
        return len(dispatch(self._database, utc_now()))

    def _may_act(self) -> bool:
        if self._leadership is None:
            return True
        led, self._leads = self._leads, False  # also when the next line raises
        self._leads = self._leadership.lead()
        if led != self._leads:
            log.info("scheduler_%s", "leads" if self._leads else "stands_by")
        return self._leads

    def _judge_races(self) -> None:
        began = boot_seconds()
        for race in self._races.look(self._database, utc_now()):
            log.info("race_judged %s", race)
        ended = boot_seconds()
        self._next_race = ended + max(_JUDGE_SECONDS, _RACE_REST * (ended - began))

    def _judge_quotas(self) -> None:
        began = boot_seconds()
        for change in quota.judge(self._database, utc_now()):
            log.info("quota_changed %s", change)
        ended = boot_seconds()
        self._next_judgement = ended + max(_JUDGE_SECONDS, _JUDGE_REST * (ended - began))

    def _reap(self) -> None:
        asked_at = boot_seconds()
        beats = attempts.live_beats(self._database)
        for beat in self._observer.look(beats, asked_at=asked_at, read_at=boot_seconds()):
            detail = f"no heartbeat for {self._settings.lease_ttl_seconds:g} s"
            if attempts.expire(self._database, beat, detail, utc_now()):
                log.warning("lease_expired attempt=%s heartbeat=%d", beat.attempt_id, beat.heartbeat)

    def _end_cancelled(self) -> None:
        """End attempts that are to be cancelled and whose workers are provably dead on this machine.

        With the worker its shims have ended the trees, and a cancelled job runs nowhere again, so nothing is gained
        by waiting for the lease. Of a worker on another machine silence proves nothing: its tree may live until the
        lease has run out, and until then its slots stay taken. A worker that starts there again ends it at once.
        """
        here = self._settings.machine
        local = attempts.local_attempts(self._database, here, boot_id())
        dead = [one for one in local if start_ticks(one.worker_pid) != one.worker_start_ticks]
        if not dead:
            return
        orders = attempts.orders_among(self._database, [one.attempt_id for one in dead])
        for one in dead:
            beat, cancelled = Beat(one.attempt_id, one.heartbeat), orders.get(one.attempt_id) is Outcome.CANCELLED
            detail = "cancelled on request; its worker had died"
            if cancelled and attempts.expire(self._database, beat, detail, utc_now(), Outcome.CANCELLED):
                log.warning("cancelled_without_worker attempt=%s worker_pid=%d", one.attempt_id, one.worker_pid)

    def send(self) -> int:
        """Send the hints that were never sent or stayed unclaimed too long. Returns how many."""
        if not self._leads:
            self._sent = {}  # after a takeover everything that is owed is sent again
            return 0
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
