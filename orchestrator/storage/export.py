"""An experiment's rows as plain tables, streamed: what exports to open formats are made of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from orchestrator.storage.engine import Database
from orchestrator.storage.tables import (
    UtcDateTime,
    attempts,
    cells,
    check_cases,
    checks,
    experiments,
    jobs,
    stages,
    targets,
)

_FETCHED_ROWS = 2000

Row = Mapping[str, Any]


class Kind(StrEnum):
    """What a column holds. TIME is an aware datetime in UTC; any value may be None, which is unknown."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TIME = "time"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of an exported table. `by_agent`: its text was written by an agent, or by what the agent wrote."""

    name: str
    kind: Kind
    by_agent: bool


class Export:
    """One exported table: its columns, and the query of its rows, which wants the experiment's name."""

    def __init__(self, name: str, query: sa.Select[Any], by_agent: Sequence[str] = ()) -> None:
        self.name, self._query = name, query
        self.columns = tuple(
            Column(name=column.name, kind=_kind(column.type), by_agent=column.name in by_agent)
            for column in query.selected_columns
        )

    def rows(self, connection: sa.Connection, experiment: str, *, agent_text: bool) -> Iterator[tuple[Any, ...]]:
        """Every row. What agents wrote is None unless it is asked for."""
        query = self._query.where(experiments.c.name == experiment)
        options = {"yield_per": _FETCHED_ROWS}
        hidden = [column.by_agent and not agent_text for column in self.columns]
        for row in connection.execute(query, execution_options=options):
            yield tuple(None if hide else _plain(value) for hide, value in zip(hidden, row, strict=True))


def _kind(type_: sa.types.TypeEngine[Any]) -> Kind:
    if isinstance(type_, UtcDateTime):
        return Kind.TIME
    if isinstance(type_, sa.Boolean):
        return Kind.BOOLEAN
    if isinstance(type_, sa.Integer):
        return Kind.INTEGER
    return Kind.REAL if isinstance(type_, sa.Float) else Kind.TEXT


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _own(table: sa.Table, leave_out: Sequence[str] = ()) -> list[sa.ColumnElement[Any]]:
    return [column for column in table.c if column.name not in leave_out]


def _of_jobs(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    joined = jobs.join(experiments, experiments.c.id == jobs.c.experiment_id)
    joined = joined.join(cells, cells.c.id == jobs.c.cell_id).join(targets, targets.c.id == cells.c.target_id)
    return sa.select(*columns).select_from(joined)


def _of_attempts(table: sa.Table, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    joined = table.join(attempts, attempts.c.id == table.c.attempt_id).join(jobs, jobs.c.id == attempts.c.job_id)
    return sa.select(attempts.c.job_id, *columns).select_from(
        joined.join(experiments, experiments.c.id == jobs.c.experiment_id)
    )


_JOB = ("experiment_id", "cell_id", "order_token", "passed_over", "fence", "attempt_id", "needs", "queue")
# Of a process that is no more, and nobody's business elsewhere.
_ATTEMPT = ("fence", "boot_id", "worker_pid", "worker_start_ticks", "heartbeat", "waits_for", "run_dir")

EXPORTS = (
    Export(
        "jobs",
        _of_jobs(
            experiments.c.name.label("experiment"),
            targets.c.label.label("target"),
            targets.c.sha.label("target_sha"),
            cells.c.profile,
            cells.c.profile_hash,
            cells.c.params,
            *_own(jobs, _JOB),
        ).order_by(jobs.c.id),
    ),
    Export(
        "attempts",
        sa.select(*_own(attempts, _ATTEMPT))
        .select_from(
            attempts.join(jobs, jobs.c.id == attempts.c.job_id).join(
                experiments, experiments.c.id == jobs.c.experiment_id
            )
        )
        .order_by(attempts.c.job_id, attempts.c.number),
        by_agent=("final_text",),
    ),
    Export(
        "stages",
        _of_attempts(stages, attempts.c.number.label("attempt"), *_own(stages)).order_by(
            attempts.c.job_id, attempts.c.number, stages.c.ordinal
        ),
        by_agent=("task", "error_text", "answer", "handover", "checks"),
    ),
    Export(
        "checks",
        _of_attempts(checks, *_own(checks, ("target_id",))).order_by(
            attempts.c.job_id, checks.c.attempt_id, checks.c.kind, checks.c.name
        ),
        by_agent=("replaced",),
    ),
    Export(
        "cases",
        _of_attempts(check_cases, *_own(check_cases)).order_by(attempts.c.job_id, *check_cases.primary_key),
        by_agent=("case_name",),
    ),
)


def attempt_ids(database: Database, experiment: str) -> list[str]:
    """The attempts of an experiment, job by job."""
    query = (
        sa.select(attempts.c.id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment)
        .order_by(attempts.c.job_id, attempts.c.number)
    )
    with database.read() as connection:
        return list(connection.execute(query).scalars())


@dataclass(frozen=True, kw_only=True)
class AttemptParts:
    """An attempt with what is needed to tell its story: rows as mappings by the names of their columns."""

    attempt: Row
    cell: Row
    target: str
    repeat: int
    stages: Sequence[Row]
    checks: Sequence[Row]


def attempt_parts(database: Database, attempt_id: str) -> AttemptParts:
    """One attempt, its cell, its stages in order, and what its checks said."""
    head = (
        sa.select(attempts.c.job_id, jobs.c.cell_id, jobs.c.repeat, targets.c.label)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(targets, targets.c.id == cells.c.target_id)
        .where(attempts.c.id == attempt_id)
    )
    with database.snapshot() as connection:
        found = connection.execute(head).one()
        own = sa.select(attempts).where(attempts.c.id == attempt_id)
        mine = sa.select(stages).where(stages.c.attempt_id == attempt_id).order_by(stages.c.ordinal)
        judged = sa.select(checks).where(checks.c.attempt_id == attempt_id).order_by(checks.c.kind, checks.c.name)
        return AttemptParts(
            attempt=_row(connection.execute(own).one()),
            cell=_row(connection.execute(sa.select(cells).where(cells.c.id == found.cell_id)).one()),
            target=found.label,
            repeat=found.repeat,
            stages=[_row(stage) for stage in connection.execute(mine)],
            checks=[_row(check) for check in connection.execute(judged)],
        )


def _row(found: sa.Row[Any]) -> Row:
    return dict(found._mapping)
