"""The breakers' rows: who is stopped, who probes, and the record of every opening and closing.

A breaker that is closed and has counted nothing has no row, so reading all of them costs next to nothing. Whoever
changes one has first locked what it needs of jobs and slots, then takes the turn that `_turn` gives, and reads again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.breaker import (
    Breaker,
    EndFacts,
    Signal,
    failed,
    limited,
    policy_of,
    probe_over,
    probing,
    signals,
    succeeded,
    tick,
)
from orchestrator.domain.states import BREAKER_MOVES, BreakerState, move
from orchestrator.storage import marks
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import breaker_events, breakers, cells, experiments

_COLUMNS = [breakers.c[name] for name in Breaker.__dataclass_fields__]
_ALL = sa.select(breakers.c.scope, *_COLUMNS)


class BreakerEvent(NamedTuple):
    """A move of a breaker. `until` is set when it opened."""

    scope: str
    at: datetime
    from_state: BreakerState
    to_state: BreakerState
    cause: str | None
    until: datetime | None


class Ended(NamedTuple):
    """An ended attempt, and when its account's limit resets if it ended by one."""

    attempt_id: str
    facts: EndFacts
    detail: str
    now: datetime
    wake_at: datetime


def load(connection: sa.Connection) -> dict[str, Breaker]:
    """Every breaker that is not closed or has counted a failure, by scope."""
    return {row.scope: _breaker(row) for row in connection.execute(_ALL)}


def _breaker(row: sa.Row[tuple[object, ...]]) -> Breaker:
    values = {name: row._mapping[name] for name in Breaker.__dataclass_fields__}
    return Breaker(**values | {"state": BreakerState(values["state"]), "keys": frozenset(values["keys"])})


def _turn(connection: sa.Connection) -> dict[str, Breaker]:
    """Wait until nobody else changes breakers, and read them."""
    one_at_a_time(connection, "breakers")
    return load(connection)


def _save(
    connection: sa.Connection, before: Mapping[str, Breaker], after: Mapping[str, Breaker], now: datetime
) -> None:
    for scope, breaker in after.items():
        old = before.get(scope, Breaker())
        if breaker == old:
            continue
        values = {name: getattr(breaker, name) for name in Breaker.__dataclass_fields__}
        values["keys"] = sorted(breaker.keys)
        same = breakers.c.scope == scope
        if breaker == Breaker():
            # The row of a profile goes when its jobs have been told.
            connection.execute(breakers.delete().where(same, breakers.c.gated.is_(False)))
        if connection.execute(breakers.update().where(same).values(values)).rowcount == 0 and breaker != Breaker():
            connection.execute(breakers.insert().values(scope=scope, **values))
        if breaker.state is not old.state or breaker.until != old.until:
            event = {"scope": scope, "at": now, "from_state": old.state, "to_state": breaker.state}
            event |= {"cause": breaker.cause or old.cause, "until": breaker.until}
            connection.execute(breaker_events.insert().values(event))


def heed_ends(connection: sa.Connection, ends: Sequence[Ended]) -> None:
    """What these ends tell the breakers, in the transaction that stores them."""
    told = [(end, list(signals(end.facts))) for end in ends]
    known = load(connection)
    probes = {breaker.probe for breaker in known.values()}
    if not any(
        end.attempt_id in probes or any(not one.ok or one.scope in known for one in said) for end, said in told
    ):
        return
    before = _turn(connection)
    after = dict(before)
    for end, said in told:
        for signal in said:
            after[signal.scope] = _after(after.get(signal.scope, Breaker()), signal, end)
        for scope, breaker in after.items():
            after[scope] = probe_over(breaker, end.attempt_id)
    _save(connection, before, after, ends[-1].now)


def _after(breaker: Breaker, signal: Signal, end: Ended) -> Breaker:
    if signal.ok:
        return succeeded(breaker, attempt=end.attempt_id)
    cause = f"{end.facts.outcome}: {end.detail[:300]}"
    if signal.limit:
        return limited(breaker, end.now, end.wake_at, cause)
    return failed(breaker, policy_of(signal.scope), end.now, cause, attempt=end.attempt_id, key=signal.key)


def begin_probes(connection: sa.Connection, wanted: Iterable[tuple[str, str]], now: datetime) -> None:
    """(scope, attempt) pairs that start on half-open breakers. The caller has asked `lock` who is admitted."""
    before = load(connection)
    after = dict(before)
    for scope, attempt in wanted:
        after[scope] = probing(after[scope], attempt)
    _save(connection, before, after, now)


def lock(connection: sa.Connection) -> dict[str, Breaker]:
    """As `load`; when one of them is half open nobody else changes any until the transaction ends."""
    known = load(connection)
    if any(breaker.state is BreakerState.HALF_OPEN for breaker in known.values()):
        return _turn(connection)
    return known


def answered(database: Database, attempt_id: str, scope: str, now: datetime) -> bool:
    """A model on this account or pool has answered the attempt; True when that closed its breaker.

    Idempotent. An attempt that is not the probe changes nothing, and costs a read.
    """
    with database.read() as connection:
        query = sa.select(breakers.c.scope).where(breakers.c.scope == scope, breakers.c.probe == attempt_id)
        if connection.execute(query).first() is None:
            return False
    with database.write() as connection:
        before = _turn(connection)
        after = succeeded(before.get(scope, Breaker()), attempt=attempt_id)
        _save(connection, before, {scope: after}, now)
        return after != before.get(scope, Breaker())


def wake(database: Database, now: datetime) -> int:
    """Open breakers whose time has come are half open, and jobs of stopped profiles are marked. How many moved."""
    with database.read() as connection:
        rows = connection.execute(sa.select(breakers)).all()
    due = any(tick(one, now) != one for one in map(_breaker, rows))
    moved = 0
    if due:
        with database.write() as connection:
            before = _turn(connection)
            after = {scope: tick(breaker, now) for scope, breaker in before.items()}
            _save(connection, before, after, now)
            moved = sum(after[scope] != before[scope] for scope in before)
    for row in rows:
        if row.scope.startswith("profile:") and row.gated is not (row.state != BreakerState.CLOSED):
            _gate(database, row.scope)
    return moved


def _gate(database: Database, scope: str) -> None:
    """Give the jobs of a profile its scope as a need while its breaker is not closed, and take it away after."""
    with database.write() as connection:
        marks.lock(connection, scope)
        known = _turn(connection).get(scope, Breaker())
        stopped = known.state is not BreakerState.CLOSED
        marks.mark(connection, scope, stopped=stopped)
        same = breakers.c.scope == scope
        connection.execute(breakers.update().where(same).values(gated=stopped))
        if known == Breaker():
            connection.execute(breakers.delete().where(same))


def profile_scopes(connection: sa.Connection, cell_ids: Iterable[int]) -> dict[int, str]:
    """The scopes of these cells' profiles."""
    query = (
        sa.select(cells.c.id, experiments.c.name, cells.c.profile)
        .join(experiments, experiments.c.id == cells.c.experiment_id)
        .where(cells.c.id.in_(sorted(set(cell_ids))))
    )
    return {row[0]: f"profile:{row[1]}/{row[2]}" for row in connection.execute(query)}


def reset(database: Database, scopes: Iterable[str], now: datetime) -> int:
    """A person says that it works again: closed, with nothing counted. Returns how many were not closed."""
    with database.write() as connection:
        before = _turn(connection)
        chosen = [scope for scope in scopes if scope in before]
        for scope in chosen:
            if before[scope].state is not BreakerState.CLOSED:
                move(BREAKER_MOVES, before[scope].state, "reset")
        _save(connection, before, dict.fromkeys(chosen, Breaker()), now)
        stopped = [scope for scope in chosen if before[scope].state is not BreakerState.CLOSED]
    for scope in stopped:
        if scope.startswith("profile:"):
            _gate(database, scope)
    return len(stopped)


def all_breakers(database: Database) -> dict[str, Breaker]:
    """As `load`, for views."""
    with database.read() as connection:
        return dict(sorted(load(connection).items()))


def history(database: Database, limit: int = 20) -> list[BreakerEvent]:
    """The newest moves, newest first."""
    columns = (breaker_events.c[name] for name in BreakerEvent._fields)
    query = sa.select(*columns).order_by(breaker_events.c.id.desc()).limit(limit)
    with database.read() as connection:
        return [
            BreakerEvent(
                row.scope, row.at, BreakerState(row.from_state), BreakerState(row.to_state), row.cause, row.until
            )
            for row in connection.execute(query)
        ]
