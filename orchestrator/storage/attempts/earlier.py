"""What an earlier attempt at the same job left, so that a later one can go on from there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.outcome import RESUMABLE, Outcome, OutcomeClass, outcome_class
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, stages


@dataclass(frozen=True, kw_only=True)
class KeptStage:
    """A stage that ended and whose work was committed. `handover` is what its session left if it was interrupted,
    `checks` what the checks told the loop after it.

    `context_percent` is how full that session was, None when unknown; `spent_usd_micros` what its limit counts.
    """

    ordinal: int
    stage: str
    role: str
    task: str | None
    outcome: Outcome | None
    detail: str
    answer: str
    changed: bool
    handover: str | None
    session_id: str | None
    commit_sha: str | None
    checks: str | None
    context_percent: float | None
    tokens: int
    spent_usd_micros: int


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The work that is there already: in which tree, which stages, and what of the job's wall time they took."""

    attempt_id: str
    machine: str
    run_dir: str
    outcome: Outcome
    wall_seconds: float
    stages: tuple[KeptStage, ...]


def earlier_work(database: Database, job_id: int, number: int) -> Earlier | None:
    """What attempt `number` of a job may go on from: what the attempt before it and those that it had built on left.

    None when there is none, when the one before ended for a reason of the agent's own, or when it had itself gone on
    from an earlier one and was broken by infrastructure before it got any further: then the tree may be what breaks.
    """
    tries = sa.select(attempts).where(attempts.c.job_id == job_id, attempts.c.number < number)
    with database.read() as connection:
        by_id = {row.id: row for row in connection.execute(tries.order_by(attempts.c.number))}
        if not by_id or not _resumable(last := list(by_id.values())[-1]):
            return None
        chain = list(_chain(last, by_id))
        query = sa.select(stages).where(stages.c.attempt_id.in_([row.id for row, _ in chain]))
        rows = connection.execute(query.order_by(stages.c.ordinal)).all()
    kept: list[KeptStage] = []
    wall = 0.0
    for row, upto in reversed(chain):
        mine = [stage for stage in rows if stage.attempt_id == row.id and (upto is None or stage.ordinal <= upto)]
        fresh = _committed(mine)
        kept += [_kept(stage) for stage in fresh]
        wall += _wall_seconds(row, fresh)
    if last.resumed_from and not fresh and outcome_class(Outcome(last.outcome)) is OutcomeClass.INFRA:
        return None
    return Earlier(
        attempt_id=last.id,
        machine=last.machine,
        run_dir=last.run_dir,
        outcome=Outcome(last.outcome),
        wall_seconds=wall,
        stages=tuple(kept),
    )


def _resumable(attempt: Any) -> bool:
    return attempt.outcome in RESUMABLE and attempt.run_dir is not None


def _chain(last: Any, by_id: dict[str, Any]) -> Iterator[tuple[Any, int | None]]:
    """The attempt and those before it that it built on, each with the last ordinal that counts; newest first."""
    row: Any = last
    upto: int | None = None
    while row is not None:
        yield row, upto
        row, upto = by_id.get(row.resumed_from or ""), row.resumed_stages


def _wall_seconds(attempt: Any, kept: Sequence[Any]) -> float:
    """What of the job's wall time an attempt took; of one that infrastructure broke, what its kept stages took."""
    known: float | None = attempt.wall_seconds
    if known is not None and outcome_class(Outcome(attempt.outcome)) is not OutcomeClass.INFRA:
        return known
    # As measured: between the two moments on record somebody may have set the wall clock.
    return float(sum((stage.working_seconds or 0) + (stage.rate_limit_wait_seconds or 0) for stage in kept))


def _committed(rows: Sequence[Any]) -> list[Any]:
    """The leading stages whose end and commit are on record."""
    found: list[Any] = []
    for row in rows:
        if row.ended_at is None or row.changed is None:
            break
        found.append(row)
    return found


def _kept(row: Any) -> KeptStage:
    usage = TokenUsage(
        input=row.input_tokens,
        output=row.output_tokens,
        cache_read=row.cache_read_tokens,
        cache_write=row.cache_write_tokens,
        reasoning=row.reasoning_tokens,
    )
    return KeptStage(
        ordinal=row.ordinal,
        stage=row.stage,
        role=row.role,
        task=row.task,
        outcome=Outcome(row.outcome) if row.outcome else None,
        detail=row.detail or "",
        answer=row.answer or "",
        changed=row.changed,
        handover=row.handover,
        session_id=row.session_id,
        commit_sha=row.commit_sha,
        checks=row.checks,
        context_percent=None if row.context_tokens is None else 100 * row.context_tokens / row.context_window,
        tokens=usage.total or 0,
        spent_usd_micros=(row.stated_cost_usd_micros if row.cost_usd_micros is None else row.cost_usd_micros) or 0,
    )
