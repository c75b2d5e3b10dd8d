"""The output of Python's unittest: progress lines with `-v`, failures and totals always."""

import re
from collections.abc import Sequence

from orchestrator.domain.cases import Case, CaseStatus
from workers.cases.text import count_of, lines_of

_ENDS = {
    "ok": CaseStatus.PASS,
    "FAIL": CaseStatus.FAIL,
    "ERROR": CaseStatus.ERROR,
    "expected failure": CaseStatus.SKIPPED,
    "unexpected success": CaseStatus.FAIL,
}
_TEST = r"(\w+) \(([\w.<>]+)\)((?: [\[(].*[\])])?)"
_BEGIN = re.compile(rf"\s*{_TEST}(?: \.\.\. (.*))?$")
_DESCRIBED = re.compile(r".* \.\.\. (.*)$")
_BROKEN = re.compile(rf"(FAIL|ERROR): {_TEST}")
_RAN = re.compile(r"Ran (\d+) tests? in \d+\.\d+s$")
_VERDICT = re.compile(r"(OK|FAILED|NO TESTS RAN)(?: \(.*\))?$")


def looks_like_unittest(lines: Sequence[str]) -> bool:
    """Whether its totals are there, with the verdict two lines below."""
    ran = [number for number, line in enumerate(lines) if _RAN.match(line)]
    return any(_VERDICT.match(line) for number in ran for line in lines[number + 1 : number + 3])


def parse_unittest(text: str) -> tuple[list[Case], bool]:
    """The named cases, and whether they are all that ran."""
    lines = lines_of(text)
    found: dict[str, CaseStatus] = {}
    begun: str | None = None
    for line in lines:
        if broken := _BROKEN.match(line):
            found[_name(broken[2], broken[3], broken[4])] = _ENDS[broken[1]]
            begun = None
            continue
        begin = _BEGIN.match(line)
        if begin is not None:
            begun = _name(begin[1], begin[2], begin[3])
        said = begin[4] if begin is not None else _said(line)
        status = _end(said) if begun and said is not None else None
        if begun and status is not None:
            found[begun] = status
            begun = None
    totals = [count_of(ran[1]) for line in lines if (ran := _RAN.match(line))]
    whole = bool(totals) and sum(totals) <= len(found)
    return [Case(name=name, status=status) for name, status in found.items()], whole


def _said(line: str) -> str:
    """The end of a test whose description, or whose own output, came between it and its name."""
    described = _DESCRIBED.match(line)
    return described[1] if described else line


def _end(said: str) -> CaseStatus | None:
    said = said.strip()
    return CaseStatus.SKIPPED if said.startswith("skipped ") else _ENDS.get(said)


def _name(method: str, place: str, rest: str) -> str:
    """`module.Class.method`, as Python from 3.11 on writes it; before, the method was not in the place."""
    whole = place if place.endswith(f".{method}") or method in ("setUpClass", "setUpModule") else f"{place}.{method}"
    return whole + rest
