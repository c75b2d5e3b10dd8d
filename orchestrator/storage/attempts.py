"""The worker's part of the jobs table: claim, renew, record and end an attempt, each fenced.

A claim is a compare-and-set on the job's state and order token, takes a slot of every resource, raises the fencing
number and draws a random attempt id, all in one transaction. Every later write names the attempt: when it is no
longer live the write changes nothing and raises StaleAttempt.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import Conflict, StaleAttempt
from orchestrator.domain.lease import Beat
from orchestrator.domain.outcome import Outcome, OutcomeClass, job_event, outcome_class
from orchestrator.domain.states import ATTEMPT_MOVES, JOB_MOVES, AttemptState, JobState, move, sources
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import (
    accounts,
    artifacts,
    attempts,
    cells,
    checks,
    experiments,
    is_in,
    is_live,
    jobs,
    leases,
    targets,
)

# A limit whose reset nobody named is tried again after this.
_UNKNOWN_RESET = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """Which process on which boot of which machine: enough to prove later that it is dead."""

    machine: str
    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that this worker now owns."""

    attempt_id: str
    job_id: int
    fence: int
    number: int
    repeat: int
    cell_id: int
    resources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckRecord:
    """Result of one check. `kind` is `final` or `baseline`."""

    kind: str
    name: str
    status: CheckStatus
    exit_code: int | None
    seconds: float | None
    reason: str | None
    log_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """A kept file."""

    name: str
    kind: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """Everything that an attempt leaves. What is not known is None."""

    outcome: Outcome
    detail: str
    wall_seconds: float | None = None
    lease_wait_seconds: float | None = None
    working_seconds: float | None = None
    rate_limit_wait_seconds: float | None = None
    base_sha: str | None = None
    baseline_sha: str | None = None
    final_sha: str | None = None
    branch: str | None = None
    files_changed: int | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    commits: int | None = None
    final_text: str | None = None
    wake_at: datetime | None = None
    parked_account: str | None = None
    checks: Sequence[CheckRecord] = field(default_factory=tuple)
    artifacts: Sequence[ArtifactRecord] = field(default_factory=tuple)


class NoFreeSlot(Conflict):
    """Every slot of a resource is taken."""


class Parked(Conflict):
    """The account is parked until its limit resets."""

    def __init__(self, resource: str, until: datetime) -> None:
        self.resource, self.until = resource, until
        super().__init__(f"{resource} is parked until {until:%Y-%m-%d %H:%M:%S} UTC")


def claim(database: Database, job_id: int, order_token: str, worker: WorkerIdentity, now: datetime) -> Claim | None:
    """Own the job; None when the message is stale.

    Raises NoFreeSlot or Parked, and changes nothing, when a slot is missing or an account waits for its reset: the
    claim may be tried again under its token.
    """
    with database.write() as connection:
        return _claim(connection, job_id, order_token, secrets.token_hex(16), worker, now)


def withdraw(database: Database, job_id: int, order_token: str) -> None:
    """Give a hint back that could not be claimed: the job is ready again. Nothing happens when it is stale."""
    with database.write() as connection:
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job_id, is_in(jobs.c.state, JobState.QUEUED), jobs.c.order_token == order_token)
            .values(state=move(JOB_MOVES, JobState.QUEUED, "withdraw"), order_token=None)
        )


# Statements of every job are built once: building and hashing one costs as much as the database's answer.
_CLAIM_JOB = (
    jobs.update()
    .where(
        jobs.c.id == sa.bindparam("job"),
        is_in(jobs.c.state, JobState.QUEUED),
        jobs.c.order_token == sa.bindparam("token"),
    )
    .values(
        state=move(JOB_MOVES, JobState.QUEUED, "claim"),
        order_token=None,
        attempt_id=sa.bindparam("attempt"),
        fence=jobs.c.fence + 1,
        attempts=jobs.c.attempts + 1,
        waiting_reason=None,
    )
    .returning(jobs.c.fence, jobs.c.attempts, jobs.c.needs, jobs.c.cell_id, jobs.c.repeat)
)
_FREE_SLOT = (
    sa.select(leases.c.slot)
    .where(leases.c.resource == sa.bindparam("wanted"), leases.c.attempt_id.is_(None), leases.c.retired.is_(False))
    .order_by(leases.c.slot)
    .limit(1)
    .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
)
_TAKE_SLOT = (
    leases.update()
    .where(
        leases.c.resource == sa.bindparam("wanted"),
        leases.c.slot == _FREE_SLOT.scalar_subquery(),
        leases.c.attempt_id.is_(None),
    )
    .values(attempt_id=sa.bindparam("attempt"), since=sa.bindparam("now"))
)
# An attempt that is under way goes before one that has not begun.
_TAKE_FIRST_SLOT = _TAKE_SLOT.where(~sa.exists().where(attempts.c.waits_for == sa.bindparam("wanted"), is_live))


def _claim(
    connection: sa.Connection, job_id: int, order_token: str, attempt_id: str, worker: WorkerIdentity, now: datetime
) -> Claim | None:
    row = connection.execute(_CLAIM_JOB, {"job": job_id, "token": order_token, "attempt": attempt_id}).first()
    if row is None:
        return None
    resources = split_needs(row.needs)
    for resource in resources:
        _refuse_parked(connection, resource, now)
        _take_slot(connection, _TAKE_FIRST_SLOT, resource, attempt_id, now)
    connection.execute(
        attempts.insert(),
        {
            "id": attempt_id,
            "job_id": job_id,
            "number": row.attempts,
            "fence": row.fence,
            "state": AttemptState.CLAIMED,
            "machine": worker.machine,
            "boot_id": worker.boot_id,
            "worker_pid": worker.pid,
            "worker_start_ticks": worker.start_ticks,
            "started_at": now,
        },
    )
    return Claim(
        attempt_id=attempt_id,
        job_id=job_id,
        fence=row.fence,
        number=row.attempts,
        repeat=row.repeat,
        cell_id=row.cell_id,
        resources=resources,
    )


def _take_slot(connection: sa.Connection, how: sa.Update, resource: str, attempt_id: str, now: datetime) -> None:
    values = {"wanted": resource, "attempt": attempt_id, "now": now}
    if connection.execute(how, values).rowcount != 1:
        raise NoFreeSlot(f"no slot of {resource} is free")


def _refuse_parked(connection: sa.Connection, resource: str, now: datetime) -> None:
    kind, _, name = resource.partition(":")
    if kind != "account":
        return
    query = sa.select(accounts.c.parked_until).where(accounts.c.name == name, accounts.c.parked_until > now)
    until = connection.execute(query).scalar()
    if until is not None:
        raise Parked(resource, until)


def take(database: Database, attempt_id: str, resource: str, now: datetime) -> bool:
    """Take a slot for the next stage of a live attempt; False when none is free, which leaves the attempt waiting.

    While it waits the scheduler starts no new job on the slot that becomes free. Raises StaleAttempt, and Parked
    when the resource is an account that waits for its reset.
    """
    with database.write() as connection:
        _refuse_parked(connection, resource, now)
        try:
            _take_slot(connection, _TAKE_SLOT, resource, attempt_id, now)
            waits_for = None
        except NoFreeSlot:
            waits_for = resource
        mine = attempts.update().where(attempts.c.id == attempt_id, is_live).values(waits_for=waits_for)
        if connection.execute(mine).rowcount != 1:
            raise StaleAttempt
        return waits_for is None


def release(database: Database, attempt_id: str, resource: str) -> None:
    """Give one slot back before the attempt has ended."""
    with database.write() as connection:
        _free_slots(connection, attempt_id, resource)


class CellInfo(NamedTuple):
    """What a claim refers to; never changes once it is stored."""

    experiment: str
    key: str
    target_id: int
    profile_hash: str
    spec: dict[str, object]


def cell_info(database: Database, cell_id: int) -> CellInfo:
    """The cell of a claim."""
    query = (
        sa.select(experiments.c.name, cells.c.key, cells.c.target_id, cells.c.profile_hash, cells.c.spec)
        .join(experiments, experiments.c.id == cells.c.experiment_id)
        .where(cells.c.id == cell_id)
    )
    with database.read() as connection:
        return CellInfo(*connection.execute(query).one())


def renew(database: Database, attempt_ids: Sequence[str]) -> set[str]:
    """Raise the heartbeat of live attempts. Returns those that are still owned."""
    change = (
        attempts.update()
        .where(attempts.c.id.in_(attempt_ids), is_live)
        .values(heartbeat=attempts.c.heartbeat + 1)
        .returning(attempts.c.id)
    )
    with database.write() as connection:
        return set(connection.execute(change).scalars())


def cancelled_among(database: Database, attempt_ids: Sequence[str]) -> set[str]:
    """Those whose job shall be cancelled, and those that no longer own their job."""
    # By way of the attempts: there is no index of jobs by attempt, and workers ask every second.
    query = (
        sa.select(attempts.c.id)
        .join(jobs, sa.and_(jobs.c.id == attempts.c.job_id, jobs.c.attempt_id == attempts.c.id))
        .where(attempts.c.id.in_(attempt_ids), jobs.c.cancel_requested.is_(False))
    )
    with database.read() as connection:
        return set(attempt_ids).difference(connection.execute(query).scalars())


def advance(database: Database, attempt_id: str, event: str, **values: str | None) -> None:
    """Move a live attempt to its next state. Raises StaleAttempt when it is no longer live.

    When it begins to check its work no model is used any more: its slots go to the next job then, not at its end.
    """
    legal = sources(ATTEMPT_MOVES, event)
    target = next(state for (_, name), state in ATTEMPT_MOVES.items() if name == event)
    change = (
        attempts.update()
        .where(attempts.c.id == attempt_id, attempts.c.state.in_(legal))
        .values(state=target, **values)
    )
    with database.write() as connection:
        if connection.execute(change).rowcount != 1:
            raise StaleAttempt
        if target is AttemptState.CHECKING:
            _free_slots(connection, attempt_id)


_other = leases.alias("other")
_RELEASE = (
    leases.update()
    .where(leases.c.attempt_id == sa.bindparam("attempt"))
    .values(attempt_id=None, since=None)
    .returning(
        leases.c.resource,
        leases.c.slot,
        leases.c.retired,
        # The resource has shrunk, and a retired slot is still in use.
        sa.exists()
        .where(_other.c.resource == leases.c.resource, _other.c.retired, _other.c.attempt_id.is_not(None))
        .label("overbooked"),
    )
)
_RELEASE_ONE = _RELEASE.where(leases.c.resource == sa.bindparam("given"))


def _free_slots(connection: sa.Connection, attempt_id: str, resource: str | None = None) -> None:
    values = {"attempt": attempt_id} | ({"given": resource} if resource else {})
    for row in connection.execute(_RELEASE_ONE if resource else _RELEASE, values).all():
        if row.overbooked and not row.retired:
            _retire_instead(connection, row.resource, row.slot)


def _retire_instead(connection: sa.Connection, resource: str, slot: int) -> None:
    """When the resource has shrunk and a retired slot is still in use, this free one goes in its place."""
    query = (
        sa.select(leases.c.slot)
        .where(leases.c.resource == resource, leases.c.retired, leases.c.attempt_id.is_not(None))
        .order_by(leases.c.slot)
        .limit(1)
        # One that is locked is being freed, or another end has just settled it.
        .with_for_update(skip_locked=True)
    )
    in_use = connection.execute(query).scalar()
    if in_use is not None:
        both = leases.update().where(leases.c.resource == resource, leases.c.slot.in_((slot, in_use)))
        connection.execute(both.values(retired=leases.c.slot == slot))


def live_beats(database: Database) -> list[Beat]:
    """Every live attempt with its heartbeat number."""
    with database.read() as connection:
        rows = connection.execute(sa.select(attempts.c.id, attempts.c.heartbeat).where(is_live))
        return [Beat(row.id, row.heartbeat) for row in rows]


class LocalAttempt(NamedTuple):
    """A live attempt of this machine and boot, and the process that should hold it."""

    attempt_id: str
    heartbeat: int
    worker_pid: int
    worker_start_ticks: int


def local_attempts(database: Database, machine: str, boot_id: str) -> list[LocalAttempt]:
    """Live attempts that were claimed on this machine: since this boot, so their holders can be looked up."""
    query = sa.select(
        attempts.c.id, attempts.c.heartbeat, attempts.c.worker_pid, attempts.c.worker_start_ticks
    ).where(is_live, attempts.c.machine == machine, attempts.c.boot_id == boot_id)
    with database.read() as connection:
        return [LocalAttempt(*row) for row in connection.execute(query)]


def expire(database: Database, beat: Beat, detail: str, now: datetime) -> bool:
    """End a silent attempt as `lease_lost`; False when its heartbeat has moved or it has ended meanwhile."""
    result = AttemptResult(outcome=Outcome.LEASE_LOST, detail=detail)
    with database.write() as connection:
        return _end(connection, beat.attempt_id, result, now, beat.heartbeat) is not None


def finish(database: Database, attempt_id: str, result: AttemptResult, now: datetime) -> JobState:
    """Store the result, free the slots and move the job on. Returns the job's new state.

    Raises StaleAttempt, and stores nothing, when the attempt no longer owns its job.
    """
    with database.write() as connection:
        state = _end(connection, attempt_id, result, now)
        if state is None:
            raise StaleAttempt
        return state


_NOT_COLUMNS = ("checks", "artifacts", "wake_at", "parked_account")
_RESULT_COLUMNS = tuple(f.name for f in fields(AttemptResult) if f.name not in _NOT_COLUMNS)
_END_ATTEMPT = (
    attempts.update()
    .where(attempts.c.id == sa.bindparam("attempt"), is_live)
    .values(
        state=AttemptState.ENDED,
        waits_for=None,
        ended_at=sa.bindparam("now"),
        **{name: sa.bindparam(f"new_{name}") for name in _RESULT_COLUMNS},
    )
    .returning(attempts.c.job_id, attempts.c.fence)
)
_END_SILENT_ATTEMPT = _END_ATTEMPT.where(attempts.c.heartbeat == sa.bindparam("seen"))


def _end(
    connection: sa.Connection,
    attempt_id: str,
    result: AttemptResult,
    now: datetime,
    seen_heartbeat: int | None = None,
) -> JobState | None:
    values = {f"new_{name}": getattr(result, name) for name in _RESULT_COLUMNS} | {"attempt": attempt_id, "now": now}
    if seen_heartbeat is None:
        row = connection.execute(_END_ATTEMPT, values).first()
    else:
        row = connection.execute(_END_SILENT_ATTEMPT, values | {"seen": seen_heartbeat}).first()
    if row is None:
        return None
    _free_slots(connection, attempt_id)
    if result.checks:
        _insert_checks(connection, attempt_id, row.job_id, result.checks)
    if result.artifacts:
        connection.execute(artifacts.insert(), [{"attempt_id": attempt_id, **asdict(a)} for a in result.artifacts])
    if result.parked_account is not None:
        _park_account(connection, result.parked_account, _wake_at(result, now), result.detail)
    return _move_job(connection, row.job_id, row.fence, attempt_id, result, now)


def _wake_at(result: AttemptResult, now: datetime) -> datetime:
    return result.wake_at or now + _UNKNOWN_RESET


def _park_account(connection: sa.Connection, name: str, until: datetime, reason: str) -> None:
    """Two sessions of an account may meet two limits: it is parked until the later reset."""
    earlier = sa.or_(accounts.c.parked_until.is_(None), accounts.c.parked_until < until)
    park = accounts.update().where(accounts.c.name == name, earlier)
    connection.execute(park.values(parked_until=until, parked_reason=reason))


def _insert_checks(connection: sa.Connection, attempt_id: str, job_id: int, records: Iterable[CheckRecord]) -> None:
    query = sa.select(cells.c.target_id).join(jobs, jobs.c.cell_id == cells.c.id).where(jobs.c.id == job_id)
    target_id = connection.execute(query).scalar_one()
    rows = [{"attempt_id": attempt_id, "target_id": target_id, **asdict(record)} for record in records]
    connection.execute(checks.insert(), rows)


_owned = sa.and_(
    jobs.c.id == sa.bindparam("job"),
    jobs.c.attempt_id == sa.bindparam("attempt"),
    jobs.c.fence == sa.bindparam("token"),
)
_TRIES_LEFT = (
    sa.select(
        jobs.c.infra_attempts,
        jobs.c.cancel_requested,
        cells.c.spec["limits"]["max_infra_attempts"].as_integer().label("most"),
    )
    .join(cells, cells.c.id == jobs.c.cell_id)
    .where(_owned)
)
_MOVED_COLUMNS = ("state", "outcome", "detail", "waiting_reason", "wake_at", "finished_at")
_MOVE_JOB = (
    jobs.update()
    .where(_owned)
    .values(
        attempt_id=None,
        infra_attempts=jobs.c.infra_attempts + sa.bindparam("more"),
        **{name: sa.bindparam(f"new_{name}") for name in _MOVED_COLUMNS},
    )
)


def _move_job(
    connection: sa.Connection, job_id: int, fence: int, attempt_id: str, result: AttemptResult, now: datetime
) -> JobState:
    kind = outcome_class(result.outcome)
    key = {"job": job_id, "attempt": attempt_id, "token": fence}
    more = 1 if kind is OutcomeClass.INFRA else 0
    if kind in (OutcomeClass.RESULT, OutcomeClass.INVALID):
        event = job_event(result.outcome, infra_attempts=0, max_infra_attempts=1)
    else:
        row = connection.execute(_TRIES_LEFT, key).one()
        event = job_event(result.outcome, infra_attempts=row.infra_attempts + more, max_infra_attempts=row.most or 1)
        if row.cancel_requested and event in ("requeue", "park", "pause"):
            event = "cancel"
    state = move(JOB_MOVES, JobState.RUNNING, event)
    final = state not in (JobState.READY, JobState.PARKED, JobState.PAUSED)
    moved = {
        "state": state,
        "outcome": result.outcome if final else None,
        "detail": result.detail if final else None,
        "waiting_reason": None if final else f"{result.outcome}: {result.detail}",
        "wake_at": _wake_at(result, now) if state is JobState.PARKED else None,
        "finished_at": now if final else None,
    }
    connection.execute(_MOVE_JOB, key | {"more": more} | {f"new_{name}": value for name, value in moved.items()})
    return state


def claim_baseline(database: Database, target_id: int, attempt_id: str) -> bool:
    """True for the one attempt that shall run the checks on the untouched base.

    An attempt that ended without leaving the baseline loses the right to it.
    """
    kept = sa.exists().where(checks.c.target_id == target_id, checks.c.kind == "baseline")
    holder_lives = sa.exists().where(attempts.c.id == targets.c.baseline_attempt_id, is_live)
    change = (
        targets.update()
        .where(targets.c.id == target_id, ~kept, targets.c.baseline_attempt_id.is_(None) | ~holder_lives)
        .values(baseline_attempt_id=attempt_id)
    )
    with database.write() as connection:
        return connection.execute(change).rowcount == 1
