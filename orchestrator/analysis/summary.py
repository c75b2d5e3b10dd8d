"""The numbers of one variant: denominators, solved rate with its interval, time, tokens, money, bad ends."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.intervals import Interval, wilson
from orchestrator.analysis.judge import Checks, Standing, end_word, is_judged, is_solved, standing
from orchestrator.analysis.measure import Measure, measure
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.analysis.variants import Variant, labels, variant_of
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage

TOKEN_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")

# Ends that a guard forced: the runs that an unattended night cannot have many of.
GUARD_ENDS = frozenset(
    {
        Outcome.STAGE_TIMEOUT,
        Outcome.WALL_TIMEOUT,
        Outcome.IDLE_TIMEOUT,
        Outcome.TOKEN_LIMIT,
        Outcome.COST_LIMIT,
        Outcome.OUTPUT_LIMIT,
        Outcome.MEMORY_LIMIT,
        Outcome.PROCESS_LIMIT,
        Outcome.DISK_LIMIT,
        Outcome.TURN_LIMIT,
        Outcome.CONTEXT_KILL,
        Outcome.COMPACTION_FAILED,
        Outcome.LOOP_DETECTED,
        Outcome.FAILURE_BREAKER,
    }
)


@dataclass(frozen=True, kw_only=True)
class VariantSummary:
    """One row of the comparison.

    `results` is the denominator of quality, `jobs` of everything submitted. Measures over `results` speak of the
    profile's work; `spent` adds up every stage that ran, also of attempts and jobs that say nothing about quality.
    `prechecks_accepted` is over all builds, 1 where a quick check accepted one and 0 where not.
    """

    variant: Variant
    label: str
    jobs: int
    finished: int
    standings: Mapping[Standing, int]
    results: int
    solved: int
    unjudged: int
    targets: int
    ends: Mapping[str, int]
    guard_ends: int
    wall_seconds: Measure
    working_seconds: Measure
    rate_limit_wait_seconds: Measure
    slot_wait_seconds: Measure
    parked_seconds: Measure
    tokens_total: Measure
    tokens: Mapping[str, Measure]
    hidden_tokens: Measure
    cost_usd_micros: Measure
    stated_cost_usd_micros: Measure
    spent_usd_micros: Measure
    remote_calls: Measure
    local_calls: Measure
    context_peak_fill: Measure
    lines_changed: Measure
    tasks_planned: Measure
    tasks_accepted: Measure
    tasks_at_once: Measure
    prechecks_accepted: Measure
    infra_attempts: int

    @property
    def rate(self) -> float | None:
        """Solved share of the results, 0-1; None without results."""
        return self.solved / self.results if self.results else None

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the rate."""
        return wilson(self.solved, self.results)

    @property
    def sensitivity(self) -> Interval:
        """The rate over all jobs if every job without a result had failed, and if every one had been solved."""
        if not self.jobs:
            return Interval(0.0, 1.0)
        missing = self.jobs - self.results + self.unjudged
        return Interval(self.solved / self.jobs, (self.solved + missing) / self.jobs)

    @property
    def solved_per_remote_call(self) -> float | None:
        """Quota efficiency; None when a call count is unknown or no remote call was made."""
        calls = self.remote_calls
        return self.solved / calls.total if calls.complete and calls.total else None

    @property
    def cost_per_solved_usd_micros(self) -> float | None:
        """Cost of all results over the solved ones; None when a cost is unknown or nothing was solved."""
        cost = self.cost_usd_micros
        if not cost.complete or cost.total is None or not self.solved:
            return None
        return cost.total / self.solved


def summarize(jobs: Sequence[JobRow], checks: Checks, stages: Sequence[StageRow] = ()) -> tuple[VariantSummary, ...]:
    """One summary per variant, in the order of their names."""
    named = labels(jobs)
    groups: dict[Variant, list[JobRow]] = {variant: [] for variant in named}
    owner: dict[int, Variant] = {}
    for job in jobs:
        owner[job.job_id] = variant_of(job)
        groups[owner[job.job_id]].append(job)
    ran: dict[Variant, list[StageRow]] = {variant: [] for variant in named}
    for stage in stages:
        if stage.job_id in owner:
            ran[owner[stage.job_id]].append(stage)
    return tuple(_summary(variant, named[variant], group, checks, ran[variant]) for variant, group in groups.items())


def _summary(
    variant: Variant, label: str, jobs: Sequence[JobRow], checks: Checks, stages: Sequence[StageRow]
) -> VariantSummary:
    standings = Counter(standing(job) for job in jobs)
    results = [job for job in jobs if standing(job) is Standing.RESULT]
    usages = [job.tokens for job in results]
    return VariantSummary(
        variant=variant,
        label=label,
        jobs=len(jobs),
        finished=len(jobs) - standings[Standing.OPEN] - standings[Standing.QUOTA],
        standings={kind: standings[kind] for kind in Standing},
        results=len(results),
        solved=sum(is_solved(job, checks.get(job.job_id, ())) for job in results),
        unjudged=sum(not is_judged(job, checks.get(job.job_id, ())) for job in results),
        targets=len({job.target for job in results}),
        ends=dict(Counter(end_word(job, checks.get(job.job_id, ())) for job in jobs).most_common()),
        guard_ends=sum(job.outcome in GUARD_ENDS for job in results),
        wall_seconds=measure(job.wall_seconds for job in results),
        working_seconds=measure(job.working_seconds for job in results),
        rate_limit_wait_seconds=measure(job.rate_limit_wait_seconds for job in results),
        slot_wait_seconds=measure(job.slot_wait_seconds for job in results),
        parked_seconds=measure(job.parked_seconds for job in results),
        tokens_total=measure(usage.total for usage in usages),
        tokens={kind: measure(_tokens(usage, kind) for usage in usages) for kind in TOKEN_KINDS},
        hidden_tokens=measure(job.hidden_tokens for job in results),
        cost_usd_micros=measure(job.cost_usd_micros for job in results),
        stated_cost_usd_micros=measure(job.stated_cost_usd_micros for job in results),
        spent_usd_micros=measure(stage.cost_usd_micros for stage in stages),
        remote_calls=measure(job.remote_calls for job in results),
        local_calls=measure(job.local_calls for job in results),
        context_peak_fill=measure(job.context_peak_fill for job in results),
        lines_changed=measure(_lines(job) for job in results),
        tasks_planned=measure(job.tasks_planned for job in results),
        tasks_accepted=measure(job.tasks_accepted for job in results),
        tasks_at_once=measure(job.tasks_at_once for job in results),
        prechecks_accepted=measure(stage.precheck_accepted for stage in stages if stage.role == "build"),
        infra_attempts=sum(job.infra_attempts for job in jobs),
    )


def _tokens(usage: TokenUsage, kind: str) -> int | None:
    value = getattr(usage, kind)
    return None if value is None else int(value)


def _lines(job: JobRow) -> int | None:
    if job.lines_added is None or job.lines_removed is None:
        return None
    return job.lines_added + job.lines_removed
