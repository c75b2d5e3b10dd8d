"""What each variant takes from accounts and pools, and how much of its work runs locally."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.measure import Measure, measure
from orchestrator.analysis.rows import JobRow, StageRow
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
    owner = {job.job_id: variant_of(job) for job in jobs}
    groups: dict[tuple[Variant, str], list[StageRow]] = {}
    for row in stages:
        if row.job_id in owner and row.resource:
            groups.setdefault((owner[row.job_id], row.resource), []).append(row)
    return tuple(
        ResourceUse(
            label=named[variant],
            resource=resource,
            jobs=len({row.job_id for row in rows}),
            stages=len(rows),
            requests=measure(row.requests for row in rows),
            tokens=measure(row.usage.total for row in rows),
            cached=measure(row.usage.cache_read for row in rows),
        )
        for (variant, resource), rows in sorted(groups.items())
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
