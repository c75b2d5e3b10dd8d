"""How far the answer depends on what one may see otherwise: missing jobs, prices, weights, the hour, faulty data."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.contradictions import Contradiction, contradictions
from orchestrator.analysis.drift import Drift, Timed, drift
from orchestrator.analysis.fixed_score import Budget, FixedScore, ScoredArm, first_by_weight, fixed_score
from orchestrator.analysis.frontier_odds import Offer
from orchestrator.analysis.judge import Checks, Standing, is_solved, standing
from orchestrator.analysis.measure import Measure
from orchestrator.analysis.rows import Evidence, JobRow
from orchestrator.analysis.sensitivity import Counted, PriceTurn, Scenario, price_turn, scenarios
from orchestrator.analysis.summary import VariantSummary
from orchestrator.analysis.tally import Arm
from orchestrator.analysis.variants import labels, variant_of


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Ways to count with who is first in each, the corrected score, prices, drift over the night, contradictions.

    `first_by_weight` is the share of weights of money and time with which each profile has the highest score.
    """

    scenarios: tuple[Scenario, ...]
    budget: Budget
    scores: tuple[FixedScore, ...]
    first_by_weight: Mapping[str, float]
    price_turn: PriceTurn | None
    drift: Drift
    contradictions: tuple[Contradiction, ...]


def robustness(
    evidence: Evidence,
    checks: Checks,
    summaries: Sequence[VariantSummary],
    offers: Sequence[Offer],
    arms: Mapping[str, Arm],
) -> Robustness:
    """All of it, from the same rows as the ranking; `offers` and scenarios are of ranked variants alone."""
    ranked = {offer.label for offer in offers}
    budget = Budget()
    scored = [_scored(entry) for entry in summaries if entry.results]
    return Robustness(
        scenarios=scenarios([_counted(entry) for entry in summaries if entry.label in ranked]),
        budget=budget,
        scores=tuple(fixed_score(one, budget) for one in scored),
        first_by_weight=first_by_weight(scored, budget),
        price_turn=price_turn(offers),
        drift=drift(_timed(evidence.jobs, checks, arms)),
        contradictions=contradictions(evidence, arms),
    )


def _counted(entry: VariantSummary) -> Counted:
    # What a race was not to run would have been a larger experiment: nothing is missing.
    whole = (Standing.RESULT, Standing.RACED_OUT)
    missing = {kind.value: count for kind, count in entry.standings.items() if kind not in whole}
    return Counted(label=entry.label, solved=entry.solved, results=entry.results, missing=missing)


def _scored(entry: VariantSummary) -> ScoredArm:
    cost, planned = _mean(entry.cost_usd_micros), entry.jobs - entry.standings[Standing.RACED_OUT]
    return ScoredArm(
        label=entry.label,
        solved=entry.solved,
        planned=planned,
        missing=planned - entry.results,
        cost_usd=None if cost is None else cost / 1e6,
        seconds=_mean(entry.wall_seconds),
    )


def _mean(found: Measure) -> float | None:
    return found.mean if found.complete else None


def _timed(jobs: Sequence[JobRow], checks: Checks, compared: Collection[str]) -> list[Timed]:
    """A stratum is a cell: a night that goes target by target meets easy targets early or late, which is no drift.

    A race stops a profile after bad results, which then are its late ones: those that are out say nothing here.
    """
    named = labels(jobs)
    return [
        Timed(
            f"{named[variant_of(job)]}\0{job.target}",
            job.started_at.timestamp(),
            is_solved(job, checks.get(job.job_id, ())),
        )
        for job in jobs
        if job.started_at is not None and standing(job) is Standing.RESULT and named[variant_of(job)] in compared
    ]
