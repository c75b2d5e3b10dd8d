"""What one needs to decide: who wins under which cost ceiling, what would flip it, and what to run next."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from orchestrator.analysis.advice import DELTA
from orchestrator.analysis.draws import MIN_DRAWN, Draws
from orchestrator.analysis.flips import Flip, fewest_changes
from orchestrator.analysis.frontier_odds import Choice, Offer, cheapest_not_worse, on_frontier
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.judge import Standing
from orchestrator.analysis.next_jobs import NextJobs, next_jobs
from orchestrator.analysis.paired import targets_to_tell
from orchestrator.analysis.ranking import MIN_RESULTS, Ranking
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.summary import VariantSummary
from orchestrator.analysis.tally import Arm, Tally


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Who wins where a job may cost `ceiling_usd_micros` on average; None is any cost, also an unknown one.

    `first` is the share of resamples in which the winner is best among the affordable, ties included; None where
    nothing can be drawn. `choice` is the cheapest that is hardly worse than the winner.
    """

    ceiling_usd_micros: float | None
    winner: str
    rate: float
    interval: Interval
    first: float | None
    choice: Choice | None


class Limit(StrEnum):
    """Why something cannot be concluded."""

    NO_RESULTS = "no_results"
    FEW_RESULTS = "few_results"
    ONE_PROFILE = "one_profile"
    NOTHING_SOLVED = "nothing_solved"
    ALL_SOLVED = "all_solved"
    NO_COST = "no_cost"
    SOME_COST = "some_cost"
    FEW_TARGETS = "few_targets"
    FEW_TO_DRAW = "few_to_draw"
    TASKS_UNNAMED = "tasks_unnamed"
    NOT_APART = "not_apart"
    STOPPED = "stopped"
    SECOND_PART = "second_part"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A profile that takes no part in the decision, or jobs that do not, with the reason in one word.

    `reason` is `few_results`, `cost_unknown`, `stopped` (by the race), `second_part` or the standing of the jobs;
    `count` of `of` results or jobs.
    """

    label: str
    reason: str
    count: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Memo:
    """`missing_flips` are rivals that could be first, were all jobs without a result to go against the winner."""

    winner: str | None
    delta: float
    ladder: tuple[Rung, ...]
    flip: Flip | None
    missing_flips: tuple[str, ...]
    next: tuple[NextJobs, ...]
    left_out: tuple[LeftOut, ...]
    cannot: tuple[Limit, ...]


def memo(
    evidence: Evidence,
    summaries: Sequence[VariantSummary],
    ranking: Ranking,
    arms: Mapping[str, Arm],
    offers: Sequence[Offer],
    drawn: Draws | None,
    apart: Sequence[tuple[VariantSummary, Limit]] = (),
) -> Memo:
    """From what the report has anyway. `offers` and columns of `drawn` are the ranked variants, best first.

    `apart` are variants that are compared with nobody, each with the reason: STOPPED or SECOND_PART.
    """
    leader = ranking.leader if ranking.leader and ranking.leader.solved else None
    rivals = [place.summary for place in ranking.places[1:]]
    return Memo(
        winner=leader.label if leader else None,
        delta=DELTA,
        ladder=_ladder(ranking, offers, drawn) if leader and rivals else (),
        flip=None if leader is None else fewest_changes(_tally(leader), [(one.label, _tally(one)) for one in rivals]),
        missing_flips=_missing_flips(leader, rivals),
        next=next_jobs(evidence, ranking, arms),
        left_out=_left_out(summaries, apart),
        cannot=tuple(_limits(evidence, summaries, ranking, drawn, {reason for _, reason in apart})),
    )


def _tally(entry: VariantSummary) -> Tally:
    return Tally(entry.solved, entry.results)


def _ladder(ranking: Ranking, offers: Sequence[Offer], drawn: Draws | None) -> tuple[Rung, ...]:
    """A rung at each cost at which another profile wins: the members of the frontier. The last has no ceiling."""
    priced = [offer for offer in offers if offer.cost is not None]
    costs = np.array([offer.cost for offer in priced], dtype=np.float64)
    members = on_frontier(costs, np.array([offer.rate for offer in priced], dtype=np.float64))
    ceilings = sorted(
        {offer.cost for offer, member in zip(priced, members, strict=True) if member and offer.cost is not None}
    )
    return tuple(_rung(ceiling, ranking, offers, drawn) for ceiling in (*ceilings, None))


def _rung(ceiling: float | None, ranking: Ranking, offers: Sequence[Offer], drawn: Draws | None) -> Rung:
    able = [
        at for at, offer in enumerate(offers) if ceiling is None or (offer.cost is not None and offer.cost <= ceiling)
    ]
    best = min(able, key=lambda at: (-(offers[at].rate or 0.0), at))
    entry = ranking.places[best].summary
    some = None if drawn is None else Draws(rates=drawn.rates[:, able], units=drawn.units)
    return Rung(
        ceiling_usd_micros=ceiling,
        winner=entry.label,
        rate=entry.rate or 0.0,
        interval=entry.interval,
        first=None if some is None or len(able) < 2 else _first(some, able.index(best)),
        choice=cheapest_not_worse([offers[at] for at in able], some, DELTA) if some and len(able) > 1 else None,
    )


def _first(drawn: Draws, column: int) -> float:
    known = np.nan_to_num(drawn.rates, nan=0.0)
    return drawn.claim(float((known[:, column] >= known.max(axis=1) - 1e-12).mean()))


def _missing_flips(leader: VariantSummary | None, rivals: Sequence[VariantSummary]) -> tuple[str, ...]:
    if leader is None:
        return ()
    worst = leader.sensitivity.low
    complete = not any(entry.jobs - entry.results + entry.unjudged for entry in (leader, *rivals))
    return () if complete else tuple(one.label for one in rivals if one.sensitivity.high > worst)


def _left_out(
    summaries: Sequence[VariantSummary], apart: Sequence[tuple[VariantSummary, Limit]]
) -> tuple[LeftOut, ...]:
    found = [
        LeftOut(label=entry.label, reason=reason.value, count=entry.results, of=entry.jobs) for entry, reason in apart
    ]
    for entry in summaries:
        if entry.results < MIN_RESULTS:
            found.append(LeftOut(label=entry.label, reason="few_results", count=entry.results, of=MIN_RESULTS))
        elif not entry.cost_usd_micros.complete:
            cost = entry.cost_usd_micros
            found.append(LeftOut(label=entry.label, reason="cost_unknown", count=cost.known, of=cost.of))
    for entry in summaries:
        found += [
            LeftOut(label=entry.label, reason=kind.value, count=entry.standings[kind], of=entry.jobs)
            for kind in Standing
            if kind is not Standing.RESULT and entry.standings[kind]
        ]
    return tuple(found)


def _limits(
    evidence: Evidence,
    summaries: Sequence[VariantSummary],
    ranking: Ranking,
    drawn: Draws | None,
    apart: Collection[Limit],
) -> list[Limit]:
    ranked = [place.summary for place in ranking.places]
    if not any(entry.results for entry in summaries):
        return [Limit.NO_RESULTS]
    if not ranked:
        return [Limit.FEW_RESULTS]
    solved, results = sum(one.solved for one in ranked), sum(one.results for one in ranked)
    priced = [one for one in ranked if one.cost_usd_micros.complete]
    targets = max(one.targets for one in ranked)
    near = [place for place in ranking.places[1:] if not place.apart_from_leader]
    alone = len(ranked) == 1
    checks = {
        Limit.ONE_PROFILE: alone and not apart,
        Limit.NOTHING_SOLVED: not solved,
        Limit.ALL_SOLVED: solved == results and not (alone and apart),
        Limit.NO_COST: not priced,
        Limit.SOME_COST: 0 < len(priced) < len(ranked),
        Limit.TASKS_UNNAMED: evidence.tasks_unnamed,
        Limit.FEW_TARGETS: not evidence.tasks_unnamed and targets < targets_to_tell(1),
        Limit.FEW_TO_DRAW: drawn is None and not evidence.tasks_unnamed and targets_to_tell(1) <= targets < MIN_DRAWN,
        Limit.NOT_APART: bool(near) and bool(solved),
        Limit.STOPPED: Limit.STOPPED in apart,
        Limit.SECOND_PART: Limit.SECOND_PART in apart,
    }
    return [limit for limit, holds in checks.items() if holds]
