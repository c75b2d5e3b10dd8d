"""Everything that a report shows, computed once from the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.analysis.advice import DELTA, Advice, advise
from orchestrator.analysis.arms import Certainty, arms, certainty
from orchestrator.analysis.campaign import SecondPart, second_part, second_words
from orchestrator.analysis.cases import (
    CaseSummary,
    ChangeSummary,
    TamperSummary,
    case_summaries,
    change_summaries,
    tamper_summaries,
)
from orchestrator.analysis.draws import MIN_DRAWN, Draws, drawn_by_count, drawn_by_target
from orchestrator.analysis.foretold import Foretold, foretold
from orchestrator.analysis.frontier_odds import (
    Membership,
    Offer,
    cheapest_not_worse,
    frontier_odds,
)
from orchestrator.analysis.judge import group_checks
from orchestrator.analysis.lanes import Night, night
from orchestrator.analysis.legacy import LegacyScore
from orchestrator.analysis.matrix import Cell, CheckSummary, cells, check_summaries
from orchestrator.analysis.memo import Limit, Memo, memo
from orchestrator.analysis.paired import Pair, compare
from orchestrator.analysis.pareto import Frontier, frontier
from orchestrator.analysis.quota import Offload, ResourceUse, offloads, resource_use
from orchestrator.analysis.race_story import RaceStory, race_story, race_words
from orchestrator.analysis.ranking import Ranking, legacy_ranking, rank
from orchestrator.analysis.robustness import Robustness, robustness
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.spread import cost_intervals
from orchestrator.analysis.stage_table import StageTable
from orchestrator.analysis.stages import StageSummary, summarize_stages
from orchestrator.analysis.summary import VariantSummary, summarize
from orchestrator.analysis.tally import Arm, Tally
from orchestrator.analysis.verdict import verdict


@dataclass(frozen=True, kw_only=True)
class Study:
    """The analysis of one experiment. `summaries` come in the order of the ranking, then unranked ones, and last
    those that a race has stopped, or that ran in a second part, which take part in no comparison."""

    evidence: Evidence
    summaries: tuple[VariantSummary, ...]
    ranking: Ranking
    verdict: tuple[str, ...]
    memo: Memo
    certainty: tuple[Certainty, ...]
    pairs: tuple[Pair, ...]
    advice: tuple[Advice, ...]
    frontier: Frontier
    frontier_odds: tuple[Membership, ...]
    robustness: Robustness
    cells: tuple[Cell, ...]
    checks: tuple[CheckSummary, ...]
    cases_changed: tuple[CaseSummary, ...]
    changes: tuple[ChangeSummary, ...]
    tampering: tuple[TamperSummary, ...]
    stages: tuple[StageSummary, ...]
    resources: tuple[ResourceUse, ...]
    offloads: tuple[Offload, ...]
    legacy: tuple[LegacyScore, ...]
    foretold: tuple[Foretold, ...]
    race: RaceStory | None = None
    second: SecondPart | None = None
    night: Night | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The variants' labels in the order of the ranking."""
        return tuple(entry.label for entry in self.summaries)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets by name."""
        return tuple(sorted({job.target for job in self.evidence.jobs}))


def study(evidence: Evidence) -> Study:
    """Analyse the evidence. Pure: the same rows give the same study."""
    evidence = replace(evidence, stages=StageTable.of(evidence.stages))
    checks = group_checks(evidence.checks)
    summaries = summarize(evidence.jobs, checks, evidence.stages)
    by_label = arms(evidence.jobs, checks)
    race = race_story(evidence.race, evidence.jobs)
    second = second_part(evidence.jobs, evidence.then)
    apart = dict.fromkeys(race.out if race else (), Limit.STOPPED)
    apart |= dict.fromkeys(second.labels if second else (), Limit.SECOND_PART)
    stopped = tuple(entry for entry in summaries if entry.label in apart)
    plain = rank([entry for entry in summaries if entry not in stopped])
    ordered = (*(place.summary for place in plain.places), *plain.unranked)
    unnamed = evidence.tasks_unnamed
    pairs = () if unnamed else compare({entry.label: by_label[entry.label] for entry in ordered})
    ranking = rank(ordered, pairs)
    said = verdict((*ordered, *stopped), ranking, by_label, tasks_unnamed=unnamed)
    ranked = [place.summary for place in ranking.places]
    offers = [_offer(entry) for entry in ranked]
    drawn = _drawn(ranked, by_label, unnamed=unnamed)
    choice = cheapest_not_worse(offers, drawn, DELTA) if drawn is not None and len(ranked) > 1 else None
    resources = resource_use(evidence.jobs, evidence.stages)
    return Study(
        evidence=evidence,
        summaries=(*ordered, *stopped),
        ranking=ranking,
        verdict=(said[0], *race_words(race), *second_words(second, evidence.jobs), *said[1:]),
        memo=memo(
            evidence, ordered, ranking, by_label, offers, drawn, [(entry, apart[entry.label]) for entry in stopped]
        ),
        certainty=tuple(
            found
            for entry in ordered
            if (found := certainty(entry.label, by_label[entry.label], tasks_unnamed=unnamed))
        ),
        pairs=pairs,
        advice=advise(ranking, choice),
        frontier=frontier(ordered, cost_intervals(evidence.jobs)),
        frontier_odds=frontier_odds(offers, drawn),
        robustness=robustness(
            evidence, checks, ordered, offers, {entry.label: by_label[entry.label] for entry in ordered}
        ),
        cells=cells(evidence.jobs, checks),
        checks=check_summaries(evidence.jobs, checks),
        cases_changed=case_summaries(evidence.jobs, evidence.cases),
        changes=change_summaries(evidence.jobs, evidence.changes),
        tampering=tamper_summaries(evidence.jobs, evidence.changes),
        stages=summarize_stages(evidence.jobs, evidence.stages),
        resources=resources,
        offloads=offloads(evidence.jobs, resources),
        legacy=legacy_ranking(ordered),
        race=race,
        second=second,
        foretold=foretold(evidence),
        night=night(evidence),
    )


def _drawn(ranked: Sequence[VariantSummary], by_label: Mapping[str, Arm], *, unnamed: bool) -> Draws | None:
    if not unnamed:
        return drawn_by_target({entry.label: by_label[entry.label] for entry in ranked})
    counts = [Tally(entry.solved, entry.results) for entry in ranked]
    return drawn_by_count(counts) if counts and min(count.results for count in counts) >= MIN_DRAWN else None


def _offer(entry: VariantSummary) -> Offer:
    cost = entry.cost_usd_micros
    return Offer(label=entry.label, cost=cost.mean if cost.complete else None, rate=entry.rate)
