"""Which jobs to run next so that an answer is settled, and what they would cost: the cheapest that would do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from orchestrator.analysis.advice import DELTA
from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.measure import Measure
from orchestrator.analysis.paired import targets_to_tell
from orchestrator.analysis.power import ALPHA, independent_results, spread
from orchestrator.analysis.ranking import MIN_RESULTS, Place, Ranking
from orchestrator.analysis.rows import Evidence, JobRow
from orchestrator.analysis.summary import VariantSummary
from orchestrator.analysis.tally import Arm, judged
from orchestrator.analysis.variants import labels, variant_of

# Beyond so many more targets two profiles are as good as equal, and price decides.
SENSIBLE_TARGETS = 2000


# What runs anyway, and what a race has ended: that comes back only without the race.
_NOT_ASKED = frozenset({Standing.RESULT, Standing.OPEN, Standing.RACED_OUT})


class Step(StrEnum):
    """What a next step is."""

    PRICE = "price"  # a price is missing: no job at all
    FILL = "fill"  # jobs that ended without a result
    RESULTS = "results"  # a profile with too few results to be ranked
    REPEATS = "repeats"  # the same targets again
    TARGETS = "targets"  # more targets


@dataclass(frozen=True, kw_only=True)
class Takes:
    """Money, and time of all jobs one after the other, as the means so far let expect; None is unknown."""

    cost_usd_micros: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class NextJobs:
    """`jobs` to run in all for `profiles`: on the `targets` that are named, else on `more_targets` new ones with
    `repeats` runs each, or so many `repeats` more of every cell.

    `difference` is what they would make detectable, in shares. `futile` says that no sensible number of jobs would.
    """

    step: Step
    profiles: tuple[str, ...]
    jobs: int
    targets: tuple[str, ...] = ()
    more_targets: int | None = None
    repeats: int | None = None
    difference: float | None = None
    takes: Takes = field(default_factory=Takes)
    futile: bool = False


def next_jobs(evidence: Evidence, ranking: Ranking, arms: Mapping[str, Arm]) -> tuple[NextJobs, ...]:
    """What costs nothing first, then by cost; where a cost is unknown, by the number of jobs."""
    near = [place for place in ranking.places[1:] if not place.apart_from_leader]
    settle = [one for place in _rivals(near) for one in _settle(evidence, ranking, place, arms)]
    first = (*_prices(ranking, near), *_fill(evidence, ranking, near), *_few(ranking))
    return (*first, *sorted(settle, key=_cost_order))


def _cost_order(one: NextJobs) -> tuple[bool, bool, float]:
    cost = one.takes.cost_usd_micros
    return one.futile, cost is None, one.jobs if cost is None else cost


def _takes(profiles: Iterable[tuple[VariantSummary, int]]) -> Takes:
    """Cost and time of so many jobs of each."""
    pairs = list(profiles)
    return Takes(
        cost_usd_micros=_sum((entry.cost_usd_micros, count) for entry, count in pairs),
        seconds=_sum((entry.wall_seconds, count) for entry, count in pairs),
    )


def _sum(parts: Iterable[tuple[Measure, int]]) -> float | None:
    found = [found.mean * count if found.complete and found.mean is not None else None for found, count in parts]
    return None if any(one is None for one in found) else sum(one for one in found if one is not None)


def _prices(ranking: Ranking, near: Sequence[Place]) -> Iterable[NextJobs]:
    """Profiles that could be the choice, were their cost known."""
    able = [place.summary for place in (*ranking.places[:1], *near) if place.summary.solved]
    unknown = tuple(entry.label for entry in able if not entry.cost_usd_micros.complete)
    return [NextJobs(step=Step.PRICE, profiles=unknown, jobs=0)] if unknown else []


def _fill(evidence: Evidence, ranking: Ranking, near: Sequence[Place]) -> Iterable[NextJobs]:
    """Jobs of the first and of those that are not told from it that ended without a result."""
    asked = {place.summary.label: place.summary for place in (*ranking.places[:1], *near)}
    asked |= {entry.label: entry for entry in ranking.unranked if not ranking.places}
    named = labels(evidence.jobs)
    missing: dict[str, list[JobRow]] = {}
    for job in evidence.jobs:
        label = named[variant_of(job)]
        if label in asked and standing(job) not in _NOT_ASKED:
            missing.setdefault(label, []).append(job)
    if not missing:
        return []
    every = [job for jobs in missing.values() for job in jobs]
    return [
        NextJobs(
            step=Step.FILL,
            profiles=tuple(missing),
            jobs=len(every),
            targets=tuple(sorted({job.target for job in every})),
            takes=_takes((asked[label], len(jobs)) for label, jobs in missing.items()),
        )
    ]


def _few(ranking: Ranking) -> Iterable[NextJobs]:
    for entry in ranking.unranked:
        if entry.standings[Standing.RACED_OUT]:
            continue
        lacking = MIN_RESULTS - entry.results
        yield NextJobs(step=Step.RESULTS, profiles=(entry.label,), jobs=lacking, takes=_takes([(entry, lacking)]))


def _rivals(near: Sequence[Place]) -> Sequence[Place]:
    """The nearest by rate, and the one that costs least: the two for which the answer matters most."""
    priced = [place for place in near if place.summary.cost_usd_micros.complete]
    cheapest = sorted(priced, key=lambda place: place.summary.cost_usd_micros.mean or 0.0)[:1]
    return [*near[:1], *(place for place in cheapest if place is not near[0])]


def _settle(evidence: Evidence, ranking: Ranking, place: Place, arms: Mapping[str, Arm]) -> Iterable[NextJobs]:
    leader, rival = ranking.places[0].summary, place.summary
    alpha = ALPHA / max(1, len(ranking.places) - 1)
    if evidence.tasks_unnamed:
        return [_independent(leader, rival, alpha)]
    one, other = judged(arms[leader.label]), judged(arms[rival.label])
    common = len(one.keys() & other.keys())
    seen = spread(one, other)
    pair = place.pair
    compared = (pair.compared if pair else None) or 1
    repeats = max(1, round(seen.repeats)) if seen else 1
    least = targets_to_tell(compared) - common
    if seen is None or least > 0:
        return [_targets(leader, rival, max(1, least), repeats, None)]
    observed = abs(pair.difference) if pair and pair.difference is not None else 0.0
    wanted = _smallest(observed)
    alpha = ALPHA / compared
    more = max(1, seen.targets_for(wanted, alpha) - common)
    steps = [_targets(leader, rival, more, repeats, wanted)]
    again = seen.repeats_for(wanted, alpha)
    if again is not None and again > repeats:
        steps.append(_again(leader, rival, common, again - repeats, wanted))
    return steps


def _smallest(observed: float) -> float:
    """The difference to look for: the observed one, or where that is next to nothing the smallest that matters."""
    return observed if observed >= DELTA / 5 else DELTA


def _targets(
    leader: VariantSummary, rival: VariantSummary, more: int, repeats: int, difference: float | None
) -> NextJobs:
    each = more * repeats
    return NextJobs(
        step=Step.TARGETS,
        profiles=(leader.label, rival.label),
        jobs=2 * each,
        more_targets=more,
        repeats=repeats,
        difference=difference,
        futile=more > SENSIBLE_TARGETS,
        takes=_takes([(leader, each), (rival, each)]),
    )


def _again(leader: VariantSummary, rival: VariantSummary, targets: int, repeats: int, difference: float) -> NextJobs:
    each = targets * repeats
    return NextJobs(
        step=Step.REPEATS,
        profiles=(leader.label, rival.label),
        jobs=2 * each,
        repeats=repeats,
        difference=difference,
        takes=_takes([(leader, each), (rival, each)]),
    )


def _independent(leader: VariantSummary, rival: VariantSummary, alpha: float) -> NextJobs:
    observed = abs((leader.rate or 0.0) - (rival.rate or 0.0))
    wanted = _smallest(observed)
    needed = independent_results(leader.rate or 0.0, rival.rate or 0.0, wanted, alpha)
    return _targets(leader, rival, max(1, ceil(needed) - min(leader.results, rival.results)), 1, wanted)
