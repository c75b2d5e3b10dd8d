"""Which cases each profile fixes and breaks, who changed tests, and which checks are flaky: from rows to tables."""

from orchestrator.analysis.cases import case_summaries, change_summaries, tamper_summaries
from orchestrator.analysis.rows import CaseRow, ChangeRow, CheckRow, Evidence
from orchestrator.analysis.study import study
from orchestrator.domain.cases import CaseChange, CaseStatus
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.tampering import ChangeKind, ChangeStatus
from orchestrator.reports import tables_checks
from tests.unit.rows_factory import NIGHT, job

LOST = job(4, outcome=Outcome.INFRA_ERROR, state=JobState.FAILED, protected_changes=9, protected_counted=9)
JOBS = [
    job(1, protected_changes=2, protected_counted=1),
    job(2, repeat=2, protected_changes=0, protected_counted=0),
    job(3, profile="opus"),
    LOST,
]
F, P = CaseStatus.FAIL, CaseStatus.PASS


def case(job_id: int, name: str, change: CaseChange) -> CaseRow:
    return CaseRow(job_id=job_id, check="test", case=name, before=F, after=P, change=change)


CASES = [
    case(1, "a", CaseChange.FIXED),
    case(2, "a", CaseChange.FIXED),
    case(3, "a", CaseChange.STILL_FAILING),
    case(3, "z", CaseChange.BROKEN),
    case(4, "lost", CaseChange.BROKEN),
]


def change(job_id: int, path: str, *, counts: bool, tests_removed: int | None = None) -> ChangeRow:
    return ChangeRow(
        job_id=job_id,
        path=path,
        kind=ChangeKind.TEST,
        status=ChangeStatus.MODIFIED if counts else ChangeStatus.ADDED,
        counts=counts,
        tests_removed=tests_removed,
    )


CHANGES = [
    change(1, "tests/old", counts=True, tests_removed=2),
    change(1, "tests/new", counts=False),
    change(4, "tests/old", counts=True, tests_removed=7),
]


def test_cases_are_counted_over_results_with_harm_first() -> None:
    assert [(one.case, one.by_label) for one in case_summaries(JOBS, CASES)] == [
        ("z", {"opus": {CaseChange.BROKEN: 1}}),
        ("a", {"hybrid": {CaseChange.FIXED: 2}, "opus": {CaseChange.STILL_FAILING: 1}}),
    ]


def test_changes_are_counted_over_results_in_which_somebody_looked() -> None:
    assert [(one.path, one.counts, one.by_label) for one in change_summaries(JOBS, CHANGES)] == [
        ("tests/old", True, {"hybrid": 1}),
        ("tests/new", False, {"hybrid": 1}),
    ]
    (one,) = tamper_summaries(JOBS, CHANGES)  # nobody looked at the one of opus
    assert (one.label, one.looked_at, one.with_changes, one.with_counting, one.tests_removed) == (
        "hybrid",
        2,
        1,
        1,
        2,
    )


def test_the_tables_say_it_in_words() -> None:
    checks = tuple(
        CheckRow(job_id=number, name="test", status=CheckStatus.PASS, runs=3, passed_runs=passed, hidden=True)
        for number, passed in ((1, 1), (2, 3), (3, 3))
    )
    found = study(
        Evidence(
            experiment="x",
            generated_at=NIGHT,
            jobs=tuple(JOBS),
            checks=checks,
            cases=tuple(CASES),
            changes=tuple(CHANGES),
        )
    )
    assert found.labels == ("hybrid", "opus")
    assert tables_checks.checks(found).rows == (("shapes-c: test (hidden)", "unknown", "2/2 1f", "1/1"),)
    assert tables_checks.cases(found).rows == (
        ("shapes-c: test: z", "fail", "·", "broken 1"),
        ("shapes-c: test: a", "fail", "fixed 2", "still fails 1"),
    )
    assert tables_checks.tampering(found).rows == (("hybrid", "1/2", "1/2", "2", "0", "0"),)
    assert tables_checks.changes(found).rows == (
        ("shapes-c: tests/old", "test", "changed", "1", "·"),
        ("shapes-c: tests/new", "test", "added (does not count)", "1", "·"),
    )


def test_tables_are_bounded_and_say_so() -> None:
    many = tuple(case(1, f"c{number:03}", CaseChange.FIXED) for number in range(tables_checks.MAX_ROWS + 5))
    found = study(Evidence(experiment="x", generated_at=NIGHT, jobs=(JOBS[0],), cases=many, cases_cut=True))
    table = tables_checks.cases(found)
    assert len(table.rows) == tables_checks.MAX_ROWS
    assert table.note.endswith("5 more are in the JSON report. There are more cases than could be read.")
