"""Where the stages of each variant spend time, tokens and money, and where they fail."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.measure import Measure, measure
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.analysis.variants import Variant, labels, variant_of


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
    owner = {job.job_id: variant_of(job) for job in jobs}
    groups: dict[tuple[Variant, str, str], list[StageRow]] = {}
    first: dict[str, tuple[int, int]] = {}
    for row in stages:
        if row.job_id not in owner:
            continue
        groups.setdefault((owner[row.job_id], row.stage, row.model_asked), []).append(row)
        place = (row.order, len(first))
        first[row.stage] = min(first.get(row.stage, place), place)
    ordered = sorted(groups, key=lambda key: (key[0], first[key[1]], key[2]))
    return tuple(_summary(named[key[0]], key[1], key[2], groups[key]) for key in ordered)


def _summary(label: str, stage: str, model: str, rows: Sequence[StageRow]) -> StageSummary:
    reasons = Counter(row.outcome.value if row.outcome else row.kill_reason for row in rows if row.failed)
    served = {row.model_served for row in rows if row.model_served}
    return StageSummary(
        label=label,
        stage=stage,
        model=model,
        count=len(rows),
        failures=sum(row.failed for row in rows),
        reasons=dict(reasons.most_common()),
        other_models=tuple(sorted(served - {model})),
        seconds=measure(row.seconds for row in rows),
        tokens=measure(row.usage.total for row in rows),
        cost_usd_micros=measure(row.cost_usd_micros for row in rows),
        turns=measure(row.turns for row in rows),
        context_peak_fill=measure(_fill(row) for row in rows),
    )


def _fill(row: StageRow) -> float | None:
    if row.context_peak_tokens is None or not row.context_window:
        return None
    return row.context_peak_tokens / row.context_window
