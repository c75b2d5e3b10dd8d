"""What the quota of accounts allows at present: judged once a second, kept as rows, read at every pass and claim.

Nothing is written per waiting job: an account whose windows defer new work has fewer open slots, and gets them back
at the judgement after its windows have improved. A window of one model marks the jobs that use it when it begins to
hold them back, and again when it ends (see `marks`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.fleet import Account, Fleet, Zones
from orchestrator.domain.pace import Pace, next_pace
from orchestrator.domain.projection import Accuracy
from orchestrator.domain.window import WHOLE, Entry, Standing, Statement, WindowSpec
from orchestrator.domain.zones import Behaviour, Gate, WindowState, Zone, gate_of, state_of, strictest
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import entries_of, moment, refused_at, statements_of
from orchestrator.storage.model_gates import (
    Ceiling,
    ModelChange,
    ModelQuota,
    change_model,
    changed_models,
    held,
    held_models,
    recorded,
)
from orchestrator.storage.projections import Seen, accuracies, follow
from orchestrator.storage.tables import accounts, quota_gates, windows

# What a window is taken to be whose length nobody told: such counters are of a minute.
_COUNTER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class AccountQuota:
    """An account as `status` shows it. `sessions` is None when its whole concurrency is open.

    `accuracies` are those of earlier projections, by window.
    """

    account: str
    concurrency: int
    sessions: int | None
    reason: str
    until: datetime | None
    pace_sessions: int | None
    windows: tuple[WindowState, ...]
    models: tuple[ModelQuota, ...] = ()
    accuracies: Mapping[str, Accuracy] = field(default_factory=dict)


def store_windows(connection: sa.Connection, fleet: Fleet) -> None:
    """The windows and zones of the accounts of this fleet; what was stated about them stays."""
    for name, account in sorted(fleet.accounts.items()):
        zones = {"zones": account.zones.model_dump()}
        same = quota_gates.update().where(quota_gates.c.account == name)
        if connection.execute(same.values(zones)).rowcount == 0:
            connection.execute(quota_gates.insert().values(account=name, **zones))
        _store_specs(connection, name, account)


def _store_specs(connection: sa.Connection, name: str, account: Account) -> None:
    ours = windows.c.account == name
    connection.execute(windows.update().where(ours).values(spec=None))
    for window in account.windows:
        spec = asdict(window.to_spec())
        same = windows.update().where(ours, windows.c.name == window.name).values(spec=spec)
        if connection.execute(same).rowcount == 0:
            connection.execute(windows.insert().values(account=name, name=window.name, spec=spec))
    connection.execute(windows.delete().where(ours, windows.c.spec.is_(None), windows.c.stated_at.is_(None)))


def ceilings(connection: sa.Connection) -> dict[str, Ceiling]:
    """The accounts that are allowed fewer sessions than their concurrency, and the models that are held back.

    Accounts by resource name, models by scope.
    """
    limited = {f"account:{row.account}": _ceiling(row) for row in connection.execute(_LIMITED)}
    return limited | {scope: Ceiling(row.sessions, row.reason) for scope, row in held(connection).items()}


_GATES = sa.select(quota_gates)
_LIMITED = _GATES.where(sa.or_(quota_gates.c.window_sessions.is_not(None), quota_gates.c.pace_sessions.is_not(None)))
_ACCOUNTS = (
    sa.select(quota_gates, accounts.c.concurrency)
    .join(accounts, accounts.c.name == quota_gates.c.account)
    .order_by(quota_gates.c.account)
)


def _ceiling(row: Any) -> Ceiling:
    slow = f"{row.pace_sessions} session(s) at a time after refusals" if row.pace_sessions is not None else ""
    if row.window_sessions is None:
        return Ceiling(row.pace_sessions, slow)
    if row.pace_sessions is None or row.window_sessions <= row.pace_sessions:
        return Ceiling(row.window_sessions, row.reason or "")
    return Ceiling(row.pace_sessions, slow)


def judge(database: Database, now: datetime) -> list[str]:
    """Judge every account anew. Returns what has changed, in words; nothing is written where nothing has."""
    changes: list[tuple[str, dict[str, Any], Ceiling | None]] = []
    models: list[ModelChange] = []
    seen: list[Seen] = []
    with database.read() as connection:
        now_held = held(connection)
        rows = connection.execute(_ACCOUNTS).all()
        for row in rows:
            judged = _judged(connection, row, now)
            if judged.values != {name: getattr(row, name) for name in judged.values}:
                changes.append((row.account, judged.values, _known_ceiling(row)))
            models += changed_models(row.account, judged.models, now_held)
            seen += judged.windows
        # Accounts that the fleet file no longer has hold nothing back.
        for account in sorted({row.account for row in now_held.values()} - {row.account for row in rows}):
            models += changed_models(account, {}, now_held)
    follow(database, seen, now)
    said = [change_model(database, one, now) for one in models]
    if changes:
        with database.write() as connection:
            said += [_change_account(connection, *change, now) for change in changes]
    return [one for one in said if one]


def _change_account(
    connection: sa.Connection, account: str, values: Mapping[str, Any], before: Ceiling | None, now: datetime
) -> str:
    same = quota_gates.c.account == account
    connection.execute(quota_gates.update().where(same).values(values))
    after = _known_ceiling(connection.execute(_GATES.where(same)).one())
    if (after and after.sessions) == (before and before.sessions):
        return ""
    return recorded(connection, account, None, after, now)


def _known_ceiling(row: Any) -> Ceiling | None:
    return None if row.window_sessions is None and row.pace_sessions is None else _ceiling(row)


class _Judged(NamedTuple):
    """The new row of an account, and what windows of one model allow, by model."""

    values: dict[str, Any]
    models: dict[str, Gate]
    windows: list[Seen]


def _judged(connection: sa.Connection, row: Any, now: datetime) -> _Judged:
    at = now.timestamp()
    behaviour = behaviour_of(row.zones)
    gates: dict[str | None, list[Gate]] = {}
    seen = []
    for state, entries in _states(connection, row.account, now):
        gate = gate_of(state, behaviour, entries, at)
        gates.setdefault(state.spec.model, []).append(gate)
        full = (state.standing.used_ppm or 0) >= WHOLE - state.spec.reserve_ppm
        seen.append(Seen(row.account, state, full or gate.sessions == 0))
    # A window of one model says nothing about the account's other models.
    gate = strictest(gates.pop(None, []))
    pace = _pace(connection, row, now)
    values = {
        "window_sessions": gate.sessions,
        "reason": gate.reason or None,
        "until": moment(gate.until),
        "pace_sessions": pace.sessions,
        "pace_changed_at": moment(pace.changed_at) if pace.changed_at else None,
    }
    return _Judged(values, {model: strictest(several) for model, several in gates.items() if model}, seen)


def _pace(connection: sa.Connection, row: Any, now: datetime) -> Pace:
    changed = row.pace_changed_at.timestamp() if row.pace_changed_at else 0.0
    refused = refused_at(connection, row.account, now) if row.concurrency > 1 else None
    pace = Pace(sessions=row.pace_sessions, changed_at=changed)
    return next_pace(pace, row.concurrency, refused.timestamp() if refused else None, now.timestamp())


def behaviour_of(zones: Mapping[str, Any]) -> dict[Zone, Behaviour]:
    """What an account does in each zone, from its row."""
    return Zones.model_validate(zones).behaviour()


def _states(connection: sa.Connection, account: str, now: datetime) -> list[tuple[WindowState, list[Entry]]]:
    """The configured windows of an account, each with what the provider said about it and what the ledger has."""
    query = sa.select(windows.c.spec).where(windows.c.account == account, windows.c.spec.is_not(None))
    specs = [WindowSpec(**spec) for spec in connection.execute(query.order_by(windows.c.name)).scalars()]
    return states_of(connection, account, specs, now)


def states_of(
    connection: sa.Connection, account: str, specs: Sequence[WindowSpec], now: datetime
) -> list[tuple[WindowState, list[Entry]]]:
    """These windows of an account, each with what the provider said about it and what the ledger has."""
    statements = statements_of(connection, account)
    found = []
    for spec in specs:
        entries = entries_of(connection, account, spec, now)
        statement = _statement_for(spec, {one.name for one in specs}, statements)
        found.append((state_of(spec, statement, entries, now.timestamp()), entries))
    return found


def _statement_for(spec: WindowSpec, taken: set[str], statements: Mapping[str, Statement]) -> Statement | None:
    """By its name, or by its length where the window of the fleet file has a name of its own."""
    if spec.name in statements:
        return statements[spec.name]
    alike = (
        one
        for one in statements.values()
        if one.length_seconds == spec.length_seconds and one.window not in taken and one.window[:1].isdigit()
    )
    return None if spec.model else next((one for one in alike if "-" not in one.window), None)


def quotas(database: Database, now: datetime) -> list[AccountQuota]:
    """Every account with its windows, also those that only the provider speaks of."""
    with database.read() as connection:
        return [_quota(connection, row, now) for row in connection.execute(_ACCOUNTS).all()]


def _quota(connection: sa.Connection, row: Any, now: datetime) -> AccountQuota:
    states = [state for state, _ in _states(connection, row.account, now)]
    used = {state.statement.window for state in states if state.statement}
    stated = statements_of(connection, row.account)
    others = [_stated_only(one, now) for name, one in stated.items() if name not in used]
    ceiling = _known_ceiling(row)
    return AccountQuota(
        account=row.account,
        concurrency=row.concurrency,
        sessions=ceiling.sessions if ceiling else None,
        reason=ceiling.reason if ceiling else "",
        until=row.until,
        pace_sessions=row.pace_sessions,
        windows=(*states, *(state for state in others if state.zone is not None)),
        models=tuple(held_models(connection, row.account)),
        accuracies=accuracies(connection, row.account),
    )


def _stated_only(statement: Statement, now: datetime) -> WindowState:
    length = statement.length_seconds or _COUNTER_SECONDS
    spec = WindowSpec(name=statement.window, length_seconds=length)
    state = state_of(spec, statement, [], now.timestamp())
    if statement.length_seconds is not None:
        return state
    # Where its length is not known, nothing can be said about its rate.
    bare = Standing(used_ppm=state.standing.used_ppm, resets_at=statement.resets_at)
    return WindowState(spec=spec, statement=statement, standing=bare, zone=state.zone)
