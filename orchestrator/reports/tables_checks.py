"""The tables of correctness: checks, test cases, and what agents changed of that which judges them.

Names of cases and paths come from agents' trees: every form of the report escapes cells, and here they are cut.
"""

from orchestrator.analysis.matrix import CheckSummary
from orchestrator.analysis.study import Study
from orchestrator.domain.cases import CaseChange
from orchestrator.domain.check import CheckStatus
from orchestrator.reports.table import Table
from orchestrator.reports.words import one_line, spaced

# What one can read; the JSON report has the rest.
MAX_ROWS = 60
_NAME_LIMIT = 120

_CHANGES = {
    CaseChange.FIXED: "fixed",
    CaseChange.BROKEN: "broken",
    CaseChange.STILL_FAILING: "still fails",
    CaseChange.NEW_FAILING: "new, fails",
    CaseChange.SILENCED: "skipped now",
    CaseChange.GONE: "gone",
}
_STATUSES = {"A": "added", "M": "changed", "D": "deleted", "T": "link or file swapped"}


def checks(study: Study) -> Table:
    """The correctness matrix: check by variant, passed of run, beside the untouched base."""
    rows = []
    for entry in study.checks:
        cells = [_check_text(entry, label) for label in study.labels]
        base = spaced(entry.baseline.value) if entry.baseline else "unknown"
        hidden = " (hidden)" if entry.hidden else ""
        flaky = ", flaky" if entry.baseline_flaky else ""
        rows.append((f"{entry.target}: {entry.name}{hidden}", base + flaky, *cells))
    return Table(
        key="checks",
        title="Checks on the final commits",
        columns=("check", "untouched base", *study.labels),
        rows=tuple(rows),
        note="Passed of judged; e = no answer (error or not run); f = flaky: failed and passed on one commit. "
        "A check that passes on the untouched base shows only that nothing broke.",
    )


def _check_text(entry: CheckSummary, label: str) -> str:
    counts = entry.by_label.get(label)
    if counts is None:
        return "–"
    passed, failed = counts.get(CheckStatus.PASS, 0), counts.get(CheckStatus.FAIL, 0)
    silent = counts.get(CheckStatus.ERROR, 0) + counts.get(CheckStatus.NOT_RUN, 0)
    flaky = entry.flaky.get(label, 0)
    return f"{passed}/{passed + failed}" + (f" +{silent}e" if silent else "") + (f" {flaky}f" if flaky else "")


def cases(study: Study) -> Table:
    """Test cases that a variant fixed or broke, or that still fail."""
    rows = []
    for entry in study.cases_changed[:MAX_ROWS]:
        cells = [
            ", ".join(f"{_CHANGES[change]} {count}" for change, count in entry.by_label.get(label, {}).items()) or "·"
            for label in study.labels
        ]
        base = entry.before.value if entry.before else "not there"
        rows.append((f"{entry.target}: {entry.check}: {one_line(entry.case, _NAME_LIMIT)}", base, *cells))
    return Table(
        key="cases",
        title="Test cases fixed and broken",
        columns=("case", "untouched base", *study.labels),
        rows=tuple(rows),
        note="In how many results each case came to what; · = passes as before, or nothing is known of it. Names and "
        "ends are told by the repository's and the agent's code; exit codes alone decide."
        + _more(len(study.cases_changed))
        + (" There are more cases than could be read." if study.evidence.cases_cut else ""),
    )


def tampering(study: Study) -> Table:
    """Per variant: in how many results tests, build files or checks were changed. Empty where nobody changed any."""
    rows = tuple(
        (
            entry.label,
            f"{entry.with_counting}/{entry.looked_at}",
            f"{entry.with_changes}/{entry.looked_at}",
            str(entry.tests_removed),
            str(entry.skips_added),
            str(entry.asserts_removed),
        )
        for entry in sorted(study.tampering, key=lambda one: study.labels.index(one.label))
    )
    return Table(
        key="tampering",
        title="Changes to what judges the work",
        columns=("profile", "altered", "altered or added", "fewer tests", "more skips", "fewer asserts"),
        rows=rows if study.changes else (),
        numeric=frozenset(range(1, 6)),
        note="Results that altered, deleted or overrode tests, build files, CI or checks that were there before the "
        "agent, of results looked at. Signs are counted by pattern: a reason to look, not a verdict.",
    )


def changes(study: Study) -> Table:
    """The changed paths themselves."""
    rows = tuple(
        (
            f"{entry.target}: {one_line(entry.path, _NAME_LIMIT)}",
            entry.kind.value,
            _STATUSES[entry.status.value] + ("" if entry.counts else " (does not count)"),
            *(str(entry.by_label.get(label, "·")) for label in study.labels),
        )
        for entry in study.changes[:MAX_ROWS]
    )
    return Table(
        key="changes",
        title="Changed tests, build files and checks",
        columns=("path", "kind", "change", *study.labels),
        rows=rows,
        numeric=frozenset(range(3, len(study.labels) + 3)),
        note="In how many results." + _more(len(study.changes)),
    )


def _more(count: int) -> str:
    return f" {count - MAX_ROWS} more are in the JSON report." if count > MAX_ROWS else ""
