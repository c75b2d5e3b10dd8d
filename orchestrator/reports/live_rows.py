"""The live view's values from the database."""

from datetime import datetime

from orchestrator.analysis.judge import group_checks, is_solved
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.domain.order import is_resource
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.reports.eta import Foreteller
from orchestrator.reports.gauges import gauges
from orchestrator.reports.live import LiveJob, LiveResource, LiveView
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import live as store
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.machines import closed_resources
from orchestrator.storage.quota import quotas


def live_view(database: Database, experiment: str, now: datetime, foreteller: Foreteller | None = None) -> LiveView:
    """Where everything stands, with an ETA from the `foreteller`. Raises NotFound for an unknown experiment."""
    evidence = load_evidence(database, experiment, now, with_cases=False)
    checks = group_checks(evidence.checks)
    current: dict[int, StageRow] = {}
    for stage in evidence.stages:
        current[stage.job_id] = stage
    needs = store.needs_of(database, experiment)
    slots = store.slots_now(database)
    checking = store.checking(database, experiment)
    closed = closed_resources(database, now)
    return LiveView(
        experiment=experiment,
        now=now,
        jobs=tuple(
            LiveJob(
                job_id=job.job_id,
                target=job.target,
                profile=job.profile + "".join(f" {name}={value}" for name, value in sorted(job.params.items())),
                repeat=job.repeat,
                state=job.state,
                stage=_stage(current.get(job.job_id), job, checking),
                turns=current[job.job_id].turns if job.job_id in current else None,
                tokens=job.tokens.total,
                context_fill=_fill(current.get(job.job_id)),
                elapsed_seconds=_elapsed(job, now),
                waiting_reason=waiting_reason(
                    job.state, job.waiting_reason, needs.get(job.job_id, ()), slots, closed
                ),
                outcome=job.outcome or "",
                solved=is_solved(job, checks.get(job.job_id, [])) if job.state in FINAL_JOB_STATES else None,
                tasks_accepted=job.tasks_accepted,
                tasks_planned=job.tasks_planned,
            )
            for job in evidence.jobs
        ),
        resources=tuple(
            LiveResource(name=name, in_use=slot.busy, capacity=slot.total or None, note=slot.note)
            for name, slot in sorted(slots.items())
            if is_resource(name)
        ),
        eta=foreteller.at(now) if foreteller else None,
        gauges=gauges(quotas(database, now)),
    )


def _stage(stage: StageRow | None, job: JobRow, checking: frozenset[int]) -> str:
    if job.state is not JobState.RUNNING:
        return ""
    if job.job_id in checking:
        return "checks"
    if stage is None:
        return ""
    # Behind the end of a stage the next one may have to wait for a slot of its own.
    return stage.stage if stage.ended_at is None else "next stage"


def _fill(stage: StageRow | None) -> float | None:
    if stage is None or stage.context_tokens is None or not stage.context_window:
        return None
    return stage.context_tokens / stage.context_window


def _elapsed(job: JobRow, now: datetime) -> float | None:
    if job.started_at is None:
        return None
    return ((job.ended_at or now) - job.started_at).total_seconds()
