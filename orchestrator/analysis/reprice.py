"""What past runs would cost at other list prices: from the stored kinds of tokens, with unknown kept unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.measure import Measure, measure
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.analysis.variants import Variant, labels, variant_of
from orchestrator.domain.usage import Prices, TokenUsage, cost_usd_micros

PriceTable = Mapping[str, Prices]


@dataclass(frozen=True, kw_only=True)
class Repriced:
    """Everything a variant spent, as it was priced and as the table prices it, over all stages that ran.

    `difference_usd_micros` is over the stages of which both are known, `compared` of them; None without any.
    `undivided` counts priced stages that do not tell cached tokens: if input has them in it, `after` is too high.
    """

    label: str
    stages: int
    before: Measure
    after: Measure
    compared: int
    difference_usd_micros: int | None
    undivided: int


def unpriced(stages: Sequence[StageRow], table: PriceTable) -> dict[str, int]:
    """Models that the table does not have, by how many stages used tokens of them."""
    missing: dict[str, int] = {}
    for stage in stages:
        if _used(stage.usage) and prices_of(stage, table) is None:
            missing[stage.model_asked] = missing.get(stage.model_asked, 0) + 1
    return missing


def prices_of(stage: StageRow, table: PriceTable) -> Prices | None:
    """By the model that was asked for, else by the one that answered; None for neither."""
    asked = table.get(stage.model_asked)
    return asked if asked is not None else table.get(stage.model_served or "")


def reprice(jobs: Sequence[JobRow], stages: Sequence[StageRow], table: PriceTable) -> tuple[Repriced, ...]:
    """One row for each variant. A stage whose tokens, or a price of one of their kinds, are unknown stays unknown."""
    named = labels(jobs)
    owner = {job.job_id: variant_of(job) for job in jobs}
    groups: dict[Variant, list[StageRow]] = {variant: [] for variant in named}
    for stage in stages:
        groups[owner[stage.job_id]].append(stage)
    return tuple(_repriced(named[variant], group, table) for variant, group in groups.items())


def _repriced(label: str, stages: Sequence[StageRow], table: PriceTable) -> Repriced:
    before = [stage.cost_usd_micros for stage in stages]
    after = [cost_usd_micros(stage.usage, prices_of(stage, table)) for stage in stages]
    both = [(old, new) for old, new in zip(before, after, strict=True) if old is not None and new is not None]
    undivided = [
        stage
        for stage, new in zip(stages, after, strict=True)
        if new is not None and stage.usage.input and stage.usage.cache_read is None
    ]
    return Repriced(
        label=label,
        stages=len(stages),
        before=measure(before),
        after=measure(after),
        compared=len(both),
        difference_usd_micros=sum(new - old for old, new in both) if both else None,
        undivided=len(undivided),
    )


def _used(usage: TokenUsage) -> bool:
    return bool(usage.total)
