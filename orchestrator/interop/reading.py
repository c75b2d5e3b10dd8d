"""What an import read, left out and summed up, and what the file itself says of its sums: the head of its report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.interop import findings as reports
from orchestrator.interop.tally import Tally
from orchestrator.storage.imports import ImportedRun, Stored


@dataclass(kw_only=True)
class Reading:
    """Filled while a file is read. `sums` are of what was read for storing, `stated` what the file says they are.

    `shown` are lines for people and `extra` the same for programs: what can be said of such a file beyond its sums.
    """

    tally: Tally = field(default_factory=Tally)
    rows: int = 0
    left_out: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    stated: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def leave_out(self, kind: str, where: str, found: str, read_as: str = "left out") -> None:
        """Note a row that is not stored, and why."""
        self.left_out += 1
        self.tally.note(kind, where, found, read_as)

    def add(self, counts: Mapping[str, int | None]) -> None:
        """Add to the sums what is known."""
        self.sums.update({name: count for name, count in counts.items() if count is not None})

    def compare(self, where: str) -> None:
        """Note each sum that the file states otherwise."""
        for name, stated in self.stated.items():
            if stated != self.sums[name]:
                found = f"{name} is {stated:,} as the file states it, and {self.sums[name]:,} as the sum of its rows"
                self.tally.note("sum_contradicts", where, found, "the rows")


@dataclass(frozen=True, kw_only=True)
class Log:
    """A file, or several, on the way into an experiment. `runs` may be read but once, and fill the reading."""

    source: str
    runs: Iterable[ImportedRun]
    reading: Reading
    # What can be made of it here, and what cannot.
    use: str


def as_lines(log: Log, experiment: str, stored: Stored) -> list[str]:
    """For people."""
    read = log.reading
    lines = [
        f"{experiment}: {read.rows:,} rows read, {stored.added:,} stored, {stored.known:,} were there already, "
        f"{read.left_out:,} left out."
    ]
    lines += [f"  {name}: {total:,}{_stated(read, name)}" for name, total in read.sums.items()]
    return [*lines, *read.shown, log.use, *reports.as_lines(read.tally.findings())]


def _stated(read: Reading, name: str) -> str:
    return f" (the file says {read.stated[name]:,})" if name in read.stated else ""


def as_json(log: Log, experiment: str, stored: Stored) -> dict[str, Any]:
    """For programs."""
    read = log.reading
    return {
        "experiment": experiment,
        **stored._asdict(),
        "rows": read.rows,
        "left_out": read.left_out,
        "sums": dict(read.sums),
        "stated": read.stated,
        **read.extra,
        "findings": reports.as_json(read.tally.findings()),
    }
