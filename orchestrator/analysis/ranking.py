"""Who is ahead: by solved rate, then cost, and only where there is enough to say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.analysis.intervals import CONFIDENCE, Interval, difference
from orchestrator.analysis.legacy import LegacyRun, LegacyScore, legacy_scores
from orchestrator.analysis.paired import Pair
from orchestrator.analysis.summary import VariantSummary

# Below this one job moves the rate by a quarter or more, and even a perfect record leaves everything from about 1/2
# upwards possible (95 % Wilson: 4 of 4 from 0.51, 3 of 3 from 0.44).
MIN_RESULTS = 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in the ranking. `lead_over` is the leader's rate minus this one's: on common targets where `pair`, the
    leader against this one, was judged; otherwise as if all results were independent, corrected for their number."""

    rank: int
    summary: VariantSummary
    lead_over: Interval
    pair: Pair | None = None

    @property
    def apart_from_leader(self) -> bool:
        """Whether the data tell this variant from the leader."""
        if self.pair is None or self.pair.difference is None:
            return not self.lead_over.holds(0.0)
        return self.pair.apart and self.pair.difference > 0


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranked variants, best first, and those with too few results to be ranked."""

    places: tuple[Place, ...]
    unranked: tuple[VariantSummary, ...]

    @property
    def leader(self) -> VariantSummary | None:
        """The first of the ranked ones."""
        return self.places[0].summary if self.places else None

    def rank_of(self, label: str) -> int | None:
        """The place of a variant; None when it is not ranked."""
        return next((place.rank for place in self.places if place.summary.label == label), None)


def rank(summaries: Sequence[VariantSummary], pairs: Sequence[Pair] = ()) -> Ranking:
    """Order by solved rate, then by mean cost (a cost that is not fully known comes last), then by name.

    Equal rate and equal cost share a rank. A comparison with the leader is the paired one where it was judged, else
    an independent one at a confidence of 1 - 0.05/(k - 1) for k ranked variants (Bonferroni).
    """
    enough = sorted((entry for entry in summaries if entry.results >= MIN_RESULTS), key=_order)
    few = tuple(sorted((entry for entry in summaries if entry.results < MIN_RESULTS), key=lambda entry: entry.label))
    if not enough:
        return Ranking(places=(), unranked=few)
    leader = enough[0]
    paired = {(pair.first, pair.second): pair for one in pairs for pair in (one, one.turned())}
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(enough) - 1)
    places: list[Place] = []
    for _, tied in groupby(enough, key=lambda entry: _order(entry)[:2]):
        number = len(places) + 1
        for entry in tied:
            pair = paired.get((leader.label, entry.label))
            lead = pair.interval if pair else None
            if lead is None:
                lead = difference((leader.solved, leader.results), (entry.solved, entry.results), confidence)
            places.append(Place(rank=number, summary=entry, lead_over=lead, pair=pair))
    return Ranking(places=tuple(places), unranked=few)


def legacy_ranking(summaries: Sequence[VariantSummary]) -> tuple[LegacyScore, ...]:
    """The old score per variant, with solved results as tasks. A variant with an unknown cost or time has none:
    the old program took unknown as 0, which put such runs first."""
    runs = []
    for entry in summaries:
        cost, time = entry.cost_usd_micros, entry.wall_seconds
        if not cost.complete or not time.complete or cost.total is None or time.total is None:
            continue
        runs.append(
            LegacyRun(
                label=entry.label,
                completed=entry.solved,
                total=entry.results,
                cost_usd=cost.total / 1e6,
                duration_seconds=time.total,
                kills=entry.guard_ends,
            )
        )
    return legacy_scores(runs)


def _order(entry: VariantSummary) -> tuple[float, float, str]:
    cost = entry.cost_usd_micros
    known = cost.mean if cost.complete and cost.mean is not None else float("inf")
    return (-(entry.rate or 0.0), known, entry.label)
