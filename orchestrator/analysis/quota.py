"""What each variant takes from accounts and pools, and how much of its work runs locally."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.measure import Measure, measure, measure_column
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.analysis.stage_groups import groups, owned
from orchestrator.analysis.stage_table import Integers, StageTable
from orchestrator.analysis.variants import Variant, labels, variant_of

LOCAL_PREFIX = "pool:"


@dataclass(frozen=True, kw_only=True)
class ResourceUse:
    """Use of one account or pool by one variant, over all its stages, also those of jobs without a result.

    `resource` is as stored (`account:max`, `pool:gpu`); `requests` are model requests as the gateway counted them.
    """

    label: str
    resource: str
    jobs: int
    stages: int
    requests: Measure
    tokens: Measure
    cached: Measure

    @property
    def local(self) -> bool:
        """Whether it is a pool of local model servers, which costs no quota."""
        return self.resource.startswith(LOCAL_PREFIX)


@dataclass(frozen=True, kw_only=True)
class Offload:
    """Local share (0-1) of a variant's calls and of its tokens; None when unknown or nothing was used."""

    label: str
    calls: float | None
    tokens: float | None


def resource_use(jobs: Sequence[JobRow], stages: Sequence[StageRow]) -> tuple[ResourceUse, ...]:
    """Use per variant and resource, in that order."""
    named = labels(jobs)
    table = StageTable.of(stages)
    whose = owned(table, jobs)
    resources = table.words["resource"]
    used = np.where(resources.where(bool), resources.codes, -1)
    made = [
        _use(table, named[whose.variants[variant]], str(resources.known[code]), places)
        for (variant, code), places in groups(whose.codes, used)
    ]
    order = {label: at for at, label in enumerate(named.values())}
    return tuple(sorted(made, key=lambda use: (order[use.label], use.resource)))


def _use(table: StageTable, label: str, resource: str, places: Integers) -> ResourceUse:
    numbers = table.numbers
    return ResourceUse(
        label=label,
        resource=resource,
        jobs=len(np.unique(table.whole["job_id"][places])),
        stages=len(places),
        requests=measure_column(numbers["requests"][places], counts=True),
        tokens=measure_column(table.total_tokens[places], counts=True),
        cached=measure_column(numbers["cache_read"][places], counts=True),
    )


def offloads(jobs: Sequence[JobRow], use: Sequence[ResourceUse]) -> tuple[Offload, ...]:
    """The local share of each variant."""
    named = labels(jobs)
    groups: dict[Variant, list[JobRow]] = {variant: [] for variant in named}
    for job in jobs:
        if job.attempts:
            groups[variant_of(job)].append(job)
    return tuple(
        Offload(
            label=named[variant],
            calls=_share(measure(job.local_calls for job in group), measure(job.remote_calls for job in group)),
            tokens=_token_share([entry for entry in use if entry.label == named[variant]]),
        )
        for variant, group in groups.items()
    )


def _share(local: Measure, remote: Measure) -> float | None:
    if not (local.complete and remote.complete) or local.total is None or remote.total is None:
        return None
    total = local.total + remote.total
    return local.total / total if total else None


def _token_share(use: Sequence[ResourceUse]) -> float | None:
    if not use or not all(entry.tokens.complete for entry in use):
        return None
    total = sum(entry.tokens.total or 0 for entry in use)
    return sum(entry.tokens.total or 0 for entry in use if entry.local) / total if total else None
