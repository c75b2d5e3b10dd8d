"""What forecasts start from: open jobs of every experiment, quota windows as they stand, and what profiles use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.jobspec import agent_kind, roles_of
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.domain.window import WHOLE, WindowSpec
from orchestrator.domain.zones import Behaviour, Zone
from orchestrator.storage.dispatch import resources_of
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import entries_of
from orchestrator.storage.quota import behaviour_of, states_of
from orchestrator.storage.tables import accounts, attempts, cells, experiments, jobs, quota_gates, targets, windows

# Below this a stated percentage is too coarse to say what a token is worth.
_LEAST_STATED_PPM = 20_000


class OpenRow(NamedTuple):
    """A stored job that has not ended. `started_at` is of its live attempt."""

    experiment: str
    label: str
    cell_hash: str
    target_hash: str
    profile_hash: str
    needs: tuple[str, ...]
    state: JobState
    started_at: datetime | None
    wake_at: datetime | None
    wall_timeout_seconds: float
    priority: int
    position: int


class ProfileFacts(NamedTuple):
    """What a profile runs, in words, and the models that it asks: (resource, name in the fleet file)."""

    kind: str
    models: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class WindowNow:
    """A quota window of an account as it stands. `used_ppm` and `resets_at` (since 1970) are None when unknown.

    `implied`: the provider states a percentage and no limit, so the limit is taken from what we used meanwhile.
    """

    account: str
    spec: WindowSpec
    used_ppm: int | None
    resets_at: float | None
    behaviour: Mapping[Zone, Behaviour]
    implied: bool = False


def open_rows(database: Database) -> list[OpenRow]:
    """Every open job in the order in which jobs start, but for what people hold back and second parts that wait."""
    held = (JobState.PAUSED, JobState.BLOCKED)
    wall = sa.cast(cells.c.spec["limits"]["wall_timeout"].as_string(), sa.Float)
    query = (
        sa.select(
            experiments.c.name,
            cells.c.key,
            jobs.c.repeat,
            cells.c.cell_hash,
            targets.c.content_hash,
            cells.c.profile_hash,
            jobs.c.needs,
            jobs.c.state,
            attempts.c.started_at,
            jobs.c.wake_at,
            jobs.c.retuned,
            jobs.c.priority,
            jobs.c.position,
            sa.func.coalesce(wall, 0.0).label("wall_timeout"),
        )
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(targets, targets.c.id == cells.c.target_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .outerjoin(attempts, attempts.c.id == jobs.c.attempt_id)
        .where(jobs.c.state.not_in([*FINAL_JOB_STATES, *held]))
        .order_by(jobs.c.priority.desc(), jobs.c.position, jobs.c.id)
    )
    with database.read() as connection:
        return [
            OpenRow(
                row.name,
                f"{row.key} #{row.repeat}",
                row.cell_hash,
                row.content_hash,
                row.profile_hash,
                resources_of(row.needs),
                JobState(row.state),
                row.started_at,
                row.wake_at,
                float((row.retuned or {}).get("wall_timeout") or row.wall_timeout),
                row.priority,
                row.position,
            )
            for row in connection.execute(query)
        ]


def profile_facts(connection: sa.Connection) -> dict[str, ProfileFacts]:
    """By the profile's hash."""
    newest = sa.select(sa.func.max(cells.c.id)).group_by(cells.c.profile_hash)
    rows = connection.execute(sa.select(cells.c.profile_hash, cells.c.spec).where(cells.c.id.in_(newest)))
    return {row.profile_hash: _facts(row.spec) for row in rows}


def _facts(spec: Mapping[str, Any]) -> ProfileFacts:
    models = spec["models"]
    kind = agent_kind(spec["agent"], spec["loop"], {role: model["name"] for role, model in models.items()})
    used = (models[role] for role in roles_of(spec["loop"]))
    return ProfileFacts(kind, tuple((model.get("resource", ""), model.get("alias", "")) for model in used))


def stored_windows(database: Database) -> dict[str, tuple[Sequence[WindowSpec], Mapping[Zone, Behaviour]]]:
    """The windows of every account as the newest fleet file has them, and what its zones do."""
    query = sa.select(windows.c.account, windows.c.spec).where(windows.c.spec.is_not(None))
    specs: dict[str, list[WindowSpec]] = {}
    with database.read() as connection:
        for row in connection.execute(query.order_by(windows.c.account, windows.c.name)):
            specs.setdefault(row.account, []).append(WindowSpec(**row.spec))
        zones = connection.execute(
            sa.select(quota_gates.c.account, quota_gates.c.zones).join(
                accounts, accounts.c.name == quota_gates.c.account
            )
        ).all()
    return {row.account: (specs.get(row.account, []), behaviour_of(row.zones)) for row in zones}


def windows_now(
    database: Database, specs: Mapping[str, tuple[Sequence[WindowSpec], Mapping[Zone, Behaviour]]], now: datetime
) -> list[WindowNow]:
    """These windows as they stand."""
    found = []
    with database.read() as connection:
        for account, (those, behaviour) in sorted(specs.items()):
            for state, _ in states_of(connection, account, those, now):
                spec, implied = _with_limit(connection, account, state.spec, state.standing.used_ppm, now)
                found.append(
                    WindowNow(
                        account=account,
                        spec=spec,
                        used_ppm=state.standing.used_ppm,
                        resets_at=state.standing.resets_at,
                        behaviour=behaviour,
                        implied=implied,
                    )
                )
    return found


def _with_limit(
    connection: sa.Connection, account: str, spec: WindowSpec, used_ppm: int | None, now: datetime
) -> tuple[WindowSpec, bool]:
    """Where nobody told a limit, the one that our own tokens and the stated percentage imply: a low one when people
    use the account beside us."""
    told = (spec.tokens, spec.requests, spec.hours) != (None, None, None)
    if told or used_ppm is None or used_ppm < _LEAST_STATED_PPM:
        return spec, False
    entries = entries_of(connection, account, replace(spec, tokens=1), now)
    tokens = sum(entry.tokens or 0 for entry in entries)
    return (replace(spec, tokens=max(1, tokens * WHOLE // used_ppm)), True) if tokens else (spec, False)
