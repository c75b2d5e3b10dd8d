"""Runs, cases, changes and hidden files in both databases, and what the evidence makes of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.domain.cases import Case, Cases, CaseStatus
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import NotFound, StorageError
from orchestrator.domain.hidden import HiddenFile, describe, pack
from orchestrator.domain.tampering import Change, ChangeKind, ChangeStatus, Weakening
from orchestrator.storage import attempts, submit
from orchestrator.storage.attempts import CheckRecord, CheckRunRecord, Claim
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.hidden import load_hidden
from tests.support.world import COMPLETE, LATER, NOW, POOL, add, start

P, F, E, S = CaseStatus.PASS, CaseStatus.FAIL, CaseStatus.ERROR, CaseStatus.SKIPPED
ENDS = {".": P, "F": F, "E": E, "s": S}


def cases(letters: str, *, complete: bool = True) -> Cases:
    """Cases `a`, `b`, ... with these ends; a blank is a case that is not there."""
    named = zip("abcdefghij", letters, strict=False)
    return Cases(
        cases=tuple(Case(name=name, status=ENDS[end]) for name, end in named if end != " "), complete=complete
    )


def record(kind: str, *runs: Cases | None, status: CheckStatus = CheckStatus.FAIL, passed: int = 0) -> CheckRecord:
    return CheckRecord(
        kind=kind,
        name="test",
        status=status,
        exit_code=1,
        seconds=1.0,
        reason=None,
        log_sha256="0" * 64,
        runs=len(runs),
        passed_runs=passed,
        replaced=("tests/x",),
        all_runs=tuple(CheckRunRecord(status=status, case_format="tap", cases=found) for found in runs),
    )


def finish(database: Database, claim: Claim, records: Sequence[CheckRecord], changes: Sequence[Change] = ()) -> None:
    result = replace(
        COMPLETE, checks=records, changes=changes, protected_changes=len(changes), protected_counted=len(changes)
    )
    attempts.finish(database, claim.attempt_id, result, NOW)


def test_cases_are_told_beside_the_base_and_the_last_run_speaks(database: Database) -> None:
    add(database, [POOL] * 3, capacities={POOL: 3})
    first, second, third = start(database)
    assert attempts.claim_baseline(database, 1, first.attempt_id)
    lucky = record("final", cases("FFFFF"), cases("..F s F"), status=CheckStatus.PASS, passed=1)
    finish(database, first, [record("baseline", cases("..EE.F")), lucky])
    finish(database, second, [record("final", cases(".F", complete=False))])
    finish(database, third, [record("final", None)])
    found = load_evidence(database, "demo", LATER)
    told = {(row.job_id, row.case): (row.change.value, row.before, row.after) for row in found.cases}
    assert told == {
        (first.job_id, "c"): ("still_failing", E, F),
        (first.job_id, "d"): ("gone", E, None),
        (first.job_id, "e"): ("silenced", P, S),
        (first.job_id, "f"): ("gone", F, None),
        (first.job_id, "g"): ("new_failing", None, F),
        (second.job_id, "b"): ("broken", P, F),  # and nothing is gone: not every case was named
    }
    assert not found.cases_cut
    by_job = {check.job_id: check for check in found.checks}
    assert by_job[first.job_id].cases == {P: 2, F: 2, E: 0, S: 1}
    assert (by_job[first.job_id].flaky, by_job[first.job_id].runs) == (True, 2)
    assert by_job[first.job_id].replaced == ("tests/x",)
    assert [by_job[claim.job_id].cases_complete for claim in (first, second, third)] == [True, False, None]
    assert by_job[third.job_id].cases is None
    assert load_evidence(database, "demo", LATER, with_cases=False).cases == ()


def test_changes_to_what_judges_come_back_as_they_were(database: Database) -> None:
    add(database, [POOL], capacities={POOL: 1})
    [claim] = start(database)
    change = Change(
        path="tests/a\nb\udcff.py",
        kind=ChangeKind.TEST,
        status=ChangeStatus.DELETED,
        counts=True,
        lines_removed=3,
        weakening=Weakening(tests_removed=2),
    )
    finish(database, claim, [], [change, replace(change, path="x", weakening=None)])
    found = load_evidence(database, "demo", LATER)
    assert [
        (row.path, row.kind, row.status, row.counts, row.lines_added, row.tests_removed) for row in found.changes
    ] == [
        ("tests/a\nb\ufffd.py", ChangeKind.TEST, ChangeStatus.DELETED, True, None, 2),
        ("x", ChangeKind.TEST, ChangeStatus.DELETED, True, None, None),
    ]
    [job] = found.jobs
    assert (job.protected_changes, job.protected_counted) == (2, 2)


def test_hidden_files_are_kept_once_and_verified(database: Database) -> None:
    files = [HiddenFile("a", b"\0\xff" * 1000, True), HiddenFile("b/c", b"")]
    named = describe(files)
    with pytest.raises(NotFound, match="submit the experiment again"):
        load_hidden(database, named)
    one = submit.NewPack(sha256=named.sha256, size_bytes=named.size_bytes, content=pack(files))
    false = submit.NewPack(sha256="f" * 64, size_bytes=1, content=pack(files))
    for name in ("one", "two"):
        submit.store_experiment(
            database,
            name=name,
            file_text="",
            spec={},
            seed=0,
            new_targets=[],
            new_cells=[],
            new_jobs=[],
            now=NOW,
            new_packs=[one, false],
        )
    assert load_hidden(database, named) == tuple(files)
    with pytest.raises(StorageError, match="damaged"):
        load_hidden(database, named.model_copy(update={"sha256": "f" * 64}))
