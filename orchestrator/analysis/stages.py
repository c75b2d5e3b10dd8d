"""Where the stages of each variant spend time, tokens and money, and where they fail."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.measure import Measure, measure_column
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.analysis.stage_groups import groups, owned
from orchestrator.analysis.stage_table import Integers, StageTable
from orchestrator.analysis.variants import labels


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """All runs of one stage with one model in one variant. `model` is the one asked for."""

    label: str
    stage: str
    model: str
    count: int
    failures: int
    reasons: Mapping[str, int]
    other_models: tuple[str, ...]
    seconds: Measure
    tokens: Measure
    cost_usd_micros: Measure
    turns: Measure
    context_peak_fill: Measure


def summarize_stages(jobs: Sequence[JobRow], stages: Sequence[StageRow]) -> tuple[StageSummary, ...]:
    """Summaries in the order variant, first appearance of the stage in a run, model."""
    named = labels(jobs)
    table = StageTable.of(stages)
    whose = owned(table, jobs)
    names, models = table.words["stage"], table.words["model_asked"]
    first = _first_seen(table, whose.codes)
    found = list(groups(whose.codes, names.codes.astype(np.int64), models.codes.astype(np.int64)))
    found.sort(key=lambda group: (group.key[0], first[group.key[1]], str(models.known[group.key[2]])))
    columns = _Columns(table)
    return tuple(
        columns.summary(named[whose.variants[variant]], str(names.known[stage]), str(models.known[model]), places)
        for (variant, stage, model), places in found
    )


def _first_seen(table: StageTable, owners: Integers) -> dict[int, tuple[int, int]]:
    """By stage: its lowest number in a run, then the place of its first row."""
    order = table.whole["order"]
    found = {}
    for (stage,), places in groups(np.where(owners >= 0, table.words["stage"].codes, -1)):
        found[stage] = int(order[places].min()), int(places[0])
    return found


class _Columns:
    """What summaries are made of, worked out once for all of them."""

    def __init__(self, table: StageTable) -> None:
        self._table = table
        self._failed, self._seconds, self._tokens, self._fill = (
            table.failed,
            table.seconds,
            table.total_tokens,
            table.fill,
        )

    def summary(self, label: str, stage: str, model: str, places: Integers) -> StageSummary:
        numbers, failed = self._table.numbers, places[self._failed[places]]
        served = self._table.words["model_served"]
        others = {served.known[code] for code in np.unique(served.codes[places])}
        return StageSummary(
            label=label,
            stage=stage,
            model=model,
            count=len(places),
            failures=len(failed),
            reasons=dict(Counter(map(self._reason, failed.tolist())).most_common()),
            other_models=tuple(sorted({name for name in others if name} - {model})),
            seconds=measure_column(self._seconds[places], counts=False),
            tokens=measure_column(self._tokens[places], counts=True),
            cost_usd_micros=measure_column(numbers["cost_usd_micros"][places], counts=True),
            turns=measure_column(numbers["turns"][places], counts=True),
            context_peak_fill=measure_column(self._fill[places], counts=False),
        )

    def _reason(self, place: int) -> str:
        return self._table.words["outcome"].at(place) or self._table.words["kill_reason"].at(place) or ""
