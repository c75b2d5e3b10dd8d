"""Estimates against what came: how far off they were, and how often what came lies in the interval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.known import COST, SECONDS, TOKENS, of_stage
from orchestrator.analysis.rows import EstimateRow, Evidence, JobRow, StageRow, by_job
from orchestrator.analysis.variants import labels, variant_of


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How estimates of one quantity fit. Ratios are what came by what was expected; None where nothing compares.

    `compared` of `of` results had an estimate and were measured. `median_ratio` is against the middle of each,
    `total_ratio` of the sums. `inside` of `ranged` lie in their interval, which is made for eight of ten.
    """

    compared: int
    of: int
    median_ratio: float | None
    total_ratio: float | None
    inside: int
    ranged: int


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """The estimates of one variant, of whole jobs (`stage` empty) or of what one stage took of a job."""

    label: str
    stage: str
    seconds: Fit
    tokens: Fit
    cost_usd_micros: Fit | None


Came = tuple[EstimateRow | None, float | None]


def foretold(evidence: Evidence) -> tuple[Foretold, ...]:
    """Per variant with results, whole jobs first, then stage by stage; empty when nothing was estimated."""
    if not evidence.estimates:
        return ()
    named, rows = labels(evidence.jobs), by_job(evidence.stages)
    groups: dict[str, list[JobRow]] = {}
    for job in evidence.jobs:
        if standing(job) is Standing.RESULT:
            groups.setdefault(named[variant_of(job)], []).append(job)
    found: list[Foretold] = []
    for label, jobs in sorted(groups.items()):
        found.append(_whole(label, jobs, rows, evidence.estimates))
        found += _by_stage(label, jobs, rows, evidence.estimates)
    return tuple(found)


Expected = Mapping[int, Mapping[str, EstimateRow]]
Stages = Mapping[int, Sequence[StageRow]]


def _whole(label: str, jobs: Sequence[JobRow], rows: Stages, expected: Expected) -> Foretold:
    return Foretold(
        label=label,
        stage="",
        seconds=_fit((_of(expected, job, SECONDS), job.wall_seconds) for job in jobs),
        tokens=_fit((_of(expected, job, TOKENS), _tokens(job, rows.get(job.job_id, ()))) for job in jobs),
        cost_usd_micros=_fit((_of(expected, job, COST), job.cost_usd_micros) for job in jobs),
    )


def _by_stage(label: str, jobs: Sequence[JobRow], rows: Stages, expected: Expected) -> Iterable[Foretold]:
    """Only of jobs that went through in one attempt: what a broken one took again says nothing about a stage."""
    mine = {job.job_id: rows.get(job.job_id, ()) for job in jobs}
    single = {job_id: those for job_id, those in mine.items() if len({row.attempt for row in those}) == 1}
    names = dict.fromkeys(row.stage for those in single.values() for row in those)
    for name in names:
        parts = {job_id: [row for row in those if row.stage == name] for job_id, those in single.items()}
        having = [(job_id, those) for job_id, those in parts.items() if those]
        yield Foretold(
            label=label,
            stage=name,
            seconds=_stage_fit(expected, having, of_stage(name, SECONDS), lambda row: row.seconds),
            tokens=_stage_fit(expected, having, of_stage(name, TOKENS), lambda row: row.usage.total),
            cost_usd_micros=None,
        )


def _stage_fit(
    expected: Expected,
    having: Sequence[tuple[int, Sequence[StageRow]]],
    quantity: str,
    measured: Callable[[StageRow], float | None],
) -> Fit:
    return _fit(
        (expected.get(job_id, {}).get(quantity), _sum(measured(row) for row in those)) for job_id, those in having
    )


def _of(expected: Expected, job: JobRow, quantity: str) -> EstimateRow | None:
    return expected.get(job.job_id, {}).get(quantity)


def _tokens(job: JobRow, stages: Sequence[StageRow]) -> float | None:
    """Of jobs of which every stage told its tokens, as estimates are made from such runs alone."""
    return job.tokens.total if all(stage.usage.total is not None for stage in stages) else None


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return None if None in found else sum(value for value in found if value is not None)


def _fit(pairs: Iterable[Came]) -> Fit:
    every = list(pairs)
    both = [(row, came) for row, came in every if row is not None and came is not None]
    ratios = [came / row.middle for row, came in both if row.middle > 0]
    mean = sum(row.mean for row, _ in both)
    ranged = [(row.low, came, row.high) for row, came in both if row.low is not None and row.high is not None]
    return Fit(
        compared=len(both),
        of=len(every),
        median_ratio=median(ratios) if ratios else None,
        total_ratio=sum(came for _, came in both) / mean if mean > 0 else None,
        inside=sum(low <= came <= high for low, came, high in ranged if low is not None and high is not None),
        ranged=len(ranged),
    )
