"""Which test cases each variant fixes and breaks, and what agents changed of that which judges them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.rows import CaseRow, ChangeRow, JobRow
from orchestrator.analysis.variants import labels, variant_of
from orchestrator.domain.cases import CaseChange, CaseStatus
from orchestrator.domain.tampering import ChangeKind, ChangeStatus

# What a reader wants to see first: harm, then tests that fell silent, then what remains, then what was gained.
_ORDER = (
    CaseChange.BROKEN,
    CaseChange.GONE,
    CaseChange.SILENCED,
    CaseChange.STILL_FAILING,
    CaseChange.NEW_FAILING,
    CaseChange.FIXED,
)


@dataclass(frozen=True, kw_only=True)
class CaseSummary:
    """A case of a target's check: in how many results of each variant it came to which change.

    `before` is its end on the untouched base, None where it is not there.
    """

    target: str
    check: str
    case: str
    before: CaseStatus | None
    by_label: Mapping[str, Mapping[CaseChange, int]]


@dataclass(frozen=True, kw_only=True)
class ChangeSummary:
    """A path that judges the work, and in how many results of each variant it was changed."""

    target: str
    path: str
    kind: ChangeKind
    status: ChangeStatus
    counts: bool
    by_label: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class TamperSummary:
    """The results of a variant in which someone looked, and what was found in how many of them."""

    label: str
    looked_at: int
    with_changes: int
    with_counting: int
    tests_removed: int
    skips_added: int
    asserts_removed: int


def _result_labels(jobs: Sequence[JobRow]) -> dict[int, tuple[str, str]]:
    """Target and label of every job that is a result."""
    named = labels(jobs)
    return {job.job_id: (job.target, named[variant_of(job)]) for job in jobs if standing(job) is Standing.RESULT}


def case_summaries(jobs: Sequence[JobRow], cases: Sequence[CaseRow]) -> tuple[CaseSummary, ...]:
    """The cases of results that changed or fail, the worst change first, then by name."""
    known = _result_labels(jobs)
    counts: dict[tuple[str, str, str], dict[str, Counter[CaseChange]]] = defaultdict(lambda: defaultdict(Counter))
    before: dict[tuple[str, str, str], CaseStatus | None] = {}
    for row in cases:
        if row.job_id in known:
            target, label = known[row.job_id]
            key = (target, row.check, row.case)
            counts[key][label][row.change] += 1
            before[key] = row.before
    made = [
        CaseSummary(
            target=key[0],
            check=key[1],
            case=key[2],
            before=before[key],
            by_label={label: dict(found) for label, found in by_label.items()},
        )
        for key, by_label in counts.items()
    ]
    return tuple(sorted(made, key=lambda one: (_worst(one), one.target, one.check, one.case)))


def _worst(one: CaseSummary) -> int:
    return min(_ORDER.index(change) for found in one.by_label.values() for change in found)


def change_summaries(jobs: Sequence[JobRow], changes: Sequence[ChangeRow]) -> tuple[ChangeSummary, ...]:
    """The changed paths of results, those that count first, then what most results changed."""
    known = _result_labels(jobs)
    counts: dict[tuple[str, str, ChangeKind, ChangeStatus, bool], Counter[str]] = defaultdict(Counter)
    for row in changes:
        if row.job_id in known:
            target, label = known[row.job_id]
            counts[target, row.path, row.kind, row.status, row.counts][label] += 1
    made = [
        ChangeSummary(target=key[0], path=key[1], kind=key[2], status=key[3], counts=key[4], by_label=dict(found))
        for key, found in counts.items()
    ]
    return tuple(sorted(made, key=lambda one: (not one.counts, -sum(one.by_label.values()), one.target, one.path)))


def tamper_summaries(jobs: Sequence[JobRow], changes: Sequence[ChangeRow]) -> tuple[TamperSummary, ...]:
    """One per variant with results in which someone looked; signs are sums over the changes on record."""
    known = _result_labels(jobs)
    looked: dict[str, list[JobRow]] = defaultdict(list)
    for job in jobs:
        if job.job_id in known and job.protected_changes is not None:
            looked[known[job.job_id][1]].append(job)
    signs: dict[str, Counter[str]] = defaultdict(Counter)
    for row in changes:
        if row.job_id in known:
            for name in ("tests_removed", "skips_added", "asserts_removed"):
                signs[known[row.job_id][1]][name] += getattr(row, name) or 0
    return tuple(
        TamperSummary(
            label=label,
            looked_at=len(found),
            with_changes=sum(bool(job.protected_changes) for job in found),
            with_counting=sum(bool(job.protected_counted) for job in found),
            tests_removed=signs[label]["tests_removed"],
            skips_added=signs[label]["skips_added"],
            asserts_removed=signs[label]["asserts_removed"],
        )
        for label, found in sorted(looked.items())
    )
