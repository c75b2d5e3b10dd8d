"""Data that contradict themselves: reported with both values, never averaged away."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.analysis.rows import Evidence, JobRow, ProfileRow
from orchestrator.analysis.stage_table import StageTable
from orchestrator.analysis.tally import Arm, judged

# Agents price with tables of their own: beyond this factor one of the two prices is wrong.
_PRICE_FACTOR = 2.0


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """What does not fit: `where` it is, and a sentence with both values."""

    where: str
    what: str


def denominators_differ(arms: Mapping[str, Arm]) -> tuple[Contradiction, ...]:
    """Arms that lack targets that others have results on: their pooled rates are not of the same tasks."""
    known = {label: judged(arm).keys() for label, arm in arms.items()}
    every = {target for targets in known.values() for target in targets}
    return tuple(
        Contradiction(
            where=label,
            what=f"has results on {len(targets)} of the {len(every)} targets; compare it on common targets only",
        )
        for label, targets in known.items()
        if targets and len(targets) < len(every)
    )


def contradictions(evidence: Evidence, arms: Mapping[str, Arm]) -> tuple[Contradiction, ...]:
    """Everything that the rows of an experiment say against each other."""
    spent = _spent(StageTable.of(evidence.stages))
    found = [*denominators_differ(arms), *_versions_mixed(evidence.profiles), *_twice(evidence.jobs)]
    for job in evidence.jobs:
        found += [Contradiction(where=job.label, what=what) for what in _of_job(job, spent.get(job.job_id))]
    return tuple(found)


def _versions_mixed(profiles: Sequence[ProfileRow]) -> Iterable[Contradiction]:
    """Rows that pool results of several versions of the agent: a difference may be the agent's."""
    versions: dict[tuple[str, str, str], set[str]] = {}
    for one in profiles:
        versions.setdefault((one.profile, one.profile_hash, one.agent), set()).add(one.agent_version or "unknown")
    return [
        Contradiction(where=profile, what=f"pools versions {', '.join(sorted(found))} of {agent}")
        for (profile, _, agent), found in versions.items()
        if len(found) > 1
    ]


class _Spent(NamedTuple):
    """What the stages of a job cost, and how many there are."""

    usd_micros: int
    stages: int


def _spent(table: StageTable) -> dict[int, _Spent]:
    """By job, of those whose stages' costs are all known."""
    costs = table.numbers["cost_usd_micros"]
    ids, first = table.bounds()
    if not len(ids):
        return {}
    sums, counts = np.add.reduceat(costs, first[:-1]), np.diff(first)
    return {
        job: _Spent(int(total), count)
        for job, total, count in zip(ids.tolist(), sums.tolist(), counts.tolist(), strict=True)
        if not np.isnan(total)
    }


def _twice(jobs: Sequence[JobRow]) -> Iterable[Contradiction]:
    keys = Counter((job.label, job.profile_hash, tuple(sorted(job.retuned.items()))) for job in jobs)
    return [
        Contradiction(where=key[0], what=f"is there {count} times; each counts as a run of its own")
        for key, count in keys.items()
        if count > 1
    ]


def _of_job(job: JobRow, spent: _Spent | None) -> Iterable[str]:
    if job.started_at and job.ended_at and job.ended_at < job.started_at:
        yield f"ended at {job.ended_at:%Y-%m-%d %H:%M:%S}, before it started at {job.started_at:%Y-%m-%d %H:%M:%S}"
    if job.tasks_accepted is not None and job.tasks_planned is not None and job.tasks_accepted > job.tasks_planned:
        yield f"{job.tasks_accepted} tasks accepted of {job.tasks_planned} planned"
    listed, stated = job.cost_usd_micros, job.stated_cost_usd_micros
    if listed and stated and not 1 / _PRICE_FACTOR <= stated / listed <= _PRICE_FACTOR:
        yield f"the agent said ${stated / 1e6:.4g}, at list price it is ${listed / 1e6:.4g}"
    # The job leaves out stages that were undone, so that it may be less than their sum and never more.
    if listed is not None and spent is not None and listed > spent.usd_micros + spent.stages:
        yield f"cost ${listed / 1e6:.4g}, but its stages add up to ${spent.usd_micros / 1e6:.4g}"
