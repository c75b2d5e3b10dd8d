"""From a check's report or output to its cases. A report that cannot be read is said, and changes no verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.cases import Case, Cases, bounded
from orchestrator.domain.check import Report, ReportFormat
from workers.cases.gotest import looks_like_go, parse_go
from workers.cases.junit import parse_junit
from workers.cases.pytest_text import looks_like_pytest, parse_pytest
from workers.cases.tap import looks_like_tap, parse_tap
from workers.cases.text import BadReport, lines_of
from workers.cases.unittest_text import looks_like_unittest, parse_unittest
from workers.worktrees.inside import Outside, read_inside

# A JUnit file of 100,000 cases is about 15 MB.
MAX_REPORT_BYTES = 16 * 1024 * 1024

_PARSERS: dict[ReportFormat, Callable[[str], tuple[list[Case], bool]]] = {
    ReportFormat.PYTEST: parse_pytest,
    ReportFormat.UNITTEST: parse_unittest,
    ReportFormat.GO: parse_go,
    ReportFormat.TAP: parse_tap,
}
_LOOKS: dict[ReportFormat, Callable[[Sequence[str]], bool]] = {
    ReportFormat.PYTEST: looks_like_pytest,
    ReportFormat.UNITTEST: looks_like_unittest,
    ReportFormat.GO: looks_like_go,
    ReportFormat.TAP: looks_like_tap,
}


class Reading(NamedTuple):
    """The cases and their format; None where there are none. `fault` says why a report gave none."""

    cases: Cases | None = None
    format: ReportFormat | None = None
    fault: str | None = None


def recognise(text: str) -> ReportFormat | None:
    """The format of an output; None unless it is exactly one."""
    lines = lines_of(text)
    found = [name for name, looks in _LOOKS.items() if looks(lines)]
    return found[0] if len(found) == 1 else None


def parse(data: bytes, form: ReportFormat, *, whole: bool = True) -> Cases:
    """The cases in `data`, which may be cut (`whole` false). Raises BadReport."""
    if form is ReportFormat.JUNIT:
        return bounded(parse_junit(data), complete=whole)
    cases, complete = _PARSERS[form](data.decode("utf-8", "replace"))
    return bounded(cases, complete=complete and whole)


def read_cases(report: Report | None, tree: Path, output: bytes, *, whole: bool) -> Reading:
    """The cases of one run, from the file that `report` names in `tree` or from the command's output.

    Raises nothing: whatever the agent's code put there is its own doing.
    """
    form = report.format if report else recognise(output.decode("utf-8", "replace"))
    if form is None or form is ReportFormat.NONE:
        return Reading()
    try:
        if report and report.file is not None:
            output = read_inside(tree, report.file, max_bytes=MAX_REPORT_BYTES)
            whole = True
        cases = parse(output, form, whole=whole)
    except (BadReport, Outside, OSError) as error:
        return Reading(format=form, fault=f"{report.file if report and report.file else 'output'}: {error}")
    if not cases.cases:
        return Reading(format=form, fault="no test case in it")
    return Reading(cases=cases, format=form)
