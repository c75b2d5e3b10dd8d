"""Any order of events: hypothesis plays scheduler, workers and people on the real storage code, with a virtual clock.

The model knows nothing of SQL. It remembers who may rightly believe to hold a job, and after every step compares what
must always hold.
"""

import sqlite3
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.lease import Beat, Observer, holder_deadline
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.storage import attempts, breakers, control, dispatch
from orchestrator.storage.attempts import AttemptResult, NoFreeSlot, Parked
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts as attempt_table
from orchestrator.storage.tables import jobs, leases
from tests.support.databases import Databases, PostgresDatabases, SqliteDatabases
from tests.support.world import NOW, POOL, WORKER, A, B, add, order

CAPACITIES = {A: 1, B: 2, POOL: 2}
CLASSES = [A, B, POOL, f"{A},{POOL}", f"{A},{B}"]
TTL, MARGIN, GAP, MAX_INFRA = 10.0, 2.0, 5.0, 3
FINISH = [Outcome.COMPLETE, Outcome.WALL_TIMEOUT, Outcome.INFRA_ERROR, Outcome.INTERRUPTED, Outcome.QUOTA_PARKED]


Hint = tuple[int, str]  # job and token


@dataclass
class Held:
    """What a worker believes to hold. `deadline` is when its shim kills the tree."""

    job_id: int
    attempt_id: str
    deadline: float
    stage: int = 0
    cancel_seen: bool = False


@dataclass
class Worker:
    """A worker process. A frozen one does nothing until it is thawed; a crashed one is replaced by a new one."""

    held: list[Held] = field(default_factory=list)
    frozen: bool = False


class LeaseMachine(RuleBasedStateMachine):
    """Two workers, one scheduler, one person."""

    databases: ClassVar[Databases]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.database: Database = self.stack.enter_context(self.databases.fresh())
        if self.database.sqlite:
            sa.event.listen(self.database.engine, "connect", _fast)
        self.clock = 0.0
        self.workers = [Worker(), Worker()]
        self.observer = Observer(ttl_seconds=TTL, max_gap_seconds=GAP)
        self.hints: list[Hint] = []
        self.latest: dict[int, str] = {}
        self.used_tokens: set[Hint] = set()
        self.owner: dict[int, str] = {}  # job to the one attempt that rightly holds it
        self.infra: Counter[int] = Counter()
        self.cancelled: set[int] = set()
        self.count = 0

    def teardown(self) -> None:
        self.stack.close()

    def moment(self, seconds: float = 0.0) -> datetime:
        return NOW + timedelta(seconds=self.clock + seconds)

    @initialize(needs=st.lists(st.sampled_from(CLASSES), min_size=4, max_size=8))
    def begin(self, needs: list[str]) -> None:
        dispatch.ensure_slots(self.database, CAPACITIES)
        self.submit(needs)
        self.start(0, 0)

    @rule(needs=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3))
    def submit(self, needs: list[str]) -> None:
        add(self.database, needs, capacities=CAPACITIES, max_infra=MAX_INFRA, after=self.count)
        self.count += len(needs)

    @rule()
    def dispatch(self) -> None:
        for job_id, token in order(self.database, self.moment()).items():
            assert (job_id, token) not in self.hints, "a token was given out twice"
            self.hints.append((job_id, token))
            self.latest[job_id] = token

    @rule(lag=st.floats(0, 3), first=st.integers(0, 1))
    def start(self, lag: float, first: int) -> None:
        """The usual way: what may start is hinted, and the workers hear of it in turn.

        Other rules end with it too: a machine in which this rule is left out would have nothing to play with.
        """
        self.dispatch()
        for index, hint in enumerate(self.owed()):
            self.deliver(hint, (first + index) % 2, lag)

    @precondition(lambda self: self.hints)
    @rule(data=st.data(), who=st.integers(0, 1), lag=st.floats(0, 3))
    def deliver_again(self, data: st.DataObject, who: int, lag: float) -> None:
        """Any hint that was ever sent: late or repeated."""
        self.deliver(data.draw(st.sampled_from(self.hints)), who, lag)

    @precondition(lambda self: self.outdated())
    @rule(data=st.data(), who=st.integers(0, 1))
    def deliver_an_outdated_hint(self, data: st.DataObject, who: int) -> None:
        """The job was ordered anew since, and waits for that order to be claimed."""
        self.deliver(data.draw(st.sampled_from(self.outdated())), who, 0)

    def owed(self) -> list[Hint]:
        return [hint for hint in self.latest.items() if hint not in self.used_tokens]

    def outdated(self) -> list[Hint]:
        waiting = {job_id for job_id, _ in self.owed()}
        return [hint for hint in self.hints if hint[0] in waiting and self.latest[hint[0]] != hint[1]]

    def deliver(self, hint: Hint, who: int, lag: float) -> None:
        """The claim takes `lag` seconds to get to the database."""
        worker, (job_id, token) = self.workers[who], hint
        if worker.frozen:
            return
        asked_at = self.clock
        self.clock += lag
        try:
            claim = attempts.claim(self.database, job_id, token, WORKER, self.moment())
        except Parked:
            self.seen["refused: parked"] += 1
            attempts.withdraw(self.database, job_id, token)
            return
        except NoFreeSlot:
            self.seen["refused: no slot"] += 1
            return
        if claim is None:
            self.seen["refused: stale hint"] += 1
            return
        assert hint not in self.used_tokens, "one order was claimed twice"
        assert self.latest[job_id] == token, "claimed by an order that was taken back"
        assert job_id not in self.owner, "claimed while somebody holds it"
        self.used_tokens.add(hint)
        self.owner[job_id] = claim.attempt_id
        worker.held.append(Held(job_id, claim.attempt_id, _deadline(asked_at)))

    def acting(self) -> list[tuple[Worker, Held]]:
        """What workers that are awake believe to hold."""
        return [(worker, held) for worker in self.workers if not worker.frozen for held in worker.held]

    @precondition(lambda self: bool(self.acting()))
    @rule(who=st.integers(0, 1), lag=st.floats(0, 3))
    def renew(self, who: int, lag: float) -> None:
        worker = self.workers[who]
        if worker.frozen or not worker.held:
            return
        sent_at = self.clock
        owned = attempts.renew(self.database, [held.attempt_id for held in worker.held])
        self.clock += lag
        for held in worker.held:
            assert (held.attempt_id in owned) is self.is_owner(held), "only the owner may renew"
            self.seen["renewed" if held.attempt_id in owned else "refused: renewal"] += 1
            if held.attempt_id in owned:
                held.deadline = _deadline(sent_at)
        worker.held = [held for held in worker.held if held.attempt_id in owned]

    @precondition(lambda self: bool(self.acting()))
    @rule()
    def ask_for_cancellations(self) -> None:
        told = attempts.orders_among(self.database, [held.attempt_id for _, held in self.acting()])
        for _, held in self.acting():
            expected = not self.is_owner(held) or held.job_id in self.cancelled
            assert (held.attempt_id in told) is expected
            held.cancel_seen = expected

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(who=st.integers(0, 1), how=st.sampled_from(["crash", "freeze", "freeze"]))
    def crash_or_freeze(self, who: int, how: str) -> None:
        if how == "crash":
            self.workers[who] = Worker()
        else:
            self.workers[who].frozen = True

    @precondition(lambda self: any(worker.frozen for worker in self.workers))
    @rule()
    def thaw(self) -> None:
        for worker in self.workers:
            worker.frozen = False

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(who=st.integers(0, 1), then=st.sampled_from(["renew", "whatever comes"]))
    def oversleep(self, who: int, then: str) -> None:
        """A lid that was closed for longer than the lease: the worker goes on as if nothing had been."""
        self.workers[who].frozen = True
        self.reap(8, 0)
        self.workers[who].frozen = False
        if then == "renew":
            self.renew(who, 0)

    @rule(seconds=st.floats(0.5, 6))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds

    @rule(looks=st.integers(1, 8), read=st.floats(0, 1))
    def reap(self, looks: int, read: float) -> None:
        """The scheduler looks some times, 2 seconds apart."""
        for _ in range(looks):
            asked_at = self.clock
            beats = attempts.live_beats(self.database)
            self.clock += read
            for beat in self.observer.look(beats, asked_at=asked_at, read_at=self.clock):
                self.expire(beat)
            self.clock += 2
        self.start(0, 1)

    def expire(self, beat: Beat) -> None:
        for worker in self.workers:
            for held in worker.held:
                if held.attempt_id == beat.attempt_id:
                    assert held.deadline < self.clock, "expired while its holder may still run"
        job_id = next(job for job, attempt in self.owner.items() if attempt == beat.attempt_id)
        assert attempts.expire(self.database, beat, "silent", self.moment())
        self.seen["expired"] += 1
        self.ended(job_id, Outcome.LEASE_LOST)

    @precondition(lambda self: bool(self.acting()))
    @rule(data=st.data())
    def expire_with_an_old_heartbeat(self, data: st.DataObject) -> None:
        """A reaper that was slow between looking and expiring: the holder has renewed meanwhile."""
        _, held = data.draw(st.sampled_from(self.acting()))
        seen = [beat for beat in attempts.live_beats(self.database) if beat.attempt_id == held.attempt_id]
        assert bool(seen) is self.is_owner(held)
        if seen:
            sent_at = self.clock
            assert attempts.renew(self.database, [held.attempt_id])
            held.deadline = _deadline(sent_at)
            assert not attempts.expire(self.database, seen[0], "silent", self.moment())
            self.seen["refused: expiry"] += 1

    @precondition(lambda self: bool(self.acting()))
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        worker, held = data.draw(st.sampled_from(self.acting()))
        if held.stage > 2:
            return
        try:
            attempts.advance(self.database, held.attempt_id, ("prepare", "work", "check")[held.stage])
        except StaleAttempt:
            assert not self.is_owner(held)
            self.seen["refused: progress"] += 1
            worker.held.remove(held)
        else:
            assert self.is_owner(held), "a stale attempt moved on"
            held.stage += 1

    @precondition(lambda self: bool(self.acting()))
    @rule(data=st.data(), outcome=st.sampled_from(FINISH), wait=st.floats(1, 30), again=st.booleans())
    def finish(self, data: st.DataObject, outcome: Outcome, wait: float, again: bool) -> None:
        worker, held = data.draw(st.sampled_from(self.acting()))
        worker.held.remove(held)
        if held.cancel_seen:
            outcome = Outcome.CANCELLED
        account = A if outcome is Outcome.QUOTA_PARKED else None
        result = AttemptResult(outcome=outcome, detail="end", wake_at=self.moment(wait), resource=account)
        try:
            state = attempts.finish(self.database, held.attempt_id, result, self.moment())
        except StaleAttempt:
            assert not self.is_owner(held), "the owner's result was refused"
            self.seen["refused: result"] += 1
            return
        assert self.is_owner(held), "a stale result was accepted"
        self.seen[f"ended: {state}"] += 1
        self.ended(held.job_id, outcome, state)
        if again:
            self.start(0, 0)

    def ended(self, job_id: int, outcome: Outcome, state: JobState | None = None) -> None:
        """What must follow in the job's row."""
        del self.owner[job_id]
        if outcome in (Outcome.INFRA_ERROR, Outcome.LEASE_LOST):
            self.infra[job_id] += 1
        expected = {
            Outcome.COMPLETE: "done",
            Outcome.WALL_TIMEOUT: "failed",
            Outcome.CANCELLED: "cancelled",
            Outcome.QUOTA_PARKED: "parked",
        }.get(outcome, "ready")
        if expected == "ready" and outcome is not Outcome.INTERRUPTED and self.infra[job_id] >= MAX_INFRA:
            expected = "failed"
        broke = outcome in (Outcome.INFRA_ERROR, Outcome.LEASE_LOST)
        if (broke or expected in ("ready", "parked")) and job_id in self.cancelled:
            expected = "cancelled"
        with self.database.read() as connection:
            found = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
        assert found == expected
        assert state in (None, expected)

    @precondition(lambda self: self.count > 3)
    @rule(data=st.data(), meant=st.integers(0, 3))
    def cancel(self, data: st.DataObject, meant: int) -> None:
        if meant:
            return  # people do so seldom, and a cancelled job makes everything behind it dull
        job_id = data.draw(st.integers(1, self.count))
        _, asked = control.cancel(self.database, Selection(job_ids=[job_id]), "enough", self.moment())
        assert bool(asked) is (job_id in self.owner)
        if asked:
            self.cancelled.add(job_id)

    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        job_id = data.draw(st.integers(1, self.count))
        if control.requeue(self.database, Selection(job_ids=[job_id])):
            self.cancelled.discard(job_id)
            self.infra[job_id] = 0

    @rule()
    def wake(self) -> None:
        breakers.wake(self.database, self.moment())
        dispatch.wake_parked(self.database, self.moment())

    @rule(pool=st.integers(1, 3), account=st.integers(1, 2))
    def change_the_fleet(self, pool: int, account: int) -> None:
        dispatch.ensure_slots(self.database, {POOL: pool, B: account})

    @invariant()
    def at_most_one_live_attempt_and_a_running_job_has_it(self) -> None:
        query = sa.select(attempt_table.c.job_id, attempt_table.c.id).where(attempt_table.c.state != "ended")
        with self.database.read() as connection:
            live = connection.execute(query).all()
            rows = connection.execute(sa.select(jobs)).all()
        assert {row.job_id: row.id for row in live} == self.owner
        assert len(live) == len(self.owner)
        assert {row.id: row.attempt_id for row in rows if row.state == "running"} == self.owner
        assert {row.state for row in rows} <= set(JobState)
        assert len(rows) == self.count
        for row in rows:
            assert (row.order_token is not None) is (row.state == "queued")
            assert (row.wake_at is not None) is (row.state == "parked")
            assert row.infra_attempts == self.infra[row.id]
            assert row.infra_attempts < MAX_INFRA or row.state in ("failed", "done", "cancelled", "invalid")
            assert row.fence == row.attempts

    @invariant()
    def slots_are_held_by_live_attempts_and_never_overbooked(self) -> None:
        with self.database.read() as connection:
            rows = connection.execute(sa.select(leases)).all()
        held = Counter(row.resource for row in rows if row.attempt_id is not None)
        active = Counter(row.resource for row in rows if not row.retired)
        live = set(self.owner.values())
        assert {row.attempt_id for row in rows if row.attempt_id is not None} <= live
        for row in rows:
            # A retired slot is used only while every other one is too.
            if row.retired and row.attempt_id is not None:
                assert held[row.resource] > active[row.resource]

    def is_owner(self, held: Held) -> bool:
        return self.owner.get(held.job_id) == held.attempt_id


def _deadline(renewed_at: float) -> float:
    return holder_deadline(renewed_at=renewed_at, ttl_seconds=TTL, margin_seconds=MARGIN)


def _fast(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def run(databases: Databases, examples: int, steps: int) -> Counter[str]:
    """Play, and return how often what happened."""
    seen = Counter[str]()
    machine = type("Machine", (LeaseMachine,), {"databases": databases, "seen": seen})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return seen


def test_any_order_of_events_on_sqlite(sqlite_databases: SqliteDatabases) -> None:
    """It must also have met what it is here for: a machine that refuses nothing proves nothing."""
    refusals = ("stale hint", "no slot", "renewal", "progress", "result", "expiry")
    wanted = [f"refused: {what}" for what in refusals] + ["expired", "renewed"]
    seen = Counter[str]()
    for steps in (60, 60, 75, 75, 90, 90, 105, 105):
        seen += run(sqlite_databases, examples=40, steps=steps)
        if all(seen[what] for what in wanted):
            break
    assert [what for what in wanted if not seen[what]] == [], seen


def test_any_order_of_events_on_postgres(postgres_databases: PostgresDatabases) -> None:
    """The same with another database, played shorter."""
    assert run(postgres_databases, examples=12, steps=50)["expired"]
