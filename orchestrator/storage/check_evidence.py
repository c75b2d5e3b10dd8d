"""Checks, their cases and changes to what judges the work, as the rows that analysis works on.

Of cases that passed before and after only the number is read: they are nearly all of them.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.analysis.rows import CaseRow, ChangeRow, CheckRow, is_flaky
from orchestrator.domain.cases import CaseChange, CaseStatus, change_of
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.tampering import ChangeKind, ChangeStatus
from orchestrator.storage.tables import (
    attempts,
    cells,
    check_cases,
    check_runs,
    checks,
    jobs,
    protected_changes,
    targets,
)

# About a minute of work and 100 MB: no reader looks at more single cases, and the counts are whole all the same.
MAX_CASE_ROWS = 200_000

Mine = sa.Select[tuple[int]]


class CaseEvidence(NamedTuple):
    """Cases that changed or fail; `cut` when there are more. `counts` by job and check."""

    rows: list[CaseRow]
    counts: Mapping[tuple[int, str], Mapping[CaseStatus, int]]
    cut: bool


def _last_attempt() -> sa.ColumnElement[bool]:
    last = sa.select(sa.func.max(attempts.c.number)).where(attempts.c.job_id == jobs.c.id).correlate(jobs)
    return attempts.c.number == last.scalar_subquery()


def check_rows(connection: sa.Connection, mine: Mine, found: CaseEvidence) -> list[CheckRow]:
    """The checks on the final commit of each job's last attempt."""
    mine_targets = sa.select(cells.c.target_id).join(jobs, jobs.c.cell_id == cells.c.id).where(jobs.c.id.in_(mine))
    base = sa.select(checks).where(checks.c.kind == "baseline", checks.c.target_id.in_(mine_targets))
    baseline = {(row.target_id, row.name): row for row in connection.execute(base)}
    runs = _last_runs("final")
    query = (
        sa.select(checks, attempts.c.job_id, runs.c.cases_complete, runs.c.report_fault)
        .join(attempts, attempts.c.id == checks.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .outerjoin(runs, sa.and_(runs.c.attempt_id == checks.c.attempt_id, runs.c.name == checks.c.name))
        .where(attempts.c.job_id.in_(mine), checks.c.kind == "final", _last_attempt())
        .order_by(attempts.c.job_id, checks.c.hidden, checks.c.name)
    )
    return [
        _check_row(row, baseline.get((row.target_id, row.name)), found.counts.get((row.job_id, row.name)))
        for row in connection.execute(query)
    ]


def _check_row(row: Any, base: Any, cases: Mapping[CaseStatus, int] | None) -> CheckRow:
    return CheckRow(
        job_id=row.job_id,
        name=row.name,
        status=CheckStatus(row.status),
        seconds=row.seconds,
        reason=row.reason or "",
        baseline=CheckStatus(base.status) if base is not None else None,
        hidden=row.hidden,
        runs=row.runs,
        passed_runs=row.passed_runs,
        baseline_flaky=base is not None and is_flaky(base.runs, base.passed_runs),
        replaced=tuple(row.replaced or ()),
        cases=cases,
        cases_complete=row.cases_complete,
        report_fault=row.report_fault or "",
    )


def change_rows(connection: sa.Connection, mine: Mine) -> list[ChangeRow]:
    """What the last attempts changed of that which judges them."""
    table = protected_changes
    query = (
        sa.select(table, attempts.c.job_id)
        .join(attempts, attempts.c.id == table.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.job_id.in_(mine), _last_attempt())
        .order_by(attempts.c.job_id, table.c.ordinal)
    )
    return [
        ChangeRow(
            job_id=row.job_id,
            path=row.path,
            kind=ChangeKind(row.kind),
            status=ChangeStatus(row.status),
            counts=row.counts,
            lines_added=row.lines_added,
            lines_removed=row.lines_removed,
            tests_removed=row.tests_removed,
            skips_added=row.skips_added,
            asserts_removed=row.asserts_removed,
        )
        for row in connection.execute(query)
    ]


def case_evidence(connection: sa.Connection, mine: Mine) -> CaseEvidence:
    """The cases of each job's last attempt beside those of its target's untouched base."""
    after, before = _final_cases(mine), _base_cases(mine)
    same = sa.and_(*(after.c[name] == before.c[name] for name in ("target_id", "name", "case_name")))
    both = sa.outerjoin(after, before, same)
    old = before.c.status.label("before")
    keys = (after.c.job_id, after.c.target_id, after.c.name)
    counts: dict[tuple[int, str], dict[CaseStatus, int]] = defaultdict(lambda: dict.fromkeys(CaseStatus, 0))
    matched: dict[tuple[int, int, str], int] = defaultdict(int)
    summed = sa.select(*keys, after.c.status, old, sa.func.count().label("how_many")).select_from(both)
    for row in connection.execute(summed.group_by(*keys, after.c.status, old)):
        counts[row.job_id, row.name][CaseStatus(row.status)] += row.how_many
        matched[row.job_id, row.target_id, row.name] += row.how_many if row.before else 0
    bad = before.c.status.in_([CaseStatus.FAIL, CaseStatus.ERROR])
    query = (
        sa.select(after.c.job_id, after.c.name, after.c.case_name, after.c.status, old)
        .select_from(both)
        .where((after.c.status != CaseStatus.PASS) | bad)
        .order_by(after.c.job_id, after.c.name, after.c.ordinal)
        .limit(MAX_CASE_ROWS + 1)
    )
    rows = []
    for row in connection.execute(query):
        was, now = _status(row.before), CaseStatus(row.status)
        if (change := change_of(was, now)) is not None:
            rows.append(_case_row(row.job_id, row.name, row.case_name, was, now, change))
    rows += _gone(connection, mine, after, before, matched)
    return CaseEvidence(rows[:MAX_CASE_ROWS], counts, len(rows) > MAX_CASE_ROWS)


def _gone(
    connection: sa.Connection,
    mine: Mine,
    after: sa.Subquery,
    before: sa.Subquery,
    matched: Mapping[tuple[int, int, str], int],
) -> list[CaseRow]:
    """Cases of the base that are no longer there, looked for only where fewer met than the base has."""
    base: dict[tuple[int, str], dict[str, CaseStatus]] = defaultdict(dict)
    for row in connection.execute(sa.select(before.c.target_id, before.c.name, before.c.case_name, before.c.status)):
        base[row.target_id, row.name][row.case_name] = CaseStatus(row.status)
    lacking = {key for key, count in matched.items() if count < len(base[key[1:]])}
    if not lacking:
        return []
    names: dict[tuple[int, int, str], set[str]] = defaultdict(set)
    jobs_lacking = sorted({job_id for job_id, _, _ in lacking})
    whole = _complete_jobs(connection, mine)
    query = sa.select(after.c.job_id, after.c.target_id, after.c.name, after.c.case_name).where(
        after.c.job_id.between(jobs_lacking[0], jobs_lacking[-1])
    )
    for row in connection.execute(query):
        key = (row.job_id, row.target_id, row.name)
        if key in lacking:
            names[key].add(row.case_name)
    return [
        _case_row(key[0], key[2], case, was, None, change)
        for key in sorted(lacking)
        if (key[0], key[2]) in whole
        for case, was in base[key[1:]].items()
        if case not in names[key] and (change := change_of(was, None)) is not None
    ]


def _complete_jobs(connection: sa.Connection, mine: Mine) -> set[tuple[int, str]]:
    """Jobs and checks of which every case is listed: elsewhere a missing one may just not be named."""
    runs = _last_runs("final")
    query = (
        sa.select(attempts.c.job_id, runs.c.name)
        .join(attempts, attempts.c.id == runs.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.job_id.in_(mine), _last_attempt(), runs.c.cases_complete)
    )
    return {(row.job_id, row.name) for row in connection.execute(query)}


def _last_runs(kind: str) -> sa.Subquery:
    """The last run of every check: the one whose cases speak."""
    later = check_runs.alias("later")
    last = (
        sa.select(sa.func.max(later.c.run))
        .where(later.c.attempt_id == check_runs.c.attempt_id, later.c.kind == kind, later.c.name == check_runs.c.name)
        .correlate(check_runs)
        .scalar_subquery()
    )
    return sa.select(check_runs).where(check_runs.c.kind == kind, check_runs.c.run == last).subquery()


def _of_last_run(kind: str) -> sa.Join:
    runs = _last_runs(kind)
    same = [check_cases.c[name] == runs.c[name] for name in ("attempt_id", "kind", "name", "run")]
    return sa.join(check_cases, runs, sa.and_(*same))


_COLUMNS = (check_cases.c.name, check_cases.c.case_name, check_cases.c.status, check_cases.c.ordinal)


def _final_cases(mine: Mine) -> sa.Subquery:
    return (
        sa.select(attempts.c.job_id, cells.c.target_id, *_COLUMNS)
        .select_from(_of_last_run("final"))
        .join(attempts, attempts.c.id == check_cases.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .where(attempts.c.job_id.in_(mine), _last_attempt())
        .subquery("after")
    )


def _base_cases(mine: Mine) -> sa.Subquery:
    mine_targets = sa.select(cells.c.target_id).join(jobs, jobs.c.cell_id == cells.c.id).where(jobs.c.id.in_(mine))
    return (
        sa.select(targets.c.id.label("target_id"), *_COLUMNS)
        .select_from(_of_last_run("baseline"))
        .join(targets, targets.c.baseline_attempt_id == check_cases.c.attempt_id)
        .where(targets.c.id.in_(mine_targets))
        .subquery("before")
    )


def _status(value: str | None) -> CaseStatus | None:
    return CaseStatus(value) if value is not None else None


def _case_row(
    job_id: int, check: str, case: str, before: CaseStatus | None, after: CaseStatus | None, change: CaseChange
) -> CaseRow:
    return CaseRow(job_id=job_id, check=check, case=case, before=before, after=after, change=change)
