"""A matrix of 10,000 jobs in the middle of its night, none of which ever ran: what the live page is measured on."""

import random
from datetime import datetime, timedelta

import sqlalchemy as sa

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.submit import NewCell, NewJob, NewTarget, store_experiment
from orchestrator.storage.tables import accounts, attempts, cells, checks, jobs, leases, stages

NAME = "night-of-ten-thousand"
TARGETS, PROFILES, REPEATS = 100, 20, 5
_ACCOUNT, _POOL = "account:max", "pool:redbox"
_RUNNING = 12
_ENDS = (
    (Outcome.COMPLETE, 0.72),
    (Outcome.NO_PROGRESS, 0.07),
    (Outcome.STAGE_TIMEOUT, 0.05),
    (Outcome.CONTEXT_KILL, 0.04),
    (Outcome.LOOP_DETECTED, 0.04),
    (Outcome.AGENT_ERROR, 0.04),
    (Outcome.TOKEN_LIMIT, 0.02),
    (Outcome.INFRA_ERROR, 0.02),
)
_FAILED = frozenset({Outcome.INFRA_ERROR, Outcome.AGENT_ERROR})


def make_matrix(database: Database, now: datetime, *, ended: float = 0.62) -> None:
    """Store it with this share of its jobs ended."""
    chance = random.Random(7)
    ensure_slots(database, {_ACCOUNT: 1, _POOL: _RUNNING})
    _submit(database, now)
    with database.write() as connection:
        account = {"name": "max", "base_url": "http://localhost", "protocol": "chat", "concurrency": 1}
        connection.execute(accounts.insert().values(account))
        rows = connection.execute(
            sa.select(jobs.c.id, cells.c.target_id)
            .join(cells, cells.c.id == jobs.c.cell_id)
            .order_by(jobs.c.position)
        ).all()
        done = round(len(rows) * ended)
        for index, row in enumerate(rows[: done + _RUNNING]):
            begun = now - timedelta(seconds=chance.uniform(60, 900))
            if index < done:
                _end(connection, row, begun, chance)
            else:
                _run(connection, row, begun, chance, index - done)


def _submit(database: Database, now: datetime) -> None:
    model = {"name": "m"}
    spec: dict[str, object] = {
        "agent": "reference",
        "agent_version": "1",
        "loop": "staged",
        "limits": {"max_infra_attempts": 3},
    }
    spec |= {"models": {"reasoning": model, "build": model}}
    grid = [(t, p) for t in range(TARGETS) for p in range(PROFILES)]
    chance = random.Random(1)
    places = [(t, p, repeat) for t, p in grid for repeat in range(1, REPEATS + 1)]
    chance.shuffle(places)
    store_experiment(
        database,
        name=NAME,
        file_text="",
        spec={},
        seed=0,
        new_targets=[
            NewTarget(label=f"service-{t:03d}", sha="0" * 40, content_hash=f"t{t}", spec={}) for t in range(TARGETS)
        ],
        new_cells=[
            NewCell(
                target_hash=f"t{t}",
                profile=f"profile-{p:02d}",
                key=f"service-{t:03d}/profile-{p:02d}",
                cell_hash=f"{t}-{p}",
                profile_hash=f"p{p}",
                params={},
                spec={
                    **spec,
                    "target": {"label": f"service-{t:03d}"},
                    "models": {"reasoning": model, "build": model},
                },
            )
            for t, p in grid
        ],
        new_jobs=[
            NewJob(cell_hash=f"{t}-{p}", repeat=repeat, position=index + 1, needs=need, queue="q")
            for index, (t, p, repeat) in enumerate(places)
            for need in [_POOL if p % 4 else f"{_ACCOUNT},{_POOL}"]
        ],
        now=now,
    )


def _attempt(connection: sa.Connection, row: sa.Row[tuple[int, int]], begun: datetime, **values: object) -> str:
    attempt = f"{row.id:032d}"
    where = {"machine": "box", "boot_id": "b", "worker_pid": 1, "worker_start_ticks": 1}
    known = {"id": attempt, "job_id": row.id, "number": 1, "fence": 1, "started_at": begun}
    connection.execute(attempts.insert().values({**known, **where, **values}))
    return attempt


def _stage(connection: sa.Connection, attempt: str, begun: datetime, **values: object) -> None:
    what = {"stage": "build", "role": "build", "agent": "a", "model_asked": "m", "resource": _POOL}
    known = {"attempt_id": attempt, "ordinal": 1, "started_at": begun, "input_tokens": 40_000, "output_tokens": 900}
    connection.execute(stages.insert().values({**known, **what, **values}))


def _end(connection: sa.Connection, row: sa.Row[tuple[int, int]], begun: datetime, chance: random.Random) -> None:
    [outcome] = chance.choices([end for end, _ in _ENDS], [weight for _, weight in _ENDS])
    wall = chance.uniform(30, 600)
    over = begun + timedelta(seconds=wall)
    attempt = _attempt(connection, row, begun, state="ended", ended_at=over, outcome=outcome, wall_seconds=wall)
    _stage(connection, attempt, begun, ended_at=over, turns=9)
    if outcome is Outcome.COMPLETE:
        status = "pass" if chance.random() < 0.7 else "fail"
        check = {"attempt_id": attempt, "kind": "final", "name": "tests", "target_id": row.target_id}
        connection.execute(checks.insert().values({**check, "status": status}))
    state = JobState.FAILED if outcome in _FAILED else JobState.DONE
    values = {"state": state, "outcome": outcome, "attempts": 1, "finished_at": over}
    connection.execute(jobs.update().where(jobs.c.id == row.id).values(values))


def _run(
    connection: sa.Connection, row: sa.Row[tuple[int, int]], begun: datetime, chance: random.Random, slot: int
) -> None:
    attempt = _attempt(connection, row, begun, state="working")
    context = chance.randrange(10_000, 95_000)
    _stage(connection, attempt, begun, turns=4, context_tokens=context, context_window=100_000)
    connection.execute(
        jobs.update().where(jobs.c.id == row.id).values(state=JobState.RUNNING, attempts=1, attempt_id=attempt)
    )
    here = sa.and_(leases.c.resource == _POOL, leases.c.slot == slot + 1)
    connection.execute(leases.update().where(here).values(attempt_id=attempt, since=begun))


def end_some(database: Database, count: int, now: datetime) -> None:
    """Let so many waiting jobs end, as a busy fleet does between two looks."""
    chance = random.Random()
    query = (
        sa.select(jobs.c.id, cells.c.target_id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .where(jobs.c.state == JobState.READY)
        .limit(count)
    )
    with database.write() as connection:
        for row in connection.execute(query).all():
            _end(connection, row, now - timedelta(seconds=60), chance)
