"""When a failed check is run again, what its runs say together, and hidden files as a blob."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.check import Check, CheckStatus, PinnedCheck, Report, ReportFormat, goes_on, verdict
from orchestrator.domain.errors import StorageError
from orchestrator.domain.hidden import HiddenFile, describe, git_name, pack, unpack

P, F, E, N = CheckStatus.PASS, CheckStatus.FAIL, CheckStatus.ERROR, CheckStatus.NOT_RUN


@pytest.mark.parametrize(
    ("flaky", "statuses", "status", "runs", "passed"),
    [
        ("pass", [P], P, 1, 1),
        ("pass", [F, F, F], F, 3, 0),
        ("pass", [F, P], P, 2, 1),
        ("fail", [F, P], F, 2, 1),
        ("pass", [F, E], F, 1, 0),
        ("pass", [E], E, 0, 0),
        ("pass", [N], N, 0, 0),
        ("pass", [], N, 0, 0),
    ],
)
def test_the_verdict_over_all_runs(
    flaky: str, statuses: list[CheckStatus], status: CheckStatus, runs: int, passed: int
) -> None:
    check = PinnedCheck.model_validate({"run": "x", "reruns": 2, "flaky": flaky})
    found = verdict(check, statuses)
    assert (found.status, found.runs, found.passed_runs) == (status, runs, passed)
    assert found.flaky is (0 < passed < runs)


@given(st.integers(0, 10), st.lists(st.sampled_from([P, F, E]), min_size=1, max_size=20))
def test_a_check_is_repeated_while_it_fails_and_only_so_often(reruns: int, ends: list[CheckStatus]) -> None:
    check = PinnedCheck(run="x", reruns=reruns)
    ran: list[CheckStatus] = []
    for end in ends:
        ran.append(end)
        if not goes_on(check, ran):
            break
    assert len(ran) <= reruns + 1
    assert all(end is F for end in ran[:-1])


def test_the_forms_of_a_report() -> None:
    assert Report.model_validate("tap") == Report(format=ReportFormat.TAP)
    assert Report.model_validate({"junit": "out/report.xml"}) == Report(
        format=ReportFormat.JUNIT, file="out/report.xml"
    )
    stored = Check.model_validate({"run": "x", "report": {"junit": "r.xml"}}).model_dump(mode="json")
    assert Check.model_validate(stored).report == Report(format=ReportFormat.JUNIT, file="r.xml")
    for bad in ("xml", {"junit": "/etc/passwd"}, {"junit": "../x"}, {"junit": "a", "tap": "b"}, {}, 3):
        with pytest.raises(ValueError, match=r"report|format|junit|Report|dict"):
            Report.model_validate(bad)


def test_files_belong_to_hidden_checks() -> None:
    assert Check.model_validate({"run": "x", "hidden": True, "files": "one"}).files == ("one",)
    with pytest.raises(ValueError, match="'files' only with 'hidden: true'"):
        Check.model_validate({"run": "x", "files": ["one"]})


FILES = st.lists(
    st.builds(HiddenFile, st.text(min_size=1), st.binary(), st.booleans()), unique_by=lambda item: item.path
)


@given(FILES)
def test_a_pack_is_what_its_name_says(files: list[HiddenFile]) -> None:
    wanted = describe(files)
    assert wanted == describe(files[::-1])
    assert unpack(wanted, pack(files)) == tuple(sorted(files))
    if files:
        other = [files[0]._replace(content=files[0].content + b"!"), *files[1:]]
        with pytest.raises(StorageError, match="damaged"):
            unpack(wanted, pack(other))


@pytest.mark.parametrize("blob", [b"", b"x", pack([])[:-1], b"x\x9cK\x04\x00\x00b\x00b"])
def test_a_damaged_blob_is_no_pack(blob: bytes) -> None:
    with pytest.raises(StorageError, match="damaged"):
        unpack(describe([HiddenFile("a", b"b")]), blob)


def test_content_has_the_name_that_git_gives_it() -> None:
    assert git_name(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
