"""One job as the live page tells it, bounded: the newest stages and events, however long it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.analysis.rows import CheckRow
from orchestrator.domain.errors import NotFound
from orchestrator.storage.check_evidence import CaseEvidence, check_rows
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import artifacts, attempts, cells, events, jobs, stages

MOST_STAGES, MOST_EVENTS, MOST_ATTEMPTS, MOST_ARTIFACTS = 60, 120, 20, 1000

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PageEvent:
    """An event of an attempt, by its number. `data` is partly written by agents."""

    attempt: int
    stage: int | None
    seq: int
    at: datetime
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """The rows behind a job's page, newest first, and how many stages there are in all.

    `spec` is the cell's; rows are mappings by the names of their columns, with the attempt's number as `attempt`.
    """

    spec: Row
    profile: str
    waiting_reason: str
    attempts: tuple[Row, ...]
    stages: tuple[Row, ...]
    stages_in_all: int
    events: tuple[PageEvent, ...]
    checks: tuple[CheckRow, ...]
    artifacts: tuple[Row, ...]


def job_page(database: Database, job_id: int) -> JobPage:
    """Everything at one moment. Raises NotFound."""
    head = sa.select(cells.c.spec, cells.c.profile, jobs.c.waiting_reason).join(jobs, jobs.c.cell_id == cells.c.id)
    with database.snapshot() as connection:
        found = connection.execute(head.where(jobs.c.id == job_id)).one_or_none()
        if found is None:
            raise NotFound(f"no job {job_id}")
        mine = sa.select(jobs.c.id).where(jobs.c.id == job_id)
        tries = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number.desc())
        of_job = sa.select(sa.func.count()).select_from(stages).join(attempts, attempts.c.id == stages.c.attempt_id)
        return JobPage(
            spec=found.spec,
            profile=found.profile,
            waiting_reason=found.waiting_reason or "",
            attempts=tuple(_row(row) for row in connection.execute(tries.limit(MOST_ATTEMPTS))),
            stages=_newest(connection, stages, "ordinal", job_id, MOST_STAGES),
            stages_in_all=int(connection.execute(of_job.where(attempts.c.job_id == job_id)).scalar_one()),
            events=tuple(
                PageEvent(
                    attempt=row["attempt"],
                    stage=row["stage_ordinal"],
                    **{name: row[name] for name in ("seq", "at", "kind", "data")},
                )
                for row in _newest(connection, events, "seq", job_id, MOST_EVENTS)
            ),
            checks=tuple(check_rows(connection, mine, CaseEvidence([], {}, cut=False))),
            artifacts=_newest(connection, artifacts, "name", job_id, MOST_ARTIFACTS),
        )


def _newest(connection: sa.Connection, table: sa.Table, key: str, job_id: int, most: int) -> tuple[Row, ...]:
    """The last rows of the job's last attempts."""
    found: list[Row] = []
    tries = sa.select(attempts.c.id, attempts.c.number).where(attempts.c.job_id == job_id)
    for attempt_id, number in connection.execute(tries.order_by(attempts.c.number.desc()).limit(MOST_ATTEMPTS)):
        query = sa.select(table).where(table.c.attempt_id == attempt_id).order_by(table.c[key].desc())
        rows = connection.execute(query.limit(most - len(found)))
        found += [{**row._mapping, "attempt": number} for row in rows]
        if len(found) >= most:
            break
    return tuple(found)


def _row(found: sa.Row[Any]) -> Row:
    return dict(found._mapping)
