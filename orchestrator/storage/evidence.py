"""The rows that analysis and reports work on, read from the tables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa

from orchestrator.analysis.rows import Evidence, JobRow, MachineNote, ProfileRow, StageRow
from orchestrator.domain.campaign import Then
from orchestrator.domain.errors import NotFound
from orchestrator.domain.harness import parent_ordinal
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import JobState
from orchestrator.domain.untyped import pick
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.check_evidence import CaseEvidence, case_evidence, change_rows, check_rows
from orchestrator.storage.engine import Database
from orchestrator.storage.estimates import estimates_of
from orchestrator.storage.imports import IMPORTED_QUEUE
from orchestrator.storage.races import race_record
from orchestrator.storage.tables import attempts, cells, events, experiments, jobs, stages
from orchestrator.storage.tasks import TaskCount, task_counts

# Sources that tell how many tasks a run solved, and not which.
IMPORTED_WITHOUT_TASKS = frozenset({"leaderboard"})
_NOT_WORK = frozenset({OutcomeClass.INFRA, OutcomeClass.USER})


def experiment_names(database: Database) -> list[str]:
    """Every experiment, newest submit first."""
    with database.read() as connection:
        query = sa.select(experiments.c.name).order_by(experiments.c.submitted_at.desc(), experiments.c.id.desc())
        return list(connection.execute(query).scalars())


def load_evidence(database: Database, experiment: str, now: datetime, *, with_cases: bool = True) -> Evidence:
    """Everything measured for an experiment, but for test cases and changed tests where `with_cases` is false.

    Raises NotFound with the names that exist.
    """
    with database.snapshot() as connection:
        query = sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.name == experiment)
        row = connection.execute(query).one_or_none()
        if row is None:
            names = ", ".join(experiment_names(database)) or "none yet"
            raise NotFound(f"no experiment {experiment!r} in {database!r}; there are: {names}")
        found, source = row.id, row.spec.get("imported")
        cell_rows = {
            row.id: row for row in connection.execute(sa.select(cells).where(cells.c.experiment_id == found))
        }
        mine = sa.select(jobs.c.id).where(jobs.c.experiment_id == found)
        job_rows = connection.execute(
            sa.select(jobs).where(jobs.c.experiment_id == found).order_by(jobs.c.position)
        ).all()
        tries = connection.execute(
            sa.select(attempts).where(attempts.c.job_id.in_(mine)).order_by(attempts.c.job_id, attempts.c.number)
        ).all()
        stage_rows = _stage_rows(connection, mine)
        if source:
            stage_rows = _with_prechecks(connection, mine, stage_rows)
        cases = case_evidence(connection, mine) if with_cases else CaseEvidence([], {}, cut=False)
        job_checks = check_rows(connection, mine, cases)
        changes = change_rows(connection, mine) if with_cases else []
        counts = task_counts(connection, mine)
        race = race_record(connection, found, row.spec)
        expected = estimates_of(connection, found)
    by_job: dict[int, list[Any]] = defaultdict(list)
    for attempt in tries:
        by_job[attempt.job_id].append(attempt)
    stages_of: dict[int, list[StageRow]] = defaultdict(list)
    for stage in stage_rows:
        stages_of[stage.job_id].append(stage)
    return Evidence(
        experiment=experiment,
        generated_at=now,
        jobs=tuple(
            _with_tasks(
                _job_row(experiment, row, cell_rows[row.cell_id], by_job[row.id], stages_of[row.id], now),
                counts.get(by_job[row.id][-1].id) if by_job[row.id] else None,
            )
            for row in job_rows
        ),
        stages=tuple(stage_rows),
        checks=tuple(job_checks),
        cases=tuple(cases.rows),
        changes=tuple(changes),
        profiles=tuple(_profiles(cell_rows)),
        cases_cut=cases.cut,
        race=race,
        then=Then.model_validate(row.spec["then"]) if row.spec.get("then") else None,
        estimates={
            row.id: expected[row.cell_id, row.created_at]
            for row in job_rows
            if (row.cell_id, row.created_at) in expected
        },
        tasks_unnamed=source in IMPORTED_WITHOUT_TASKS,
        notes=(_imported(source),) if source else (),
    )


def _imported(source: str) -> MachineNote:
    text = f"these runs were imported from {source}'s own files; nothing of them was run or measured here"
    return MachineNote(machine="imported", text=text)


def _worked(attempt: Any) -> bool:
    return attempt.outcome is None or outcome_class(Outcome(attempt.outcome)) not in _NOT_WORK


def _built_on(tries: Sequence[Any]) -> dict[int, int | None]:
    """The attempts whose work is in the job's result, each with the last of its stages that is (None = all).

    They are the last one, unless it is not the profile's doing that it ended, and those that it went on from.
    """
    by_id = {attempt.id: attempt for attempt in tries}
    found: dict[int, int | None] = {}
    attempt = tries[-1] if tries else None
    if attempt is not None and _worked(attempt):
        found[attempt.number] = None
    while attempt is not None and attempt.resumed_from in by_id:
        upto, attempt = attempt.resumed_stages, by_id[attempt.resumed_from]
        found[attempt.number] = upto
    return found


def _counted_seconds(attempt: Any, kept: Sequence[StageRow]) -> float | None:
    """The wall time of an attempt that is built on; of one that broke, that of the stages that are in the result."""
    if attempt.outcome is not None and outcome_class(Outcome(attempt.outcome)) is OutcomeClass.INFRA:
        return _total(stage.seconds for stage in kept) if kept else 0.0
    known: float | None = attempt.wall_seconds
    return known


def _parked_seconds(tries: Sequence[Any], now: datetime) -> float | None:
    """How long the job was parked: from the end of an attempt to the reset that it waited for, or to the next one.

    Of a run that was imported nobody knows.
    """
    if tries and tries[0].machine == IMPORTED_QUEUE:
        return None
    parked = 0.0
    for attempt, later in zip_longest(tries, tries[1:]):
        if attempt.parked_until is not None:
            until = min(attempt.parked_until, later.started_at if later is not None else now)
            parked += max(0.0, (until - attempt.ended_at).total_seconds())
    return parked


def _job_row(
    experiment: str, job: Any, cell: Any, tries: Sequence[Any], stage_rows: Sequence[StageRow], now: datetime
) -> JobRow:
    built_on = _built_on(tries)
    work = [attempt for attempt in tries if attempt.number in built_on]
    mine = [
        stage
        for stage in stage_rows
        if stage.attempt in built_on
        and ((upto := built_on[stage.attempt]) is None or parent_ordinal(stage.order) <= upto)
    ]
    of_attempt = {attempt.number: [stage for stage in mine if stage.attempt == attempt.number] for attempt in work}
    last = tries[-1] if tries else None
    fills = [s.context_peak_tokens / s.context_window for s in mine if s.context_peak_tokens and s.context_window]
    outcome = job.outcome or (last.outcome if last is not None else None)
    return JobRow(
        job_id=job.id,
        experiment=experiment,
        target=cell.spec["target"]["label"],
        profile=cell.profile,
        profile_hash=cell.profile_hash,
        params=cell.params,
        retuned=job.retuned or {},
        repeat=job.repeat,
        state=JobState(job.state),
        waiting_reason=job.waiting_reason or "",
        attempts=job.attempts,
        outcome=Outcome(outcome) if outcome else None,
        detail=job.detail or (last.detail if last is not None else "") or "",
        started_at=tries[0].started_at if tries else None,
        ended_at=job.finished_at,
        wall_seconds=_total(_counted_seconds(attempt, of_attempt[attempt.number]) for attempt in work),
        working_seconds=_total(attempt.working_seconds for attempt in work),
        rate_limit_wait_seconds=_total(attempt.rate_limit_wait_seconds for attempt in work),
        slot_wait_seconds=_total(attempt.lease_wait_seconds for attempt in work),
        parked_seconds=_parked_seconds(tries, now),
        tokens=sum((stage.usage for stage in mine), TokenUsage()),
        hidden_tokens=_complete([stage.hidden_tokens for stage in mine]),
        cost_usd_micros=_complete([stage.cost_usd_micros for stage in mine]),
        stated_cost_usd_micros=_complete([stage.stated_cost_usd_micros for stage in mine]),
        remote_calls=_calls(mine, "account:"),
        local_calls=_calls(mine, "pool:"),
        context_peak_fill=max(fills, default=None),
        lines_added=last.lines_added if last is not None else None,
        lines_removed=last.lines_removed if last is not None else None,
        files_changed=last.files_changed if last is not None else None,
        commits=last.commits if last is not None else None,
        infra_attempts=job.infra_attempts,
        protected_changes=last.protected_changes if last is not None else None,
        protected_counted=last.protected_counted if last is not None else None,
        final_text=(last.final_text if last is not None else "") or "",
    )


def _with_tasks(job: JobRow, count: TaskCount | None) -> JobRow:
    return (
        job
        if count is None
        else replace(job, tasks_accepted=count.accepted, tasks_planned=count.planned, tasks_at_once=count.at_once)
    )


def _total(values: Iterable[float | None]) -> float | None:
    found = list(values)
    if not found or any(value is None for value in found):
        return None
    return sum(value for value in found if value is not None)


def _complete(values: Sequence[int | None]) -> int | None:
    """The sum, or None when a part of it is unknown: half a cost is not a cost."""
    if not values or any(value is None for value in values):
        return None
    return sum(value for value in values if value is not None)


def _calls(stage_rows: Sequence[StageRow], kind: str) -> int | None:
    if not stage_rows:
        return None
    return _complete([0, *(stage.requests for stage in stage_rows if stage.resource.startswith(kind))])


def _stage_rows(connection: sa.Connection, mine: sa.Select[tuple[int]]) -> list[StageRow]:
    query = (
        sa.select(stages, attempts.c.job_id, attempts.c.number)
        .join(attempts, attempts.c.id == stages.c.attempt_id)
        .where(attempts.c.job_id.in_(mine))
        .order_by(attempts.c.job_id, attempts.c.number, stages.c.ordinal)
    )
    return [
        StageRow(
            job_id=row.job_id,
            attempt=row.number,
            order=row.ordinal,
            stage=row.stage,
            role=row.role,
            model_asked=row.model_asked,
            model_served=row.model_served,
            resource=row.resource,
            started_at=row.started_at,
            ended_at=row.ended_at,
            turns=row.turns,
            requests=row.requests,
            usage=TokenUsage(
                input=row.input_tokens,
                output=row.output_tokens,
                cache_read=row.cache_read_tokens,
                cache_write=row.cache_write_tokens,
                reasoning=row.reasoning_tokens,
            ),
            stream_tokens=row.stream_total_tokens,
            gateway_tokens=row.gateway_total_tokens,
            cost_usd_micros=row.cost_usd_micros,
            stated_cost_usd_micros=row.stated_cost_usd_micros,
            context_tokens=row.context_tokens,
            context_peak_tokens=row.context_peak_tokens,
            context_window=row.context_window,
            exit_code=row.exit_code,
            outcome=Outcome(row.outcome) if row.outcome else None,
            kill_reason=row.kill_reason or "",
            error_kind=row.error_kind or "",
            error_text=row.error_text or "",
            prompt_bytes=row.prompt_bytes,
        )
        for row in connection.execute(query)
    ]


def _with_prechecks(
    connection: sa.Connection, mine: sa.Select[tuple[int]], stage_rows: list[StageRow]
) -> list[StageRow]:
    """Stages whose original record tells what a quick check made of them."""
    query = (
        sa.select(attempts.c.job_id, attempts.c.number, events.c.stage_ordinal, events.c.data)
        .join(attempts, attempts.c.id == events.c.attempt_id)
        .where(attempts.c.job_id.in_(mine), events.c.kind == "InnerStageRecord")
    )
    told = {
        (row[0], row[1], row[2]): pick(row[3], "record", "precheck_accepted") for row in connection.execute(query)
    }
    found = ((row, told.get((row.job_id, row.attempt, row.order))) for row in stage_rows)
    return [replace(row, precheck_accepted=one) if isinstance(one, bool) else row for row, one in found]


def _profiles(cell_rows: Mapping[int, Any]) -> list[ProfileRow]:
    seen: dict[tuple[str, str, str | None], ProfileRow] = {}
    for cell in cell_rows.values():
        spec = cell.spec
        seen.setdefault(
            (cell.profile, cell.profile_hash, spec["agent_version"]),
            ProfileRow(
                profile=cell.profile,
                profile_hash=cell.profile_hash,
                agent=spec["agent"],
                agent_version=spec["agent_version"],
                reasoning_model=spec["models"]["reasoning"]["name"],
                build_model=spec["models"]["build"]["name"],
                loop=spec["loop"],
            ),
        )
    return list(seen.values())
