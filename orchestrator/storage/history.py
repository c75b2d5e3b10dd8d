"""What ended before, in every experiment of this database: what runs took, and up to where the order has come."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from orchestrator.analysis.known import COST, SECONDS, TOKENS, Known, Run, Subject, known_from, of_stage, window_share
from orchestrator.domain.order import Turn
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import JobState
from orchestrator.domain.window import Entry, WindowSpec, used_of
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.outlook import profile_facts
from orchestrator.storage.tables import attempts, cells, is_in, jobs, ledger, stages, targets

# Others say how long a fault took to show, not how long the work takes.
_TELLING = frozenset(outcome for outcome in Outcome if outcome_class(outcome) is OutcomeClass.RESULT)
# Of the newest attempts; older ones tell little that these do not. So many take two seconds to read.
_MOST_ATTEMPTS = 30_000

Windows = Mapping[str, Sequence[WindowSpec]]


def known(database: Database, windows: Windows | None = None) -> Known:
    """What runs that ended with a result took: time, tokens, list price, time and tokens by stage, and shares of
    these windows, by account.

    A run that went on from an earlier attempt is counted with it. Costs by attempts.
    """
    with database.read() as connection:
        tries = connection.execute(_ATTEMPTS).all()
        if not tries:
            return known_from(())
        found = _stage_sums(connection)
        shares = _window_shares(connection, windows or {})
        facts = profile_facts(connection)
    by_id = {row.id: row for row in tries}
    runs = []
    for row in tries:
        if row.outcome in _TELLING:
            chain = list(_chain(row, by_id))
            took = _together([_of_attempt(one, found, shares) for one in chain])
            subject = Subject(row.cell_hash, row.content_hash, row.profile_hash, facts[row.profile_hash].kind)
            runs.append(Run(subject, took))
    return known_from(runs)


_NEWEST = (
    sa.select(attempts.c.id)
    .where(attempts.c.outcome.is_not(None))
    .order_by(attempts.c.ended_at.desc(), attempts.c.id)
    .limit(_MOST_ATTEMPTS)
)
_ATTEMPTS = (
    sa.select(
        attempts.c.id,
        attempts.c.outcome,
        attempts.c.resumed_from,
        attempts.c.wall_seconds,
        cells.c.cell_hash,
        cells.c.profile_hash,
        targets.c.content_hash,
    )
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .join(cells, cells.c.id == jobs.c.cell_id)
    .join(targets, targets.c.id == cells.c.target_id)
    .where(attempts.c.id.in_(_NEWEST))
    .order_by(attempts.c.ended_at, attempts.c.id)
)


def _chain(row: Any, by_id: Mapping[str, Any]) -> Iterable[Any]:
    """The attempt and those that it went on from."""
    while row is not None:
        yield row
        row = by_id.get(row.resumed_from)


def _of_attempt(
    row: Any, found: Mapping[str, Mapping[str, float]], shares: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    took = {**found.get(row.id, {}), **shares.get(row.id, {})}
    return took if row.wall_seconds is None else {SECONDS: row.wall_seconds, **took}


def _together(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sums of what is known of every part; of a stage, of those parts in which it was."""
    if len(parts) == 1:
        return dict(parts[0])
    names = {name for part in parts for name in part}
    return {
        name: sum(part.get(name, 0.0) for part in parts)
        for name in names
        if name.startswith("stage:") or all(name in part for part in parts)
    }


def _stage_sums(connection: sa.Connection) -> dict[str, dict[str, float]]:
    """By attempt: tokens and list price, where every stage told them; by stage also time."""
    kinds = [stages.c[f"{kind}_tokens"] for kind in ("input", "output", "cache_read", "cache_write", "reasoning")]
    told = sa.func.coalesce(stages.c.input_tokens, stages.c.output_tokens)
    query = (
        sa.select(
            stages.c.attempt_id,
            stages.c.stage,
            sa.func.count().label("stages"),
            sa.func.count(told).label("told"),
            sa.func.sum(sum((sa.func.coalesce(kind, 0) for kind in kinds), start=sa.literal(0))).label("tokens"),
            sa.func.count(stages.c.cost_usd_micros).label("priced"),
            sa.func.sum(stages.c.cost_usd_micros).label("cost"),
            sa.func.count(stages.c.ended_at).label("timed"),
            sa.func.sum(_seconds_between(connection, stages.c.started_at, stages.c.ended_at)).label("seconds"),
        )
        .where(stages.c.attempt_id.in_(_NEWEST))
        .group_by(stages.c.attempt_id, stages.c.stage)
    )
    found: dict[str, dict[str, float]] = {}
    parts: dict[str, list[tuple[str, Any]]] = {}
    for row in connection.execute(query):
        parts.setdefault(row.attempt_id, []).append((row.stage, row))
    for attempt, rows in parts.items():
        took = found[attempt] = {}
        if all(row.told == row.stages for _, row in rows):
            took[TOKENS] = float(sum(row.tokens for _, row in rows))
        if all(row.priced == row.stages for _, row in rows):
            took[COST] = float(sum(row.cost for _, row in rows))
        for stage, row in rows:
            if row.timed == row.stages:
                took[of_stage(stage, SECONDS)] = float(row.seconds)
            if row.told == row.stages:
                took[of_stage(stage, TOKENS)] = float(row.tokens)
    return found


def _seconds_between(connection: sa.Connection, start: Any, end: Any) -> sa.ColumnElement[float]:
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", end - start), sa.Float)
    return (sa.func.julianday(end) - sa.func.julianday(start)) * 86400.0


def _window_shares(connection: sa.Connection, windows: Windows) -> dict[str, dict[str, float]]:
    """By attempt: its parts per million of every window that has a limit of its own, of accounts that it used."""
    kinds = [column for column in ledger.c if column.name.endswith("_tokens")]
    tokens = sum((sa.func.coalesce(kind, 0) for kind in kinds), start=sa.literal(0))
    query = (
        sa.select(
            ledger.c.attempt_id,
            ledger.c.account,
            ledger.c.model,
            sa.func.sum(ledger.c.requests).label("requests"),
            sa.func.sum(ledger.c.requests_without_usage).label("without"),
            sa.func.sum(ledger.c.seconds).label("seconds"),
            sa.func.sum(tokens).label("tokens"),
        )
        .where(ledger.c.account.in_(sorted(windows)))
        .group_by(ledger.c.attempt_id, ledger.c.account, ledger.c.model)
    )
    used: dict[tuple[str, str], list[Any]] = {}
    for row in connection.execute(query) if windows else ():
        used.setdefault((row.attempt_id, row.account), []).append(row)
    found: dict[str, dict[str, float]] = {}
    for (attempt, account), rows in used.items():
        for spec in windows[account]:
            mine = [_entry(row) for row in rows if spec.model in (None, row.model)]
            unknown = spec.tokens is not None and any(one.requests_without_usage for one in mine)
            share = None if unknown else used_of(spec, mine)
            if share is not None:
                found.setdefault(attempt, {})[window_share(account, spec.name)] = float(share)
    return found


def _entry(row: Any) -> Entry:
    return Entry(
        at=0.0,
        requests=int(row.requests),
        tokens=int(row.tokens),
        seconds=float(row.seconds),
        requests_without_usage=int(row.without),
    )


def turns(database: Database, priority: int = 0) -> dict[tuple[str, ...], Turn]:
    """By needs: where the order of all experiments of a priority has come. Costs by jobs: for submit only."""
    with database.read() as connection:
        return turns_among(connection, priority)


def turns_among(connection: sa.Connection, priority: int) -> dict[tuple[str, ...], Turn]:
    """As `turns`, within a transaction."""
    untried = sa.and_(is_in(jobs.c.state, JobState.READY), jobs.c.attempts == 0)
    query = (
        sa.select(jobs.c.needs, sa.func.min(sa.case((untried, jobs.c.position))), sa.func.max(jobs.c.position))
        .where(jobs.c.priority == priority)
        .group_by(jobs.c.needs)
    )
    return {split_needs(row[0]): Turn(row[1], row[2]) for row in connection.execute(query)}
