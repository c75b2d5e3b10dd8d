"""Output of `go test`, plain and with `-json`."""

import json
import re
from collections.abc import Iterator, Sequence

from orchestrator.domain.cases import Case, CaseStatus
from workers.cases.text import lines_of, name_of, seconds_of

_ENDS = {"pass": CaseStatus.PASS, "fail": CaseStatus.FAIL, "skip": CaseStatus.SKIPPED}
_TEST = re.compile(r" *--- (PASS|FAIL|SKIP): (\S.*?) \((\d+\.\d+)s\)$")
_PACKAGE = re.compile(r"(?:ok  |FAIL|---|\?   )\t(\S+)(?:\t|$| \[)")
_BROKEN = re.compile(r"FAIL\t(\S+) \[(build failed|setup failed)\]$")


def looks_like_go(lines: Sequence[str]) -> bool:
    """Whether a package's line or an event of the JSON stream is there."""
    return any(_PACKAGE.match(line) for line in lines) or any(True for _ in _events(lines))


def parse_go(text: str) -> tuple[list[Case], bool]:
    """The named cases as `package.Test/sub`, and whether they are all; a package that cannot be built is an error."""
    lines = lines_of(text)
    events = list(_events(lines))
    if events:
        return _from_events(events), True
    return _from_lines(lines), any(line.lstrip().startswith("=== RUN ") for line in lines)


def _events(lines: Sequence[str]) -> Iterator[dict[str, object]]:
    for line in lines:
        if not line.startswith("{") or '"Action"' not in line:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("Package"), str):
            yield event


def _from_events(events: Sequence[dict[str, object]]) -> list[Case]:
    found: dict[str, Case] = {}
    packages: dict[str, str] = {}  # of the cases
    failed: set[str] = set()
    for event in events:
        package, test, action = str(event["Package"]), event.get("Test"), str(event.get("Action"))
        if not isinstance(test, str):
            if action == "fail":
                failed.add(package)
            continue
        name = name_of(".", package, test)
        packages[name] = package
        if action == "run":  # one that never ends was torn down with its package
            found[name] = Case(name=name, status=CaseStatus.ERROR)
        elif action in _ENDS:
            elapsed = event.get("Elapsed")
            seconds = seconds_of(str(elapsed)) if isinstance(elapsed, int | float) else None
            found[name] = Case(name=name, status=_ENDS[action], seconds=seconds)
    bad = {packages[name] for name, case in found.items() if case.status in (CaseStatus.FAIL, CaseStatus.ERROR)}
    for package in sorted(failed - bad):
        found[package] = Case(name=package, status=CaseStatus.ERROR)
    return list(found.values())


def _from_lines(lines: Sequence[str]) -> list[Case]:
    """The tests of a package stand above its line."""
    cases: list[Case] = []
    waiting: list[tuple[str, CaseStatus, float | None]] = []
    for line in lines:
        if test := _TEST.match(line):
            waiting.append((test[2], _ENDS[test[1].lower()], seconds_of(test[3])))
        elif broken := _BROKEN.match(line):
            cases.append(Case(name=broken[1], status=CaseStatus.ERROR))
            waiting = []
        elif package := _PACKAGE.match(line):
            cases += [
                Case(name=name_of(".", package[1], name), status=end, seconds=took) for name, end, took in waiting
            ]
            if line.startswith("FAIL") and not any(end is CaseStatus.FAIL for _, end, _ in waiting):
                cases.append(Case(name=package[1], status=CaseStatus.ERROR))
            waiting = []
    return [*cases, *(Case(name=name, status=status, seconds=seconds) for name, status, seconds in waiting)]
