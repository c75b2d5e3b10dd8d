"""Test output as cases: recordings of the real tools, and whatever bytes an agent's code may print."""

import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.cases import MAX_CASES, MAX_NAME, Case, CaseChange, CaseStatus, bounded, change_of
from orchestrator.domain.check import Report, ReportFormat
from workers.cases.reading import Reading, parse, read_cases, recognise
from workers.cases.text import BadReport

RECORDED = Path(__file__).parents[1] / "fixtures" / "test_reports"
LETTERS = {CaseStatus.PASS: ".", CaseStatus.FAIL: "F", CaseStatus.ERROR: "E", CaseStatus.SKIPPED: "s"}

_PYTEST = {
    "test_passes": ".",
    "test_words[a]": ".",
    "test_words[b - c]": "F",
    "test_words[d] - e]": ".",
    "test_words[<x>&'\"]": ".",
    "test_fails": "F",
    "test_skipped": "s",
    "test_expected": "s",
    "test_unexpected": ".",
    "test_setup": "E",
    "test_teardown": "E",
    "TestGroup::test_inner": ".",
}
_VERBOSE = {f"test_shapes.py::{name}": end for name, end in _PYTEST.items()}
_GO = {
    "example.com/shapes.TestForged": ".",  # printed by a test in go's own form: go believes it too
    "example.com/shapes.TestArea": "F",
    "example.com/shapes.TestArea/square": ".",
    "example.com/shapes.TestArea/circle": "F",
    "example.com/shapes.TestSkipped": "s",
    "example.com/shapes.TestFine": ".",
    "example.com/shapes/panics.TestBefore": ".",
    "example.com/shapes/panics.TestPanics": "F",
    "example.com/shapes/quiet.TestQuiet": ".",
}
_UNITTEST_BAD = {
    "test_unit.Broken": "E",
    "test_unit.Shapes.test_breaks": "E",
    "test_unit.Shapes.test_fails": "F",
    "test_unit.Shapes.test_parts (number=1)": "F",
}
_NODE = {
    "adds": ".",
    "fails": "F",
    "skips": "s",
    "later": "s",
    "outer > inner one": ".",
    "outer > inner two": "F",
    "outer": "F",
}
# (format, whether every case is named, name to end)
_WANTED: dict[str, tuple[str, bool, dict[str, str]]] = {
    "pytest_v.txt": ("pytest", True, _VERBOSE),
    "pytest_v_rA.txt": ("pytest", True, _VERBOSE),
    "pytest_xdist.txt": ("pytest", True, _VERBOSE),
    "pytest_rA.txt": (
        "pytest",
        True,
        {name: end for name, end in _VERBOSE.items() if "skipped" not in name} | {"test_shapes.py:19": "s"},
    ),
    "pytest_plain.txt": ("pytest", False, {name: end for name, end in _VERBOSE.items() if end in "FE"}),
    "pytest.xml": (
        "junit",
        True,
        {f"test_shapes::{name}": end for name, end in _PYTEST.items() if "::" not in name}
        | {"test_shapes.TestGroup::test_inner": "."},
    ),
    "node_junit.xml": (
        "junit",
        True,
        {
            "test::adds": ".",
            "test::fails": "F",
            "test::skips": "s",
            "test::later": "s",
            "test::inner one": ".",
            "test::inner two": "F",
        },
    ),
    "go_json.txt": ("go", True, _GO),
    "go_v.txt": ("go", True, _GO | {"example.com/shapes/broken": "E"}),
    "go_plain.txt": (
        "go",
        False,
        {name: end for name, end in _GO.items() if end == "F" or "Forged" in name}
        | {"example.com/shapes/broken": "E"},
    ),
    "unittest_v.txt": (
        "unittest",
        True,
        _UNITTEST_BAD
        | {
            "test_unit.Shapes.test_area": ".",
            "test_unit.Shapes.test_described": ".",
            "test_unit.Shapes.test_expected": "s",
            "test_unit.Shapes.test_noisy": ".",
            "test_unit.Shapes.test_skipped": "s",
            "test_unit.Shapes.test_unexpected": "F",
        },
    ),
    "unittest_plain.txt": ("unittest", False, _UNITTEST_BAD),
    "node_tap.txt": ("tap", True, _NODE),
    "tap_raw.txt": (
        "tap",
        True,
        {"first": ".", "inner > one": ".", "inner > two": "F", "inner": "F", "not yet": "s", "4": "s", "last": "F"},
    ),
    "prove.txt": ("tap", False, {"t/dies.t": "F", "t/good.t": ".", "t/mixed.t": "F", "t/skips.t": "s"}),
    "prove_v.txt": (
        "tap",
        False,
        {
            "t/dies.t > starts": ".",
            "t/dies.t": "E",
            "t/good.t > adds": ".",
            "t/good.t > a # in the name": ".",
            "t/mixed.t > first": ".",
            "t/mixed.t > inner > one": ".",
            "t/mixed.t > inner > two": "F",
            "t/mixed.t > inner": "F",
            "t/mixed.t > not yet": "s",
            "t/mixed.t > 4": "s",
            "t/mixed.t > last": "F",
            "t/skips.t": "s",
        },
    ),
}


def test_every_recording_has_its_expectation() -> None:
    assert {path.name for path in RECORDED.iterdir()} == set(_WANTED)


@pytest.mark.parametrize("name", _WANTED)
def test_a_recording_is_read_case_by_case(name: str) -> None:
    form, complete, ends = _WANTED[name]
    data = (RECORDED / name).read_bytes()
    found = parse(data, ReportFormat(form))
    assert {case.name: LETTERS[case.status] for case in found.cases} == ends
    assert found.complete is complete
    # XML stands in a file that the user names; everything else is told from its look, and from no other's.
    assert recognise(data.decode()) == (None if form == "junit" else ReportFormat(form))


def test_seconds_are_read_where_they_are_told() -> None:
    told = {
        case.name: case.seconds for case in parse((RECORDED / "node_tap.txt").read_bytes(), ReportFormat.TAP).cases
    }
    assert told["adds"] == pytest.approx(0.001112782)
    cases = ('name="a" time="1,234.5"', 'name="b" time="nan"', 'name="c"')
    xml = f"<testsuite>{''.join(f'<testcase {case}/>' for case in cases)}</testsuite>".encode()
    assert [case.seconds for case in parse(xml, ReportFormat.JUNIT).cases] == [1234.5, None, None]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("hello\n", None),
        ("1..2\n", None),
        ("ok 1 - it is ok\n", None),
        ("TAP version 13\n1..1\nok 1\nRan 1 test in 0.001s\n\nOK\n", None),  # two at once
        ("Ran 1 test in 0.001s\n\nOK\n", ReportFormat.UNITTEST),
        ("ok  \texample.com/x\t0.1s\n", ReportFormat.GO),
        ("\x1b[1m1..1\x1b[0m\n\x1b[32mok 1 - coloured\x1b[0m\n", ReportFormat.TAP),
    ],
)
def test_only_the_unmistakable_is_recognised(text: str, form: ReportFormat | None) -> None:
    assert recognise(text) is form


def test_junit_of_other_writers() -> None:
    xml = b"""<?xml version="1.0"?><testsuites><testsuite name="outer"><testsuite name="inner">
        <testcase name="plain"/><testcase name="gone" status="notrun"/><testcase name="off" status="disabled"/>
        <testcase name="odd" classname="c.C"><system-out>&lt;failure/&gt;</system-out><error/><failure/></testcase>
        <testcase name="retried"><rerunFailure/><flakyFailure/></testcase>
        </testsuite></testsuite></testsuites>"""
    assert {case.name: LETTERS[case.status] for case in parse(xml, ReportFormat.JUNIT).cases} == {
        "inner::plain": ".",
        "inner::gone": "s",
        "inner::off": "s",
        "c.C::odd": "E",
        "inner::retried": ".",
    }


_LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (_LAUGHS, "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>', "document type"),
        ("<testsuite>" * 101, "within 100 others"),
        ("<html/>", "begins with <html>"),
        ("<testsuite>", "no well-formed XML"),
        ("", "no well-formed XML"),
        ('<?xml version="1.0" encoding="x-unheard-of"?><testsuite/>', "XML"),
    ],
)
def test_xml_that_is_a_trap_or_no_report_is_refused(xml: str, why: str) -> None:
    with pytest.raises(BadReport, match=re.escape(why)):
        parse(xml.encode(), ReportFormat.JUNIT)


_NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1)
_ENDS = st.sampled_from(list(CaseStatus))
_TAGS = {CaseStatus.FAIL: "<failure/>", CaseStatus.ERROR: "<error/>", CaseStatus.SKIPPED: "<skipped/>"}


def _plain(name: str) -> str:
    """A name as `bounded` keeps it."""
    return bounded([Case(name=name, status=CaseStatus.PASS)]).cases[0].name


@given(st.lists(st.tuples(_NAMES, _ENDS), max_size=20, unique_by=lambda pair: _plain(pair[0])))
def test_what_junit_writes_comes_out_again(cases: list[tuple[str, CaseStatus]]) -> None:
    body = "".join(f"<testcase name={quoteattr(name)}>{_TAGS.get(end, '')}</testcase>" for name, end in cases)
    found = parse(f"<testsuite>{body}</testsuite>".encode(), ReportFormat.JUNIT)
    assert {case.name: case.status for case in found.cases} == {_plain(name): end for name, end in cases}


_WORDS = st.from_regex(r"[A-Za-z][A-Za-z_.:/\[\]() -]{0,30}[A-Za-z]", fullmatch=True)


@given(st.lists(st.tuples(_WORDS, _ENDS), min_size=1, max_size=20, unique_by=lambda pair: _plain(pair[0])))
def test_what_tap_writes_comes_out_again(cases: list[tuple[str, CaseStatus]]) -> None:
    lines = [f"1..{len(cases)}"]
    for number, (name, end) in enumerate(cases, start=1):
        bad = "not " if end in (CaseStatus.FAIL, CaseStatus.ERROR) else ""
        lines.append(f"{bad}ok {number} - {name}" + (" # SKIP why" if end is CaseStatus.SKIPPED else ""))
    found = parse("\n".join(lines).encode(), ReportFormat.TAP)
    assert found.complete
    wanted = {_plain(name): CaseStatus.FAIL if end is CaseStatus.ERROR else end for name, end in cases}
    assert {case.name: case.status for case in found.cases} == wanted


_PIECES = st.sampled_from(
    [
        *(line for path in sorted(RECORDED.glob("*.txt")) for line in path.read_text().split("\n")[:40]),
        "=== RUN ",
        '{"Action":',
        '{"Action":"pass","Package":[],"Test":{}}',
        "  ---",
        "1..99999999999999999999",
        "not ok",
        "Bail out!",
        "x::y PASSED [ 50%]",
        "::" * 200,
        " PASSED (" * 100,
        "1 a1" * 100,
        " (a)" * 100,
    ]
)
_FORMATS = [form for form in ReportFormat if form is not ReportFormat.NONE]


@settings(deadline=None)
@given(st.lists(_PIECES | st.text(max_size=40), max_size=30), st.sampled_from(_FORMATS))
def test_no_output_breaks_a_reader(lines: list[str], form: ReportFormat) -> None:
    data = "\n".join(lines).encode("utf-8", "replace")
    recognise(data.decode())
    try:
        found = parse(data, form)
    except BadReport:
        assert form is ReportFormat.JUNIT
        return
    names = [case.name for case in found.cases]
    assert len(set(names)) == len(names) <= MAX_CASES
    assert all(0 < len(name) <= MAX_NAME + 12 and "\n" not in name for name in names)


@pytest.mark.parametrize(
    "line",
    [
        *("::" * 500_000, " PASSED (" * 100_000, "1 a1" * 250_000, " (a)" * 250_000, "ok " * 300_000),
        *(" PASSED (" * 100_000 + "::", "= FAILURES " + "=" * 500_000 + "x", "9" * 500_000),
    ],
)
def test_a_line_made_to_be_slow_is_read_at_all(line: str) -> None:
    """A pattern that tries every split of such a line would not come back before the suite is given up."""
    for form in _FORMATS:
        for text in (
            line,
            f"test_a (m.C.test_a){line}",
            f"ok 1 -{line}#",
            f"=== 1 failed{line} in 1s",
            f"{line} [ 1%]",
        ):
            recognise(text)
            try:
                parse(text.encode(), form)
            except BadReport:
                assert form is ReportFormat.JUNIT


_LONG = "A" * 300_000


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (ReportFormat.TAP, "    ok 1\n" * 100_000 + f"ok 1 - {_LONG}"),
        (ReportFormat.TAP, f"{_LONG}.t ..\n" + "ok 1 a\nBail out!\n" * 100_000),
        (ReportFormat.TAP, "a.t ..\nFailed 1/1 subtests\n" * 100_000),
        (ReportFormat.GO, "--- PASS: T (0.00s)\n" * 100_000 + f"ok  \t{_LONG}\t1s"),
        (
            ReportFormat.GO,
            "".join(
                f'{{"Action":"fail","Package":"p{number}"}}\n{{"Action":"fail","Package":"q{number}","Test":"T"}}\n'
                for number in range(50_000)
            ),
        ),
        (ReportFormat.JUNIT, f"<testsuite name='{_LONG}'>" + "<testcase/>" * 100_000 + "</testsuite>"),
    ],
)
def test_a_report_made_to_fill_memory_or_time_is_cut(form: ReportFormat, text: str) -> None:
    """What every case repeats, a hundred thousand times, would be more than any machine has."""
    found = parse(text.encode(), form)
    assert (len(found.cases), found.complete) == (MAX_CASES, False)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (ReportFormat.TAP, "1..{}\nok 1 - a\n"),
        (
            ReportFormat.PYTEST,
            "= short test summary info =\nPASSED a::b\nSKIPPED [{}] a.py:1: no\n{} passed in 0.1s\n",
        ),
        (ReportFormat.UNITTEST, "test_a (m.T.test_a) ... ok\nRan {} tests in 0.1s\n\nOK\n"),
    ],
)
def test_a_number_of_thousands_of_digits_is_only_wrong(form: ReportFormat, text: str) -> None:
    found = parse(text.replace("{}", "9" * 5000).encode(), form)
    assert (bool(found.cases), found.complete) == (True, False)


def test_cases_are_bounded_and_their_names_are_their_own() -> None:
    found = bounded(Case(name=f"n{number}", status=CaseStatus.PASS) for number in range(MAX_CASES + 1))
    assert (len(found.cases), found.complete) == (MAX_CASES, False)
    names = ["a", "a #2", "a", "a", " ", "x" * 999]
    kept = bounded(Case(name=name, status=CaseStatus.FAIL) for name in names)
    assert [case.name[:9] for case in kept.cases] == ["a", "a #2", "a #3", "a #4", "(no name)", "x" * 9]
    assert len(kept.cases[-1].name) == MAX_NAME


def test_a_report_is_read_within_the_checkout_only(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "secret.xml"
    tree.mkdir()
    outside.write_text('<testsuite><testcase name="from outside"/></testsuite>')
    (tree / "link.xml").symlink_to(outside)
    (tree / "folder").symlink_to(tmp_path)
    (tree / "sub").mkdir()

    def fault(file: str) -> str | None:
        found = read_cases(Report(format=ReportFormat.JUNIT, file=file), tree, b"", whole=True)
        assert found.cases is None
        return found.fault

    assert fault("link.xml") == "link.xml: cannot be read: Too many levels of symbolic links"
    assert fault("folder/secret.xml") == "folder/secret.xml: cannot be read: Not a directory at 'folder'"
    assert fault("sub") == "sub: is no regular file"
    assert fault("missing.xml") == "missing.xml: cannot be read: No such file or directory"


def test_a_report_can_be_switched_off_and_a_cut_output_is_not_complete(tmp_path: Path) -> None:
    output = (RECORDED / "tap_raw.txt").read_bytes()
    assert read_cases(Report(format=ReportFormat.NONE), tmp_path, output, whole=True) == Reading()
    cut = read_cases(None, tmp_path, output, whole=False)
    assert cut.format is ReportFormat.TAP
    assert cut.cases is not None
    assert not cut.cases.complete


P, F, E, S = CaseStatus.PASS, CaseStatus.FAIL, CaseStatus.ERROR, CaseStatus.SKIPPED


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (F, P, CaseChange.FIXED),
        (E, P, CaseChange.FIXED),
        (P, F, CaseChange.BROKEN),
        (P, E, CaseChange.BROKEN),
        (F, E, CaseChange.STILL_FAILING),
        (None, F, CaseChange.NEW_FAILING),
        (S, F, CaseChange.NEW_FAILING),
        (P, S, CaseChange.SILENCED),
        (F, S, CaseChange.SILENCED),
        (P, None, CaseChange.GONE),
        (E, None, CaseChange.GONE),
        (P, P, None),
        (None, P, None),
        (S, P, None),
        (S, S, None),
        (None, S, None),
        (S, None, None),
    ],
)
def test_what_became_of_a_case(
    before: CaseStatus | None, after: CaseStatus | None, change: CaseChange | None
) -> None:
    assert change_of(before, after) is change
