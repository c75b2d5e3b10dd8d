"""The Test Anything Protocol, versions 12 to 14, with subtests; and what `prove` says about each file."""

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.cases import Case, CaseStatus
from workers.cases.text import count_of, lines_of, name_of, seconds_of

_POINT = re.compile(r"( *)(not )?ok(?= |$)(?: +(\d+)(?= |$))?(?: +-(?= |$))?(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)# *(skip|todo)", re.IGNORECASE)
_PLAN = re.compile(r"( *)1\.\.(\d+)(?:\s+#.*)?$")
_FILE = re.compile(r"(\S+\.t) \.{2,} ?(.*)$")
_FAILED = re.compile(r"Failed \d+/\d+ subtests")
_DURATION = re.compile(r" +duration_ms: (\d+(?:\.\d+)?)$")
_FILE_ENDS = {"ok": CaseStatus.PASS, "skipped": CaseStatus.SKIPPED}


def looks_like_tap(lines: Sequence[str]) -> bool:
    """A version, or a plan beside test points; or files in the form of `prove`."""
    if any(re.match(r"TAP version 1[234]$", line) for line in lines):
        return True
    if any((found := _PLAN.match(line)) and not found[1] for line in lines):
        return any((found := _POINT.match(line)) and not found[1] for line in lines)
    return any(_FILE.match(line) for line in lines) and any(line.startswith("Result: ") for line in lines)


def parse_tap(text: str) -> tuple[list[Case], bool]:
    """The test points as `parent > child`, under their file where `prove` names it; and whether none is missing."""
    reader = _Reader()
    for line in lines_of(text):
        reader.read(line)
    return reader.end()


class _Reader:
    """Subtests stand before the point that sums them up, one level deeper."""

    def __init__(self) -> None:
        self._file, self._begun = "", 0  # and how many cases stood before it
        self._waiting: dict[int, list[Case]] = {}
        self._done: list[Case] = []
        self._planned = self._seen = 0
        self._whole = True
        self._yaml = False
        self._last: list[Case] | None = None

    def read(self, line: str) -> None:
        if self._yaml or line.strip() == "---":
            self._diagnostic(line)
        elif self._file and (line.startswith("Dubious, test returned ") or _FAILED.match(line)):
            self._broken()
        elif line.startswith("Bail out!"):
            self._whole = False
            self._done.append(Case(name=name_of("", self._file, "Bail out"), status=CaseStatus.ERROR))
        elif file := _FILE.match(line):
            self._open(file[1], file[2].strip())
        elif plan := _PLAN.match(line):
            self._planned += 0 if plan[1] else count_of(plan[2])
        elif (point := _POINT.match(line)) is not None:
            self._point(point)

    def end(self) -> tuple[list[Case], bool]:
        for depth in sorted(self._waiting):  # subtests whose parent never ended
            self._done += self._waiting[depth]
        return self._done, self._whole and self._planned == self._seen

    def _diagnostic(self, line: str) -> None:
        self._yaml = line.strip() != "..."
        took, last = _DURATION.match(line), self._last
        if took and last and (seconds := seconds_of(took[1])) is not None:
            last[-1] = replace(last[-1], seconds=seconds / 1000)

    def _open(self, name: str, end: str) -> None:
        """A file of its own. Without `-v` its end is all that `prove` tells."""
        self._file, self._begun = name_of(" > ", name, ""), len(self._done)
        if not end:
            return
        self._whole = False
        word = end.split(":")[0].split()[0]
        self._done.append(Case(name=name, status=_FILE_ENDS.get(word, CaseStatus.FAIL)))

    def _broken(self) -> None:
        """`prove` found the file bad: its points say so themselves, or the file stands for them."""
        mine = [case for case in self._done[self._begun :] if case.name.startswith(self._file)]
        name = self._file.removesuffix(" > ")
        if name and not any(case.status is CaseStatus.FAIL or case.name == name for case in mine):
            self._whole = False
            self._done.append(Case(name=name, status=CaseStatus.ERROR if mine else CaseStatus.FAIL))
        self._file = ""

    def _point(self, point: re.Match[str]) -> None:
        if self._file and not (point[3] or point[4].strip()):
            return  # how `prove -v` ends a file
        depth = len(point[1]) // 4
        found = _DIRECTIVE.search(point[4])
        directive = found[1].lower() if found else ""
        text = point[4][: found.start()] if found else point[4]
        name = text.strip().replace("\\#", "#") or point[3] or ""
        status = CaseStatus.FAIL if point[2] else CaseStatus.PASS
        if directive == "skip" or (directive == "todo" and point[2]):
            status = CaseStatus.SKIPPED
        below = self._waiting.pop(depth + 1, [])
        self._seen += depth == 0
        cases = [replace(case, name=name_of(" > ", name, case.name)) for case in below]
        cases.append(Case(name=name, status=status))
        if depth:
            self._last = self._waiting.setdefault(depth, [])
            self._last += cases
        else:
            self._done += [replace(case, name=name_of("", self._file, case.name)) for case in cases]
            self._last = self._done
