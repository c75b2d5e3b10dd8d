"""What pictures of a night are made of, read in bounded form: attempts, windows' use, contexts turn by turn."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from orchestrator.analysis.course import AttemptSpan, ContextCurve, Course, WindowCourse, WindowPoint, thinned
from orchestrator.analysis.stage_table import StageTable
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.window import WHOLE, Statement, WindowSpec, standing
from orchestrator.storage.ledger import entries_of
from orchestrator.storage.tables import attempts, events, jobs, projections, windows

MAX_ATTEMPTS = 20_000
MAX_CURVES, MAX_CURVE_POINTS = 48, 80
# Of one stage: more than the longest that was seen, and what a report has patience for.
_MAX_EVENTS = 5000
_WINDOW_POINTS = 160
_MAX_STATEMENTS = 5000

Mine = sa.Select[tuple[int]]


def read_course(connection: sa.Connection, mine: Mine, table: StageTable, now: datetime) -> Course:
    """The course of the jobs in `mine`, whose stages are in the table."""
    spans, left_out = _attempts(connection, mine)
    curves, curves_left_out = _contexts(connection, table)
    return Course(
        attempts=tuple(spans),
        attempts_left_out=left_out,
        windows=tuple(_windows(connection, mine, spans, now)),
        contexts=tuple(curves),
        contexts_left_out=curves_left_out,
    )


def _attempts(connection: sa.Connection, mine: Mine) -> tuple[list[AttemptSpan], int]:
    query = (
        sa.select(attempts, jobs.c.created_at)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.job_id.in_(mine))
        .order_by(attempts.c.job_id, attempts.c.number)
        .limit(MAX_ATTEMPTS)
    )
    made: list[AttemptSpan] = []
    for row in connection.execute(query):
        before = made[-1] if made and made[-1].job_id == row.job_id else None
        left_at = before.ended_at if before is not None else row.created_at
        made.append(
            AttemptSpan(
                job_id=row.job_id,
                number=row.number,
                machine=row.machine,
                queued_at=left_at or row.started_at,
                started_at=row.started_at,
                ended_at=row.ended_at,
                parked_until=row.parked_until,
                lease_wait_seconds=row.lease_wait_seconds,
                limit_wait_seconds=row.rate_limit_wait_seconds,
            )
        )
    if len(made) < MAX_ATTEMPTS:
        return made, 0
    count = sa.select(sa.func.count()).select_from(attempts).where(attempts.c.job_id.in_(mine))
    return made, int(connection.execute(count).scalar_one()) - len(made)


def _contexts(connection: sa.Connection, table: StageTable) -> tuple[list[ContextCurve], int]:
    """The fullest stages: those are the ones that a reader asks about."""
    fills = np.nan_to_num(table.fill, nan=-1.0)
    fullest = np.argsort(-fills, kind="stable")[:MAX_CURVES]
    found = [_curve(connection, table, int(at)) for at in fullest if fills[at] >= 0]
    curves = [curve for curve in found if curve is not None]
    return curves, int((fills >= 0).sum()) - len(curves)


def _curve(connection: sa.Connection, table: StageTable, at: int) -> ContextCurve | None:
    job, number, order = (int(table.whole[name][at]) for name in ("job_id", "attempt", "order"))
    query = (
        sa.select(events.c.kind, events.c.data)
        .join(attempts, attempts.c.id == events.c.attempt_id)
        .where(attempts.c.job_id == job, attempts.c.number == number, events.c.stage_ordinal == order)
        .where(events.c.kind.in_(["TurnEnded", "Compacted"]))
        .order_by(events.c.seq)
        .limit(_MAX_EVENTS)
    )
    turns: list[tuple[int, int]] = []
    compactions: list[int] = []
    for row in connection.execute(query):
        if row.kind == "Compacted":
            compactions.append(len(turns))
        elif (occupied := _occupied(row.data)) is not None:
            turns.append((len(turns) + 1, occupied))
    if not turns:
        return None
    return ContextCurve(
        job_id=job,
        attempt=number,
        order=order,
        window_tokens=int(table.numbers["context_window"][at]),
        turns=thinned(turns, MAX_CURVE_POINTS),
        compactions=tuple(compactions[:MAX_CURVE_POINTS]),
    )


def _occupied(data: Any) -> int | None:
    """The context after a turn of the agent itself: a sub-agent has one of its own."""
    usage = data.get("usage") if isinstance(data, dict) and not data.get("subagent") else None
    if not isinstance(usage, dict):
        return None
    return TokenUsage(**{name: usage.get(name) for name in ("input", "cache_read", "cache_write")}).occupancy


def _windows(
    connection: sa.Connection, mine: Mine, spans: Sequence[AttemptSpan], now: datetime
) -> list[WindowCourse]:
    """The windows that the fleet file gives the accounts which these jobs may use, from first start to last end."""
    if not spans:
        return []
    began = min(span.started_at for span in spans)
    ended = max(span.ended_at or now for span in spans)
    needs = connection.execute(sa.select(jobs.c.needs).where(jobs.c.id.in_(mine)).distinct()).scalars()
    parts = {part for need in needs for part in need.split(",") if part.startswith("account:")}
    used = sorted(part.removeprefix("account:") for part in parts)
    query = sa.select(windows).where(windows.c.account.in_(used), windows.c.spec.is_not(None))
    rows = connection.execute(query.order_by(windows.c.account, windows.c.name)).all()
    return [_window(connection, row, began.timestamp(), ended.timestamp()) for row in rows]


def _window(connection: sa.Connection, row: Any, began: float, ended: float) -> WindowCourse:
    spec = WindowSpec(**row.spec)
    whole = replace(spec, length_seconds=ended - began + spec.length_seconds)
    entries = entries_of(connection, row.account, whole, _moment(ended))
    stated = _statements(connection, row, began - spec.length_seconds, ended)
    points, resets = [], set()
    for index in range(_WINDOW_POINTS + 1):
        at = began + (ended - began) * index / _WINDOW_POINTS
        known = [one for one in stated if one.stated_at <= at]
        found = standing(spec, known[-1] if known else None, [one for one in entries if one.at <= at], at)
        points.append(WindowPoint(at=_moment(at), used_ppm=found.used_ppm))
        if found.resets_at is not None and began < found.resets_at <= ended:
            resets.add(round(found.resets_at))
    return WindowCourse(
        account=row.account,
        window=row.name,
        ceiling_ppm=WHOLE - spec.reserve_ppm,
        points=tuple(points),
        resets=tuple(_moment(at) for at in sorted(resets)),
    )


def _statements(connection: sa.Connection, row: Any, since: float, until: float) -> list[Statement]:
    """What is on record about a window: the moments at which it was foretold, and the last word of its provider."""
    table = projections
    query = (
        sa.select(table)
        .where(table.c.account == row.account, table.c.window == row.name)
        .where(table.c.made_at.between(_moment(since), _moment(until)))
        .order_by(table.c.made_at.desc())
        .limit(_MAX_STATEMENTS)
    )
    found = [
        Statement(
            window=row.name,
            used_ppm=one.used_ppm,
            resets_at=one.until.timestamp(),
            stated_at=one.made_at.timestamp(),
        )
        for one in connection.execute(query)
    ]
    if row.stated_at is not None:
        resets = row.resets_at.timestamp() if row.resets_at else None
        last = Statement(
            window=row.name,
            used_ppm=row.used_ppm,
            resets_at=resets,
            stated_at=row.stated_at.timestamp(),
            length_seconds=row.length_seconds,
        )
        found.append(last)
    return sorted(found, key=lambda one: one.stated_at)


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
