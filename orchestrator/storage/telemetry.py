"""Stages, events and use of attempts. Shipping a record twice stores it once, so a spool may always send again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from orchestrator.domain.errors import BakeoffError
from orchestrator.storage.bulk import insert_new
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import LedgerRecord, StatementRecord, store_use
from orchestrator.storage.tables import events, stages
from orchestrator.storage.tasks import TaskRecord, store_tasks


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """The state of one stage: at its start, while it runs, at its end. A later record replaces an earlier one."""

    attempt_id: str
    ordinal: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """One thing that happened, numbered within its attempt."""

    attempt_id: str
    seq: int
    stage_ordinal: int | None
    at: datetime
    kind: str
    data: Mapping[str, Any]


class Refused(BakeoffError):
    """The database will never take these records: their attempt is not in it, or a number is too large for it."""

    kind = "refused"


@dataclass(frozen=True, kw_only=True)
class Records:
    """What is shipped together."""

    stages: Sequence[StageRecord] = ()
    events: Sequence[EventRecord] = ()
    ledger: Sequence[LedgerRecord] = ()
    statements: Sequence[StatementRecord] = ()
    tasks: Sequence[TaskRecord] = ()


def ship(database: Database, records: Records, now: datetime) -> None:
    """Store the records in one transaction. Raises Refused for what it will never take, which stores none of them.

    `now` is the shipping machine's time.
    """
    if not (records.stages or records.events or records.ledger or records.statements or records.tasks):
        return
    try:
        _ship(database, records, now)
    except (IntegrityError, DataError, OverflowError) as error:
        raise Refused(f"{type(error).__name__}: {str(error)[:500]}") from error


def _ship(database: Database, records: Records, now: datetime) -> None:
    with database.write() as connection:
        for record in records.stages:
            _upsert_stage(connection, record)
        if records.events:
            insert_new(connection, events, [vars(event) for event in records.events])
        store_use(connection, records.ledger, records.statements, now)
        store_tasks(connection, records.tasks)


def _insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _upsert_stage(connection: sa.Connection, record: StageRecord) -> None:
    key = {"attempt_id": record.attempt_id, "ordinal": record.ordinal}
    changed = stages.update().where(stages.c.attempt_id == record.attempt_id, stages.c.ordinal == record.ordinal)
    # A finished stage stays as it ended: a progress record that comes late must not reopen it.
    late = "ended_at" not in record.values
    if late:
        changed = changed.where(stages.c.ended_at.is_(None))
    if connection.execute(changed.values(**record.values)).rowcount == 0 and "stage" in record.values:
        connection.execute(_insert(connection, stages).values(**key, **record.values).on_conflict_do_nothing())


def timeline(database: Database, attempt_id: str) -> list[EventRecord]:
    """Every event of an attempt, in order."""
    query = sa.select(events).where(events.c.attempt_id == attempt_id).order_by(events.c.seq)
    with database.read() as connection:
        return [
            EventRecord(
                attempt_id=row.attempt_id,
                seq=row.seq,
                stage_ordinal=row.stage_ordinal,
                at=row.at,
                kind=row.kind,
                data=row.data,
            )
            for row in connection.execute(query)
        ]
