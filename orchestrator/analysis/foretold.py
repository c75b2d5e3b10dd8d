"""Estimates against what came: how far off they were, and how often what came lies in the interval."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.known import COST, SECONDS, TOKENS, of_stage
from orchestrator.analysis.rows import EstimateRow, Evidence, JobRow
from orchestrator.analysis.stage_table import StageTable
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
    named, took = labels(evidence.jobs), _took(StageTable.of(evidence.stages))
    groups: dict[str, list[JobRow]] = {}
    for job in evidence.jobs:
        if standing(job) is Standing.RESULT:
            groups.setdefault(named[variant_of(job)], []).append(job)
    found: list[Foretold] = []
    for label, jobs in sorted(groups.items()):
        found.append(_whole(label, jobs, took, evidence.estimates))
        found += _by_stage(label, jobs, took, evidence.estimates)
    return tuple(found)


class _Stage(NamedTuple):
    """What all calls of one stage took in a job; None where a part of it is unknown."""

    seconds: float | None
    tokens: float | None


@dataclass(frozen=True, kw_only=True)
class _Took:
    """By job, in the order of its stages' names. `single` went through in one attempt."""

    stages: Mapping[int, Mapping[str, _Stage]]
    single: frozenset[int]


Expected = Mapping[int, Mapping[str, EstimateRow]]


def _took(table: StageTable) -> _Took:
    if not len(table):
        return _Took(stages={}, single=frozenset())
    ids, bounds = table.bounds()
    words = table.words["stage"]
    keys = np.repeat(np.arange(len(ids)), np.diff(bounds)) * len(words.known) + words.codes
    found, first, place = np.unique(keys, return_index=True, return_inverse=True)
    sums = [np.bincount(place, weights=column).tolist() for column in (table.seconds, table.total_tokens)]
    stages: dict[int, dict[str, _Stage]] = {}
    for at in np.argsort(first, kind="stable").tolist():
        job, word = divmod(int(found[at]), len(words.known))
        parts = (None if math.isnan(column[at]) else column[at] for column in sums)
        stages.setdefault(int(ids[job]), {})[words.known[word] or ""] = _Stage(*parts)
    numbers = table.whole["attempt"]
    once = np.minimum.reduceat(numbers, bounds[:-1]) == np.maximum.reduceat(numbers, bounds[:-1])
    return _Took(stages=stages, single=frozenset(ids[once].tolist()))


def _whole(label: str, jobs: Sequence[JobRow], took: _Took, expected: Expected) -> Foretold:
    return Foretold(
        label=label,
        stage="",
        seconds=_fit((_of(expected, job, SECONDS), job.wall_seconds) for job in jobs),
        tokens=_fit((_of(expected, job, TOKENS), _tokens(job, took)) for job in jobs),
        cost_usd_micros=_fit((_of(expected, job, COST), job.cost_usd_micros) for job in jobs),
    )


def _by_stage(label: str, jobs: Sequence[JobRow], took: _Took, expected: Expected) -> Iterable[Foretold]:
    """Only of jobs that went through in one attempt: what a broken one took again says nothing about a stage."""
    mine = [(job, took.stages.get(job.job_id, {})) for job in jobs if job.job_id in took.single]
    for name in dict.fromkeys(name for _, stages in mine for name in stages):
        having = [(job, stages[name]) for job, stages in mine if name in stages]
        yield Foretold(
            label=label,
            stage=name,
            seconds=_fit((_of(expected, job, of_stage(name, SECONDS)), one.seconds) for job, one in having),
            tokens=_fit((_of(expected, job, of_stage(name, TOKENS)), one.tokens) for job, one in having),
            cost_usd_micros=None,
        )


def _of(expected: Expected, job: JobRow, quantity: str) -> EstimateRow | None:
    return expected.get(job.job_id, {}).get(quantity)


def _tokens(job: JobRow, took: _Took) -> float | None:
    """Of jobs of which every stage told its tokens, as estimates are made from such runs alone."""
    told = all(one.tokens is not None for one in took.stages.get(job.job_id, {}).values())
    return job.tokens.total if told else None


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
