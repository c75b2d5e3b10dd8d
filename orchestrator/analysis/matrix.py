"""Targets by variants: what became of the jobs of each cell, and what the checks said before and after."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.analysis.judge import Checks, Standing, end_word, is_solved, standing
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.variants import Variant, labels, variant_of
from orchestrator.domain.check import CheckStatus


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The repeats of one target under one variant, in order."""

    target: str
    label: str
    jobs: tuple[JobRow, ...]
    words: tuple[str, ...]
    results: int
    solved: int

    @property
    def share(self) -> float | None:
        """Solved share of the results; None without results."""
        return self.solved / self.results if self.results else None


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """A check on one target: how it ended after the work, per variant, and on the untouched base.

    `flaky` counts the results, by variant, in which it failed and passed on the same commit.
    """

    target: str
    name: str
    baseline: CheckStatus | None
    by_label: Mapping[str, Mapping[CheckStatus, int]]
    hidden: bool = False
    baseline_flaky: bool = False
    flaky: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed_before(self) -> bool:
        """Whether the untouched base already passes it: passing it later shows only that nothing broke."""
        return self.baseline is CheckStatus.PASS


def cells(jobs: Sequence[JobRow], checks: Checks) -> tuple[Cell, ...]:
    """Every cell that has jobs, by target and variant."""
    named = labels(jobs)
    groups: dict[tuple[str, Variant], list[JobRow]] = {}
    for job in jobs:
        groups.setdefault((job.target, variant_of(job)), []).append(job)
    made = []
    for (target, variant), group in sorted(groups.items()):
        group.sort(key=lambda job: (job.repeat, job.job_id))
        made.append(
            Cell(
                target=target,
                label=named[variant],
                jobs=tuple(group),
                words=tuple(end_word(job, checks.get(job.job_id, ())) for job in group),
                results=sum(standing(job) is Standing.RESULT for job in group),
                solved=sum(is_solved(job, checks.get(job.job_id, ())) for job in group),
            )
        )
    return tuple(made)


def check_summaries(jobs: Sequence[JobRow], checks: Checks) -> tuple[CheckSummary, ...]:
    """Checks of jobs with a result, by target and name. A baseline that differs between jobs counts as unknown."""
    named = labels(jobs)
    counts: dict[tuple[str, str], dict[str, Counter[CheckStatus]]] = {}
    baselines: dict[tuple[str, str], set[CheckStatus | None]] = {}
    flaky: dict[tuple[str, str], Counter[str]] = {}
    marks: dict[tuple[str, str], tuple[bool, bool]] = {}
    for job in jobs:
        if standing(job) is not Standing.RESULT:
            continue
        for check in checks.get(job.job_id, ()):
            key = (job.target, check.name)
            counts.setdefault(key, {}).setdefault(named[variant_of(job)], Counter())[check.status] += 1
            baselines.setdefault(key, set()).add(check.baseline)
            marks[key] = check.hidden, check.baseline_flaky
            if check.flaky:
                flaky.setdefault(key, Counter())[named[variant_of(job)]] += 1
    return tuple(
        CheckSummary(
            target=target,
            name=name,
            baseline=next(iter(found)) if len(found := baselines[(target, name)]) == 1 else None,
            by_label={label: dict(counter) for label, counter in by_label.items()},
            hidden=marks[(target, name)][0],
            baseline_flaky=marks[(target, name)][1],
            flaky=dict(flaky.get((target, name), {})),
        )
        for (target, name), by_label in sorted(counts.items())
    )
