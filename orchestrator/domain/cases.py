"""Test cases: how one ended, and what that says beside the same case on the untouched base."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

# Names come from the agent's code. Both bounds are far above what people read.
MAX_CASES = 2000
MAX_NAME = 300


class CaseStatus(StrEnum):
    """ERROR: it broke outside of the test itself. An expected failure counts as SKIPPED."""

    PASS = "pass"  # noqa: S105 - a status, not a secret
    FAIL = "fail"
    ERROR = "error"
    SKIPPED = "skipped"


class CaseChange(StrEnum):
    """A case after the work beside the same case before it. Nothing is said of cases that passed both times."""

    FIXED = "fixed"  # failed, and passes
    BROKEN = "broken"  # passed, and fails
    STILL_FAILING = "still_failing"
    NEW_FAILING = "new_failing"  # unknown before
    SILENCED = "silenced"  # ran, and is skipped
    GONE = "gone"  # ran, and is no longer there


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test case of one run; `seconds` is None where the report does not say."""

    name: str
    status: CaseStatus
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The cases of one run of a check, each name once. `complete` is false when there were more than are listed."""

    cases: tuple[Case, ...]
    complete: bool = True

    def count(self, status: CaseStatus) -> int:
        """How many of the listed cases ended so."""
        return sum(case.status is status for case in self.cases)


def bounded(found: Iterable[Case], *, complete: bool = True) -> Cases:
    """At most MAX_CASES cases with names of their own: a name that comes again gets a number."""
    seen: Counter[str] = Counter()
    kept: list[Case] = []
    for case in found:
        if len(kept) == MAX_CASES:
            return Cases(cases=tuple(kept), complete=False)
        name = _short(" ".join(case.name.split()) or "(no name)")
        seen[name] += 1
        while seen[name] > 1 and seen[numbered := f"{name} #{seen[name]}"]:
            seen[name] += 1
        if seen[name] > 1:
            name = numbered
            seen[name] += 1
        kept.append(replace(case, name=name))
    return Cases(cases=tuple(kept), complete=complete)


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


_BAD = (CaseStatus.FAIL, CaseStatus.ERROR)


def change_of(before: CaseStatus | None, after: CaseStatus | None) -> CaseChange | None:
    """What became of a case. None (as a status) is a case that is not there."""
    if after is None:
        return CaseChange.GONE if before not in (None, CaseStatus.SKIPPED) else None
    if after is CaseStatus.SKIPPED:
        return CaseChange.SILENCED if before not in (None, CaseStatus.SKIPPED) else None
    if after is CaseStatus.PASS:
        return CaseChange.FIXED if before in _BAD else None
    if before in _BAD:
        return CaseChange.STILL_FAILING
    return CaseChange.BROKEN if before is CaseStatus.PASS else CaseChange.NEW_FAILING
