"""pytest's terminal output: verbose progress lines and the short summary (`-v`, `-rA`; by default it names failures).

Only the places are read where pytest itself writes: what tests print is shown between the two.
"""

import re
from collections.abc import Sequence

from orchestrator.domain.cases import Case, CaseStatus
from workers.cases.text import count_of, lines_of

_WORDS = {
    "PASSED": CaseStatus.PASS,
    "XPASS": CaseStatus.PASS,
    "FAILED": CaseStatus.FAIL,
    "ERROR": CaseStatus.ERROR,
    "SKIPPED": CaseStatus.SKIPPED,
    "XFAIL": CaseStatus.SKIPPED,
}
_ANY = "|".join(_WORDS)
_PERCENT = re.compile(r" *\d+%\]$")
_END = re.compile(rf" ({_ANY})(?= \(|$)")
_WORKER = re.compile(rf"\[gw\d+\] \[ *\d+%\] ({_ANY}) (\S.*)$")
_SUMMARY = re.compile(rf"({_ANY}) (.+)$")
_FOLDED = re.compile(r"\[(\d+)\] (.+?:\d+|.+?)(?:: .*)?$")
_HEADER = re.compile(r"=+ (?:FAILURES|ERRORS|PASSES|warnings summary|short test summary info)")
_INFO = re.compile(r"=+ short test summary info =+$")
_TOTALS = re.compile(r"(?:=+ )?(\d+ \w+(?:, \d+ \w+)*) in \d+\.\d+s(?: \([\d:]+\))?(?: =+)?$")
_COUNTED = ("passed", "failed", "error", "errors", "skipped", "xfailed", "xpassed")
_WORST_FIRST = (CaseStatus.ERROR, CaseStatus.FAIL, CaseStatus.SKIPPED, CaseStatus.PASS)


def looks_like_pytest(lines: Sequence[str]) -> bool:
    """Whether pytest's own frame is there."""
    return any(re.fullmatch(r"=+ test session starts =+", line) for line in lines) or (
        any(_INFO.match(line) for line in lines) and any(_TOTALS.match(line) for line in lines)
    )


def parse_pytest(text: str) -> tuple[list[Case], bool]:
    """The named cases, and whether they are all that pytest counted."""
    lines = lines_of(text)
    told = _progress(lines)
    verbose, folded = bool(told), 0
    for word, rest in _summary(lines):
        if word == "SKIPPED" and (place := _FOLDED.match(rest)):
            if not verbose:  # without progress lines only the places of skipped tests are known
                folded += count_of(place[1]) - 1
                told.append((place[2], CaseStatus.SKIPPED))
        else:
            told.append((rest if word == "PASSED" else _node(rest), _WORDS[word]))
    found: dict[str, CaseStatus] = {}
    for name, status in told:
        # A case that passed and whose teardown broke is told, and counted, twice: the worse word stays.
        found[name] = min(status, found.get(name, status), key=_WORST_FIRST.index)
    cases = [Case(name=name, status=status) for name, status in found.items()]
    return cases, _total(lines) == len(set(told)) + folded


def _progress(lines: Sequence[str]) -> list[tuple[str, CaseStatus]]:
    found = []
    for line in lines:
        if line.endswith("=") and _HEADER.match(line):
            break
        if verbose := _verbose(line):
            found.append(verbose)
        elif worker := _WORKER.match(line):
            found.append((worker[2].rstrip(), _WORDS[worker[1]]))
    return found


def _verbose(line: str) -> tuple[str, CaseStatus] | None:
    """`NODE WORD (reason)   [ 50%]`, taken apart from behind."""
    rest, _, percent = line.rpartition("[")
    if not _PERCENT.match(percent) or "::" not in rest:
        return None
    rest = rest.rstrip()
    word = _END.search(rest, rest.index("::"))
    return (rest[: word.start()], _WORDS[word[1]]) if word else None


def _summary(lines: Sequence[str]) -> list[tuple[str, str]]:
    """The lines under the last heading of the summary."""
    start = max((number for number, line in enumerate(lines) if _INFO.match(line)), default=len(lines))
    return [(found[1], found[2]) for line in lines[start:] if (found := _SUMMARY.match(line))]


def _node(rest: str) -> str:
    """The test's name without the message. A dash within the brackets of a parameter belongs to the name."""
    bracket, dash = rest.find("["), rest.find(" - ")
    if 0 <= bracket < dash:
        close = rest.find("] - ", bracket)
        dash = close + 1 if close >= 0 else -1 if rest.endswith("]") else dash
    return rest if dash < 0 else rest[:dash]


def _total(lines: Sequence[str]) -> int | None:
    for line in reversed(lines):
        if found := _TOTALS.match(line):
            words = [part.split() for part in found[1].split(", ") if part]
            return sum(count_of(count) for count, word in words if word in _COUNTED)
    return None
