"""A job's whole course, replayed from what is on record: attempts, their stages, and every event between."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, events, stages

# Read in pages by key: a run of ten thousand stages never lies in memory as a whole, and no page reads another again.
_PAGE_ROWS = 2000
_STAGE_FACTS = (
    *("role", "task", "agent", "session_id", "resumed", "model_asked", "model_served", "resource", "working_seconds"),
    *("rate_limit_wait_seconds", "turns", "requests", "tool_calls", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd_micros", "context_peak_tokens"),
    *("context_window", "exit_code", "kill_reason", "outcome", "detail", "error_kind", "commit_sha", "changed"),
)
_ATTEMPT_FACTS = ("id", "machine", "run_dir", "resumed_from", "resumed_stages")
_END_FACTS = (
    *("outcome", "detail", "wall_seconds", "commits", "files_changed", "lines_added", "lines_removed", "final_sha"),
)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One thing that happened. `stage` is None for what belongs to no stage; `data` leaves out what is unknown.

    Kinds are `AttemptBegan`, `AttemptEnded`, `StageBegan`, `StageEnded`, and the names of events. They come in the
    order in which they happened: events by their numbers, a stage around its events, whatever clocks said.
    """

    at: datetime
    attempt: int
    stage: int | None
    kind: str
    data: dict[str, Any]


def job_timeline(
    database: Database, job_id: int, *, attempt: int | None = None, page_rows: int = _PAGE_ROWS
) -> Iterator[Moment]:
    """Every moment of a job, or of one of its attempts by number."""
    query = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    if attempt is not None:
        query = query.where(attempts.c.number == attempt)
    with database.read() as connection:
        tries = connection.execute(query).all()
    for row in tries:
        yield Moment(
            at=row.started_at, attempt=row.number, stage=None, kind="AttemptBegan", data=_known(row, _ATTEMPT_FACTS)
        )
        mine = _pages(database, stages, row.id, "ordinal", page_rows)
        seen = _pages(database, events, row.id, "seq", page_rows)
        yield from _merged(row.number, mine, seen)
        if row.ended_at is not None:
            yield Moment(
                at=row.ended_at, attempt=row.number, stage=None, kind="AttemptEnded", data=_known(row, _END_FACTS)
            )


def _pages(database: Database, table: sa.Table, attempt_id: str, key: str, page_rows: int) -> Iterator[Any]:
    """The rows of an attempt by their number."""
    column, last = table.c[key], -1
    while True:
        query = sa.select(table).where(table.c.attempt_id == attempt_id, column > last).order_by(column)
        with database.read() as connection:
            rows = connection.execute(query.limit(page_rows)).all()
        yield from rows
        if len(rows) < page_rows:
            return
        last = getattr(rows[-1], key)


def _merged(attempt: int, stage_rows: Iterator[Any], event_rows: Iterable[Any]) -> Iterator[Moment]:
    """Stages around their events. A stage is over when an event of a later one comes, or nothing more."""
    current, coming = None, next(stage_rows, None)
    for event in event_rows:
        while coming is not None and event.stage_ordinal is not None and coming.ordinal <= event.stage_ordinal:
            yield from _ended(attempt, current)
            yield _began(attempt, coming)
            current, coming = coming, next(stage_rows, None)
        yield Moment(at=event.at, attempt=attempt, stage=event.stage_ordinal, kind=event.kind, data=event.data)
    while coming is not None:
        yield from _ended(attempt, current)
        yield _began(attempt, coming)
        current, coming = coming, next(stage_rows, None)
    yield from _ended(attempt, current)


def _began(attempt: int, row: Any) -> Moment:
    facts = _known(row, ("stage", "role", "task", "agent", "resumed", "model_asked", "resource"))
    return Moment(at=row.started_at, attempt=attempt, stage=row.ordinal, kind="StageBegan", data=facts)


def _ended(attempt: int, row: Any) -> Iterator[Moment]:
    if row is not None and row.ended_at is not None:
        facts = _known(row, ("stage", *_STAGE_FACTS))
        yield Moment(at=row.ended_at, attempt=attempt, stage=row.ordinal, kind="StageEnded", data=facts)


def _known(row: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(row, name)) is not None}
