"""A results database with jobs in it, without files, agents or workers: what storage tests play with."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.broker import queue_of
from orchestrator.domain.outcome import Outcome
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.storage import attempts, submit, tables
from orchestrator.storage.attempts import AttemptResult, Claim, WorkerIdentity
from orchestrator.storage.dispatch import Hint, ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import accounts, jobs, leases

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=5)
WORKER = WorkerIdentity(machine="box", boot_id="boot-1", pid=100, start_ticks=7)
A, B, POOL = "account:a", "account:b", "pool:p"

COMPLETE = AttemptResult(outcome=Outcome.COMPLETE, detail="")
INFRA = AttemptResult(outcome=Outcome.INFRA_ERROR, detail="the disk went away")


class Order(NamedTuple):
    """A hint as its worker sees it."""

    job_id: int
    token: str


def spec(label: str, *, max_infra: int = 2) -> dict[str, Any]:
    """What is stored with a cell, as far as storage and analysis look into it."""
    model = {"name": "m"}
    return {
        "target": {"label": label},
        "agent": "reference",
        "agent_version": "1",
        "models": {"reasoning": model, "build": model},
        "loop": "single",
        "limits": {"max_infra_attempts": max_infra},
    }


def add(
    database: Database,
    needs: Sequence[str],
    *,
    experiment: str = "demo",
    capacities: Mapping[str, int] | None = None,
    max_infra: int = 2,
    after: int = 0,
    priority: int = 0,
) -> list[int]:
    """Submit one job per entry of `needs` (resources joined by ','), in this order. Returns the job ids."""
    if capacities:
        ensure_slots(database, capacities)
        add_accounts(database, capacities)
    cells = [f"{experiment}-{after + index}" for index in range(len(needs))]
    submit.store_experiment(
        database,
        name=experiment,
        file_text="",
        spec={},
        seed=0,
        new_targets=[submit.NewTarget(label="t", sha="0" * 40, content_hash="t", spec={})],
        new_cells=[
            submit.NewCell(
                target_hash="t",
                profile=f"profile-{index % 3}",
                key=f"t/{cell}",
                cell_hash=cell,
                profile_hash=f"profile-{index % 3}",
                params={},
                spec=spec("t", max_infra=max_infra),
            )
            for index, cell in enumerate(cells)
        ],
        new_jobs=[
            submit.NewJob(
                cell_hash=cell,
                repeat=1,
                position=after + index + 1,
                needs=need,
                queue=queue_of(need.split(",")),
                priority=priority,
            )
            for index, (cell, need) in enumerate(zip(cells, needs, strict=True))
        ],
        now=NOW,
    )
    query = sa.select(jobs.c.id).order_by(jobs.c.id.desc()).limit(len(needs))
    with database.read() as connection:
        return sorted(connection.execute(query).scalars())


def add_accounts(database: Database, capacities: Mapping[str, int]) -> None:
    """The accounts among these resources, as a fleet file would make them."""
    names = [name.partition(":")[2] for name in capacities if name.startswith("account:")]
    with database.write() as connection:
        known = set(connection.execute(sa.select(accounts.c.name)).scalars())
        for name in set(names) - known:
            row = {"name": name, "base_url": "http://localhost", "protocol": "chat", "concurrency": 1}
            connection.execute(accounts.insert().values(row))


def order(database: Database, now: datetime = NOW) -> dict[int, str]:
    """One pass of the dispatcher: job ids with their tokens, in the order of the hints."""
    return {hint.job_id: hint.order_token for hint in dispatch(database, now)}


def claim(database: Database, job_id: int, token: str, now: datetime = NOW) -> Claim:
    """A claim that must succeed."""
    claimed = attempts.claim(database, job_id, token, WORKER, now)
    assert claimed is not None
    return claimed


def start(database: Database, now: datetime = NOW) -> list[Claim]:
    """Dispatch and claim everything that was hinted."""
    return [claim(database, job_id, token, now) for job_id, token in order(database, now).items()]


def job(database: Database, job_id: int) -> sa.RowMapping:
    """A job's row."""
    with database.read() as connection:
        return connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one()


def state(database: Database, job_id: int) -> str:
    """A job's state."""
    return str(job(database, job_id)["state"])


def attempt(database: Database, attempt_id: str) -> sa.RowMapping:
    """An attempt's row."""
    query = sa.select(tables.attempts).where(tables.attempts.c.id == attempt_id)
    with database.read() as connection:
        return connection.execute(query).mappings().one()


def holders(database: Database) -> dict[tuple[str, int], str]:
    """Who holds which slot."""
    query = sa.select(leases.c.resource, leases.c.slot, leases.c.attempt_id).where(leases.c.attempt_id.is_not(None))
    with database.read() as connection:
        return {(row.resource, row.slot): row.attempt_id for row in connection.execute(query)}


def hints(database: Database) -> list[Hint]:
    """Every open hint."""
    from orchestrator.storage.dispatch import open_hints

    with database.read() as connection:
        return open_hints(connection)


def parked(until: datetime, account: str | None = "a") -> AttemptResult:
    """A result of an attempt whose account's limit is used up."""
    resource = f"account:{account}" if account else None
    return AttemptResult(outcome=Outcome.QUOTA_PARKED, detail="usage_limit", wake_at=until, resource=resource)
