"""Targets ranked by what the first part of a campaign measured on them: rows in, order out."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from orchestrator.analysis.judge import Checks, Standing, is_judged, is_solved, standing
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.variants import labels, variant_of
from orchestrator.domain.campaign import End, RankBy, Then
from orchestrator.domain.states import JobState


class RankedTarget(NamedTuple):
    """A target with its value. `chosen`: the second part runs on it. None: nothing was measured."""

    target: str
    value: float | None
    chosen: bool


def rank_targets(jobs: Sequence[JobRow], checks: Checks, rules: Then) -> tuple[RankedTarget, ...]:
    """Every target of the first part, the first ones first; equal ones by name. What has no value is never chosen."""
    by_target: dict[str, list[JobRow]] = {}
    for job in jobs:
        if job.profile not in rules.profiles:
            by_target.setdefault(job.target, []).append(job)
    values = {target: _value(mine, checks, rules.rank_by) for target, mine in by_target.items()}
    sign = -1 if rules.first is End.HIGHEST else 1
    known = sorted((sign * value, target) for target, value in values.items() if value is not None)
    unknown = sorted(target for target, value in values.items() if value is None)
    places = {target: place for place, (_, target) in enumerate(known)}
    return tuple(
        RankedTarget(target, values[target], places.get(target, rules.top) < rules.top)
        for target in [*places, *unknown]
    )


def _value(jobs: Sequence[JobRow], checks: Checks, measure: RankBy) -> float | None:
    results = [job for job in jobs if standing(job) is Standing.RESULT and is_judged(job, checks.get(job.job_id, ()))]
    if measure is RankBy.SOLVED:
        return _mean([_solved(job, checks) for job in results])
    if measure is RankBy.DISAGREEMENT:
        by_profile: dict[str, list[float | None]] = {}
        for job in results:
            by_profile.setdefault(job.profile, []).append(_solved(job, checks))
        shares = [share for found in by_profile.values() if (share := _mean(found)) is not None]
        return max(shares) - min(shares) if len(shares) > 1 else None
    return _mean([_measured(job)[measure] for job in results])


def _solved(job: JobRow, checks: Checks) -> float:
    return float(is_solved(job, checks.get(job.job_id, ())))


def _measured(job: JobRow) -> Mapping[RankBy, float | None]:
    return {RankBy.COST: job.cost_usd_micros, RankBy.TOKENS: job.tokens.total, RankBy.SECONDS: job.working_seconds}


def _mean(values: Sequence[float | None]) -> float | None:
    """None with a part that is unknown: half a sum would rank a target too low."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


class SecondPart(NamedTuple):
    """The second part by the labels of its variants, and the targets on which it was not called off."""

    labels: tuple[str, ...]
    targets: tuple[str, ...]
    rules: Then


def second_part(jobs: Sequence[JobRow], rules: Then | None) -> SecondPart | None:
    """None for an experiment of one part."""
    if rules is None:
        return None
    mine = [job for job in jobs if job.profile in rules.profiles]
    named = labels(jobs)
    return SecondPart(
        labels=tuple(dict.fromkeys(named[variant_of(job)] for job in mine)),
        targets=tuple(sorted({job.target for job in mine if job.state is not JobState.CANCELLED})),
        rules=rules,
    )


def second_words(found: SecondPart | None, jobs: Sequence[JobRow]) -> tuple[str, ...]:
    """Sentences for the verdict."""
    if found is None or not found.labels:
        return ()
    names = " and ".join(found.labels)
    if any(job.state is JobState.BLOCKED for job in jobs):
        return (f"{names} will follow on {found.rules.top} targets when the first part has ended.",)
    targets = len({job.target for job in jobs})
    return (
        f"The second part, {names}, had the {len(found.targets)} of {targets} targets with the {found.rules.first} "
        f"{found.rules.rank_by} in the first. They were chosen by its results, so no profile of the first part is "
        "compared with the second.",
    )


def ranked_words(place: int, of: int, one: RankedTarget, rules: Then) -> str:
    """`target 7 of 12 by tokens, highest first (5300)`."""
    value = "unknown" if one.value is None else f"{one.value:g}"
    return f"target {place} of {of} by {rules.rank_by}, {rules.first} first ({value})"
