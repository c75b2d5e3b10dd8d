"""Claiming: a compare-and-set on the job's state and order token that takes a slot of every resource it needs.

Many claims make one transaction: the commit and its fsync are what a short job costs most.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.states import JOB_MOVES, AttemptState, JobState, move
from orchestrator.storage.attempts.gates import Gates
from orchestrator.storage.attempts.slots import free_for_new, hand_out, room_of
from orchestrator.storage.attempts.values import Claim, NoFreeSlot, Refusal, WorkerIdentity
from orchestrator.storage.dispatch import held_models, resources_of
from orchestrator.storage.engine import Database, padded
from orchestrator.storage.quota import ceilings
from orchestrator.storage.tables import attempts, is_in, jobs


class Hinted(NamedTuple):
    """A message's content, and who wants to act on it."""

    job_id: int
    order_token: str
    worker: WorkerIdentity
    now: datetime


# The claim, None for a stale message, or why it cannot be had now.
Answer = Claim | None | Refusal

# Statements of every job are built once: building and hashing one costs as much as the database's answer.
_CLAIMABLE = (
    sa.select(
        jobs.c.id,
        jobs.c.order_token,
        jobs.c.fence,
        jobs.c.attempts,
        jobs.c.infra_attempts,
        jobs.c.needs,
        jobs.c.cell_id,
        jobs.c.repeat,
        jobs.c.retuned,
    )
    .where(jobs.c.id.in_(sa.bindparam("jobs", expanding=True)), is_in(jobs.c.state, JobState.QUEUED))
    .order_by(jobs.c.id)
    .with_for_update()
)
_CLAIM = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job"))
    .values(
        state=move(JOB_MOVES, JobState.QUEUED, "claim"),
        order_token=None,
        attempt_id=sa.bindparam("attempt"),
        fence=jobs.c.fence + 1,
        attempts=jobs.c.attempts + 1,
        waiting_reason=None,
    )
)


def claim(database: Database, job_id: int, order_token: str, worker: WorkerIdentity, now: datetime) -> Claim | None:
    """Own the job; None when the message is stale.

    Raises a Refusal, and changes nothing, when a slot is missing, a breaker is not closed, nothing new may start
    there or another machine goes first: the claim may be tried again under its token.
    """
    answer = claim_many(database, [Hinted(job_id, order_token, worker, now)])[0]
    if isinstance(answer, Refusal):
        raise answer
    return answer


def claim_many(database: Database, hints: Sequence[Hinted]) -> list[Answer]:
    """Claim each of these jobs, or say why not, in the order given and in one transaction."""
    with database.write() as connection:
        rows = {
            row.id: row for row in connection.execute(_CLAIMABLE, {"jobs": padded([hint.job_id for hint in hints])})
        }
        fresh = {}
        for index, hint in enumerate(hints):
            row = rows.get(hint.job_id)
            if row is not None and row.order_token == hint.order_token:
                fresh[index] = rows.pop(hint.job_id)
        answers = _grant(connection, hints, fresh)
    return [answers.get(index) for index in range(len(hints))]


def _grant(connection: sa.Connection, hints: Sequence[Hinted], fresh: dict[int, Any]) -> dict[int, Answer]:
    if not fresh:
        return {}
    now = hints[0].now
    needs = {index: resources_of(row.needs) for index, row in fresh.items()}
    wanted = Counter(name for names in needs.values() for name in names)
    quotas = ceilings(connection)
    free = {name: free_for_new(connection, name, wanted[name], quotas.get(name)) for name in sorted(wanted)}
    # After every resource, as all do, lest two claims wait for each other.
    models = {index: [one for one in held_models(row.needs) if one in quotas] for index, row in fresh.items()}
    limited = sorted({name for names in models.values() for name in names})
    free |= {name: room_of(connection, name, quotas[name]) for name in limited}
    gates = Gates(connection, [row.cell_id for row in fresh.values()], now)
    answers: dict[int, Answer] = {}
    grants: list[tuple[str, int, str]] = []
    for index, row in fresh.items():
        machine = hints[index].worker.machine
        refusal = gates.refusal(row, needs[index], machine)
        missing = [name for name in (*needs[index], *models[index]) if not free[name]]
        if refusal is not None:
            answers[index] = refusal
        elif missing:
            why = f": {quotas[missing[0]].reason}" if missing[0] in quotas else ""
            answers[index] = NoFreeSlot(f"no slot of {missing[0]} is free{why}")
        else:
            attempt_id = secrets.token_hex(16)
            grants += [(name, free[name].pop(0), attempt_id) for name in needs[index]]
            for name in models[index]:
                free[name].pop()
            answers[index] = _claimed(
                attempt_id, row, needs[index], gates.enter(row, needs[index], machine, attempt_id)
            )
    claims = [(hints[index], answer) for index, answer in answers.items() if isinstance(answer, Claim)]
    if claims:
        connection.execute(_CLAIM, [{"job": one.job_id, "attempt": one.attempt_id} for _, one in claims])
        hand_out(connection, grants, now)
        connection.execute(attempts.insert(), [_row(hint, one) for hint, one in claims])
        gates.store()
    return answers


def _claimed(attempt_id: str, row: Any, resources: tuple[str, ...], probes: tuple[str, ...]) -> Claim:
    return Claim(
        attempt_id=attempt_id,
        job_id=row.id,
        fence=row.fence + 1,
        number=row.attempts + 1,
        repeat=row.repeat,
        cell_id=row.cell_id,
        resources=resources,
        probes=probes,
        retuned=row.retuned,
    )


def _row(hint: Hinted, one: Claim) -> dict[str, Any]:
    return {
        "id": one.attempt_id,
        "job_id": one.job_id,
        "number": one.number,
        "fence": one.fence,
        "state": AttemptState.CLAIMED,
        "machine": hint.worker.machine,
        "boot_id": hint.worker.boot_id,
        "worker_pid": hint.worker.pid,
        "worker_start_ticks": hint.worker.start_ticks,
        "started_at": hint.now,
    }


def withdraw(database: Database, job_id: int, order_token: str) -> None:
    """Give a hint back that could not be claimed: the job is ready again. Nothing happens when it is stale."""
    with database.write() as connection:
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job_id, is_in(jobs.c.state, JobState.QUEUED), jobs.c.order_token == order_token)
            .values(state=move(JOB_MOVES, JobState.QUEUED, "withdraw"), order_token=None)
        )
