"""Slots of resources: taking and giving back rows of `leases`. The row's holder is a column: it has one at most."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from orchestrator.domain.breaker import admits
from orchestrator.domain.errors import StaleAttempt
from orchestrator.storage.attempts.values import Parked
from orchestrator.storage.breakers import begin_probes, lock
from orchestrator.storage.engine import Database, one_at_a_time, padded
from orchestrator.storage.marks import live_of
from orchestrator.storage.model_gates import Ceiling
from orchestrator.storage.tables import attempts, is_live, leases

_FREE = (
    sa.select(leases.c.slot)
    .where(leases.c.resource == sa.bindparam("wanted"), leases.c.attempt_id.is_(None), leases.c.retired.is_(False))
    .order_by(leases.c.slot)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
)
# An attempt that is under way goes before one that has not begun.
_FREE_FOR_NEW = _FREE.where(~sa.exists().where(attempts.c.waits_for == sa.bindparam("wanted"), is_live))
_BUSY = sa.select(sa.func.count(leases.c.attempt_id)).where(leases.c.resource == sa.bindparam("wanted"))
_TAKE = (
    leases.update()
    .where(leases.c.resource == sa.bindparam("of"), leases.c.slot == sa.bindparam("number"))
    .values(attempt_id=sa.bindparam("attempt"), since=sa.bindparam("now"))
)
_other = leases.alias("other")
_mine = leases.alias("mine")
_IN_ORDER = (
    sa.select(_mine.c.resource, _mine.c.slot)
    .where(_mine.c.attempt_id.in_(sa.bindparam("attempts", expanding=True)))
    .order_by(_mine.c.resource, _mine.c.slot)
    .with_for_update()  # as a fleet that changes locks them
)
_RELEASE = (
    leases.update()
    .where(sa.tuple_(leases.c.resource, leases.c.slot).in_(_IN_ORDER))
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


def free_for_new(connection: sa.Connection, resource: str, most: int, ceiling: Ceiling | None = None) -> list[int]:
    """Up to `most` slots that new attempts may take within the quota, locked until the transaction ends."""
    free = list(connection.execute(_FREE_FOR_NEW, {"wanted": resource, "most": most}).scalars())
    if ceiling is None:
        return free
    # Several slots are free and fewer may be taken: whoever counts must see what the others took.
    one_at_a_time(connection, f"quota {resource}")
    busy = connection.execute(_BUSY, {"wanted": resource}).scalar_one()
    return free[: max(0, ceiling.sessions - busy)]


def room_of(connection: sa.Connection, model: str, ceiling: Ceiling) -> list[int]:
    """As `free_for_new` for a model that its windows hold back: one entry for each attempt that may begin."""
    one_at_a_time(connection, f"quota {model}")
    return list(range(ceiling.sessions - live_of(connection, model)))


def hand_out(connection: sa.Connection, grants: Iterable[tuple[str, int, str]], now: datetime) -> None:
    """Write the holders of slots that this transaction has locked: (resource, slot, attempt)."""
    rows = [{"of": resource, "number": slot, "attempt": attempt, "now": now} for resource, slot, attempt in grants]
    if rows:
        connection.execute(_TAKE, rows)


def take(database: Database, attempt_id: str, resource: str, now: datetime) -> bool:
    """Take a slot for the next stage of a live attempt; False when none is free, which leaves the attempt waiting.

    While it waits the scheduler starts no new job on the slot that becomes free. Raises StaleAttempt, and Parked
    when the resource is an account that is stopped; a pool that is stopped is waited for.
    """
    with database.write() as connection:
        slot = connection.execute(_FREE, {"wanted": resource, "most": 1}).scalar()
        breaker = lock(connection).get(resource)
        if not admits(breaker):
            if breaker is not None and breaker.until is not None and resource.startswith("account:"):
                raise Parked(resource, breaker)
            slot = None
        waits_for = resource if slot is None else None
        mine = attempts.update().where(attempts.c.id == attempt_id, is_live).values(waits_for=waits_for)
        if connection.execute(mine).rowcount != 1:
            raise StaleAttempt
        if slot is not None:
            hand_out(connection, [(resource, slot, attempt_id)], now)
            if breaker is not None:
                begin_probes(connection, [(resource, attempt_id)], now)
        return slot is not None


def release(database: Database, attempt_id: str, resource: str) -> None:
    """Give one slot back before the attempt has ended."""
    with database.write() as connection:
        free_slots(connection, [attempt_id], resource)


def free_slots(connection: sa.Connection, attempt_ids: list[str], resource: str | None = None) -> None:
    """Give back every slot of these attempts, or the one of `resource`."""
    values: dict[str, object] = {"attempts": padded(attempt_ids)}
    if resource is not None:
        values["given"] = resource
    for row in connection.execute(_RELEASE if resource is None else _RELEASE_ONE, values).all():
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
