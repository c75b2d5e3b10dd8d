"""What windows of one model hold back: rows of `model_gates`, the marks of its jobs, and a record of each change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.zones import Gate
from orchestrator.storage import marks
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import moment
from orchestrator.storage.marks import model_scope
from orchestrator.storage.tables import model_gates, quota_events

_MODELS = sa.select(model_gates).order_by(model_gates.c.scope)


class Ceiling(NamedTuple):
    """How many sessions may be live on an account, or of one model of it, and why."""

    sessions: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class ModelQuota:
    """A model that windows of its own hold back."""

    model: str
    sessions: int
    reason: str
    until: datetime | None


class ModelChange(NamedTuple):
    """What the windows of one model allow from now on. `before` is None when nothing was held back."""

    account: str
    model: str
    gate: Gate
    before: Ceiling | None


def changed_models(account: str, gates: Mapping[str, Gate], held: Mapping[str, Any]) -> list[ModelChange]:
    """The models of an account whose row is not what it should be. `held` are all rows, by scope."""
    prefix = model_scope(account, "")
    mine = {scope.removeprefix(prefix): row for scope, row in held.items() if row.account == account}
    found = []
    for model in sorted({*gates, *mine}):
        gate, row = gates.get(model, Gate()), mine.get(model)
        known = (None, None, None) if row is None else (row.sessions, row.reason, row.until)
        if known != (gate.sessions, gate.reason or None, moment(gate.until)):
            found.append(ModelChange(account, model, gate, row and Ceiling(row.sessions, row.reason)))
    return found


def change_model(database: Database, change: ModelChange, now: datetime) -> str:
    """In a transaction of its own: it may mark many jobs."""
    gate, before = change.gate, change.before
    scope = model_scope(change.account, change.model)
    with database.write() as connection:
        if (gate.sessions is None) is not (before is None):
            marks.lock(connection, scope)
            marks.mark(connection, scope, stopped=gate.sessions is not None)
        connection.execute(model_gates.delete().where(model_gates.c.scope == scope))
        if gate.sessions is not None:
            row = {"scope": scope, "account": change.account, "sessions": gate.sessions}
            row |= {"reason": gate.reason, "until": moment(gate.until)}
            connection.execute(model_gates.insert().values(row))
        if gate.sessions == (before and before.sessions):
            return ""
        after = None if gate.sessions is None else Ceiling(gate.sessions, gate.reason)
        return recorded(connection, change.account, change.model, after, now)


def held(connection: sa.Connection) -> dict[str, Any]:
    """Every row, by scope."""
    return {row.scope: row for row in connection.execute(_MODELS)}


def held_models(connection: sa.Connection, account: str) -> Iterator[ModelQuota]:
    """The models of an account that are held back."""
    for row in connection.execute(_MODELS.where(model_gates.c.account == account)):
        model = row.scope.removeprefix(model_scope(account, ""))
        yield ModelQuota(model=model, sessions=row.sessions, reason=row.reason, until=row.until)


def recorded(connection: sa.Connection, account: str, model: str | None, after: Ceiling | None, now: datetime) -> str:
    """Write down what an account or one model of it is allowed from now on. Returns it in words."""
    reason = after.reason if after else "all sessions are open again"
    event = {"account": account, "model": model, "at": now, "sessions": after and after.sessions, "reason": reason}
    connection.execute(quota_events.insert().values(event))
    return f"account {account}: {reason}" if model is None else f"model {account}/{model}: {reason}"
