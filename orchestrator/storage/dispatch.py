"""The scheduler's part of the jobs table: what is ready, what is free, and handing out order tokens."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.breaker import describe, open_slots
from orchestrator.domain.order import Candidate, is_resource
from orchestrator.domain.states import JOB_MOVES, JobState, move
from orchestrator.storage.breakers import load
from orchestrator.storage.engine import Database, lock_in_order, one_at_a_time, padded
from orchestrator.storage.marks import live_of
from orchestrator.storage.pools import closed_reasons
from orchestrator.storage.quota import ceilings
from orchestrator.storage.tables import attempts, cells, drains, experiments, is_in, is_live, jobs, leases

# SQLite takes 32,766 parameters, PostgreSQL 65,535; after a broker's death every open hint is due at once.
_MOST_IN_LIST = 5000


class Hint(NamedTuple):
    """What a queue message says, and the words under which Flower shows it."""

    job_id: int
    order_token: str
    queue: str


class HintLabel(NamedTuple):
    """A job in words."""

    experiment: str
    key: str
    repeat: int
    number: int

    def __str__(self) -> str:
        return f"{self.experiment} {self.key} #{self.repeat}"


def split_needs(needs: str) -> tuple[str, ...]:
    """`account:max,pool:redbox` as parts. Behind them stand the scopes that hold the job back: see `marks`."""
    return tuple(needs.split(","))


def resources_of(needs: str) -> tuple[str, ...]:
    """The accounts and pools alone."""
    return tuple(filter(is_resource, split_needs(needs)))


def held_models(needs: str) -> tuple[str, ...]:
    """The models among them that windows of their own hold back."""
    return tuple(name for name in split_needs(needs) if name.startswith("model:"))


def ready_classes(connection: sa.Connection) -> list[str]:
    """The distinct `needs` of ready jobs, by jumping through the index: costs by classes, not by jobs."""
    ready = is_in(jobs.c.state, JobState.READY)
    walk = sa.select(sa.func.min(jobs.c.needs).label("needs")).where(ready).cte("walk", recursive=True)
    following = sa.select(sa.func.min(jobs.c.needs)).where(ready, jobs.c.needs > walk.c.needs).scalar_subquery()
    walk = walk.union_all(sa.select(following).where(walk.c.needs.is_not(None)))
    rows = connection.execute(sa.select(walk.c.needs).where(walk.c.needs.is_not(None)))
    return [row.needs for row in rows]


def candidates(connection: sa.Connection, limit_of: Mapping[str, int]) -> list[Candidate]:
    """The first ready jobs of each class, at most `limit_of[needs]` of each."""
    found: list[Candidate] = []
    for needs, limit in limit_of.items():
        query = (
            sa.select(jobs.c.id, jobs.c.priority, jobs.c.position, jobs.c.passed_over)
            .where(is_in(jobs.c.state, JobState.READY), jobs.c.needs == needs)
            .order_by(jobs.c.priority.desc(), jobs.c.position)
            .limit(limit)
        )
        resources = split_needs(needs)
        found += [
            Candidate(
                job_id=row.id,
                needs=resources,
                position=row.position,
                passed_over=row.passed_over,
                priority=row.priority,
            )
            for row in connection.execute(query)
        ]
    return found


class Slots(NamedTuple):
    """A resource's slots."""

    total: int
    busy: int
    hinted: int  # slots for which a hint is out that nobody has claimed yet
    awaited: int = 0  # slots for which attempts wait between two stages: they go before new jobs
    note: str = ""  # why fewer of them are open than there are; empty when all are

    @property
    def free(self) -> int:
        """Slots that no live attempt and no open hint speaks for; negative when hints look ahead."""
        return self.total - self.busy - self.hinted - self.awaited

    @property
    def taken(self) -> int:
        """Slots that are spoken for, of those that there are: hints that look ahead take none."""
        return min(self.total, self.total - self.free)


def slots(connection: sa.Connection) -> dict[str, Slots]:
    """Every resource's open slots, and those of profiles and models that are held back. `note` says why.

    Costs by resources, breakers and open hints, never by what waits.
    """
    total = sa.func.sum(sa.case((leases.c.retired, 0), else_=1))
    query = sa.select(leases.c.resource, total, sa.func.count(leases.c.attempt_id)).group_by(leases.c.resource)
    counts = {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}
    drained = {row.scope: row.reason for row in connection.execute(sa.select(drains.c.scope, drains.c.reason))}
    gates, quotas = load(connection), ceilings(connection)
    # A profile is no resource, but while it is stopped its jobs go one by one as if it had one slot.
    counts |= {scope: (1, int(gate.probe is not None)) for scope, gate in gates.items() if scope[:8] == "profile:"}
    held = {scope: one.sessions for scope, one in quotas.items() if not is_resource(scope)}
    counts |= {scope: (sessions, live_of(connection, scope)) for scope, sessions in held.items()}
    hinted: dict[str, int] = {}
    out = sa.select(jobs.c.needs, sa.func.count()).where(is_in(jobs.c.state, JobState.QUEUED)).group_by(jobs.c.needs)
    for needs, count in connection.execute(out):
        for resource in split_needs(needs):
            hinted[resource] = hinted.get(resource, 0) + count
    waits = sa.select(attempts.c.waits_for, sa.func.count()).where(is_live, attempts.c.waits_for.is_not(None))
    awaited = {row[0]: int(row[1]) for row in connection.execute(waits.group_by(attempts.c.waits_for))}
    gone = {name for name, (whole, _) in counts.items() if whole == 0 and name.startswith("pool:")}
    closed = {name: why for name, why in closed_reasons(connection).items() if name in gone} if gone else {}
    found: dict[str, Slots] = {}
    for name, (whole, busy) in counts.items():
        gate = gates.get(name)
        note = f"{name} is drained: {drained[name]}" if name in drained else describe(name, gate) if gate else ""
        if name in closed and name not in drained:
            note = closed[name]  # its breaker has opened for just that
        now_open = open_slots(whole, busy, gate, drained=name in drained)
        if name in held or (name in quotas and quotas[name].sessions < now_open):
            now_open, note = quotas[name].sessions, f"{name.replace(':', ' ')}: {quotas[name].reason}"
        found[name] = Slots(now_open, busy, hinted.get(name, 0), awaited.get(name, 0), note)
    return found


def queue_jobs(
    connection: sa.Connection, chosen: Sequence[int], passed_over: Sequence[int], order_token: str
) -> list[Hint]:
    """Set ready jobs queued under a fresh token, in the order given. The hints are sent after the commit."""
    lock_in_order(connection, jobs.c.id, jobs.c.id.in_(padded((*chosen, *passed_over))))
    if passed_over:
        skipped = jobs.update().where(jobs.c.id.in_(padded(passed_over)), is_in(jobs.c.state, JobState.READY))
        connection.execute(skipped.values(passed_over=jobs.c.passed_over + 1))
    if not chosen:
        return []
    change = (
        jobs.update()
        .where(jobs.c.id.in_(padded(chosen)), is_in(jobs.c.state, JobState.READY))
        .values(state=move(JOB_MOVES, JobState.READY, "queue"), order_token=order_token, passed_over=0)
        .returning(jobs.c.id, jobs.c.queue)
    )
    queues = {row.id: row.queue for row in connection.execute(change)}
    return [Hint(job_id, order_token, queues[job_id]) for job_id in chosen if job_id in queues]


def open_hints(connection: sa.Connection) -> list[Hint]:
    """Every queued job, in order: what is owed to the broker when it has lost everything."""
    query = (
        sa.select(jobs.c.id, jobs.c.order_token, jobs.c.queue)
        .where(is_in(jobs.c.state, JobState.QUEUED))
        .order_by(jobs.c.priority.desc(), jobs.c.position)
    )
    return [Hint(row.id, row.order_token, row.queue) for row in connection.execute(query)]


def labels(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, HintLabel]:
    """Readable names of jobs."""
    query = (
        sa.select(jobs.c.id, experiments.c.name, cells.c.key, jobs.c.repeat, jobs.c.attempts)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
    )
    rest, found = list(job_ids), {}
    while rest:
        some, rest = rest[:_MOST_IN_LIST], rest[_MOST_IN_LIST:]
        for row in connection.execute(query.where(jobs.c.id.in_(padded(some)))):
            found[row[0]] = HintLabel(row[1], row[2], row[3], row[4] + 1)
    return found


def wake_parked(database: Database, now: datetime) -> int:
    """Parked jobs whose reset has come become ready again. Returns how many."""
    due = sa.and_(is_in(jobs.c.state, JobState.PARKED), jobs.c.wake_at <= now)
    # Looked up first: nearly always there is none, and then nobody has to wait for a write.
    with database.read() as connection:
        if connection.execute(sa.select(jobs.c.id).where(due).limit(1)).first() is None:
            return 0
    change = jobs.update().where(due)
    with database.write() as connection:
        lock_in_order(connection, jobs.c.id, due)
        woken = change.values(state=move(JOB_MOVES, JobState.PARKED, "wake"), wake_at=None, waiting_reason=None)
        return connection.execute(woken).rowcount


def ensure_slots(database: Database, capacities: Mapping[str, int]) -> None:
    """Make each resource have its number of slots. A slot in use is retired, and goes when it is free."""
    for resource, capacity in sorted(capacities.items()):
        # A transaction each: one that held the rows of two resources could block ends that free both.
        with database.write() as connection:
            one_at_a_time(connection, f"slots {resource}")
            _ensure_slots(connection, resource, capacity)


def _ensure_slots(connection: sa.Connection, resource: str, capacity: int) -> None:
    same = leases.c.resource == resource
    here = connection.execute(sa.select(leases).where(same).order_by(leases.c.slot).with_for_update()).all()
    known = {row.slot for row in here}
    missing = [{"resource": resource, "slot": slot} for slot in range(capacity) if slot not in known]
    if missing:
        connection.execute(leases.insert(), missing)
    # What is in use stays before what is free, so that a shrunk resource counts every live session.
    ranked = sorted((row.attempt_id is None, row.slot) for row in here)
    ranked += [(True, row["slot"]) for row in missing]
    keep = {slot for _, slot in ranked[:capacity]}
    for retired in (True, False):
        changed = [row.slot for row in here if row.retired is not retired and (row.slot not in keep) is retired]
        if changed:
            connection.execute(leases.update().where(same, leases.c.slot.in_(changed)).values(retired=retired))


def open_jobs(connection: sa.Connection, experiment: str | None = None) -> int:
    """How many jobs are not final yet, of one experiment or of all."""
    final = ("done", "failed", "cancelled", "invalid")
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.not_in(final))
    if experiment is not None:
        query = query.join(experiments, experiments.c.id == jobs.c.experiment_id)
        query = query.where(experiments.c.name == experiment)
    return connection.execute(query).scalar_one()
