"""What each job of a plan is expected to take: time, tokens, money, and its share of quota windows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.analysis.estimate import Estimate
from orchestrator.analysis.known import COST, SECONDS, TOKENS, Known, Subject, window_share
from orchestrator.analysis.rows import EstimateRow
from orchestrator.analysis.totals import Total, total
from orchestrator.domain.jobspec import JobSpec
from orchestrator.scheduling.planned import Plan, PlannedJob, subject_of, target_hashes
from orchestrator.storage.estimates import NewEstimates
from orchestrator.storage.outlook import WindowNow

WindowName = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class JobEstimates:
    """Of one job; None is unknown. `shares` are parts per million of the windows that it uses, by account and name.

    `most_seconds`, `most_tokens` and `most_usd_micros` are the limits that end it, None without one.
    """

    seconds: Estimate | None
    tokens: Estimate | None
    cost_usd_micros: Estimate | None
    shares: Mapping[WindowName, Estimate | None] = field(default_factory=dict)
    most_seconds: float
    most_tokens: float | None = None
    most_usd_micros: float | None = None


@dataclass(frozen=True, kw_only=True)
class PlanEstimates:
    """Of the jobs of a plan that have not ended, in its order, and their sums."""

    jobs: tuple[tuple[PlannedJob, JobEstimates], ...]
    seconds: Total
    tokens: Total
    cost_usd_micros: Total
    shares: Mapping[WindowName, Total]
    runs: int


def estimates_to_store(plan: Plan) -> list[NewEstimates]:
    """What the plan's new jobs are expected to take, by cell, stages included: to be held against what comes."""
    if not plan.known.runs:
        return []
    hashes, quantities = target_hashes(job.cell for job in plan.new), (SECONDS, TOKENS, COST, *plan.known.stages())
    found = []
    for cell in {job.cell.cell_hash: job.cell for job in plan.new}.values():
        subject, limits = subject_of(cell, hashes), cell.spec.limits
        most = {SECONDS: limits.wall_timeout, TOKENS: limits.max_tokens}
        expected = {name: plan.known.expect(subject, name) for name in quantities}
        took = {name: _row(one.limited(most.get(name))) for name, one in expected.items() if one is not None}
        if took:
            found.append(NewEstimates(cell_hash=cell.cell_hash, took=took))
    return found


def _row(one: Estimate) -> EstimateRow:
    return EstimateRow(one.mean, one.middle, one.low, one.high, one.source.name.lower(), one.runs)


def windows_of(models: Iterable[tuple[str, str]], windows: Sequence[WindowNow]) -> list[int]:
    """The places of the windows that a job with these models (resource, name in the fleet file) uses."""
    asked = set(models)
    resources = {resource for resource, _ in asked}
    return [
        place
        for place, window in enumerate(windows)
        if (
            f"account:{window.account}" in resources
            if window.spec.model is None
            else (f"account:{window.account}", window.spec.model) in asked
        )
    ]


def share_of(known: Known, subject: Subject, window: WindowNow) -> Estimate | None:
    """What a job takes of a window."""
    return known.expect(subject, window_share(window.account, window.spec.name))


def job_estimates(spec: JobSpec, subject: Subject, known: Known, windows: Sequence[WindowNow]) -> JobEstimates:
    """Without a price for each of its models a job has no expected price, whatever others cost."""
    limits, models = spec.limits, [spec.models[role] for role in spec.roles]
    money = None if limits.max_cost_usd is None else limits.max_cost_usd * 1e6
    priced = all(model.prices is not None for model in models)
    used = windows_of(((model.resource, model.alias) for model in models), windows)
    return JobEstimates(
        seconds=_limited(known.expect(subject, SECONDS), limits.wall_timeout),
        tokens=_limited(known.expect(subject, TOKENS), limits.max_tokens),
        cost_usd_micros=_limited(known.expect(subject, COST), money) if priced else None,
        shares={
            (windows[place].account, windows[place].spec.name): share_of(known, subject, windows[place])
            for place in used
        },
        most_seconds=limits.wall_timeout,
        most_tokens=limits.max_tokens,
        most_usd_micros=money,
    )


def _limited(found: Estimate | None, most: float | None) -> Estimate | None:
    return None if found is None else found.limited(most)


def plan_estimates(plan: Plan, windows: Sequence[WindowNow]) -> PlanEstimates:
    """Estimates of every job that is still to run, and their sums."""
    hashes = target_hashes(job.cell for job in plan.jobs)
    made: dict[str, JobEstimates] = {}
    rows = []
    for job in plan.unfinished:
        if job.cell.cell_hash not in made:
            made[job.cell.cell_hash] = job_estimates(job.cell.spec, subject_of(job.cell, hashes), plan.known, windows)
        rows.append((job, made[job.cell.cell_hash]))
    kin = [job.cell.spec.target.label for job, _ in rows]
    found = [one for _, one in rows]
    return PlanEstimates(
        jobs=tuple(rows),
        seconds=total([one.seconds for one in found], kin),
        tokens=total([one.tokens for one in found], kin),
        cost_usd_micros=total([one.cost_usd_micros for one in found], kin),
        shares={name: _share_total(name, found, kin) for name in sorted({n for one in found for n in one.shares})},
        runs=len(plan.known.runs),
    )


def _share_total(name: WindowName, found: Sequence[JobEstimates], kin: Sequence[str]) -> Total:
    using = [(one.shares[name], target) for one, target in zip(found, kin, strict=True) if name in one.shares]
    return total([share for share, _ in using], [target for _, target in using])
