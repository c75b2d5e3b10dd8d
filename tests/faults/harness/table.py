"""The table at the end: every kind of fault, how often it was done, and what was broken in rounds in which it was."""

from collections import Counter
from collections.abc import Sequence

from tests.faults.harness.rounds import Report

# The first words of a violation, and the column that counts it; any other is counted as `other`.
_COLUMNS = {
    "lost job": "lost jobs",
    "stuck": "lost jobs",
    "gave up": "lost jobs",
    "double run": "double runs",
    "orphan": "orphans",
    "stale result": "stale results",
    "overbooked": "over-concurrency",
}
_NAMES = [*dict.fromkeys(_COLUMNS.values()), "other"]


def table(reports: Sequence[Report], seconds: float) -> str:
    """One line per kind, and the totals. A violation stands in the line of every kind of its round."""
    times, broken = Counter[str](), Counter[tuple[str, str]]()
    totals = Counter[str]()
    for report in reports:
        times.update(report.steps)
        for text in report.violations:
            column = _COLUMNS.get(text.partition(":")[0], "other")
            totals[column] += 1
            broken.update((name, column) for name in set(report.steps))
    width = max(map(len, ["in all", *times]))
    lines = [_line("fault", "times", _NAMES, width)]
    lines += [
        _line(name, str(times[name]), [str(broken[name, column]) for column in _NAMES], width)
        for name in sorted(times)
    ]
    lines.append(_line("in all", str(times.total()), [str(totals[column]) for column in _NAMES], width))
    resumed, stopped = sum(one.resumed for one in reports), sum(one.stopped.total() for one in reports)
    attempts = sum((report.outcomes for report in reports), Counter[str]()).total()
    lines.append(
        f"{len(reports)} rounds, {times.total()} faults, {attempts} attempts ({resumed} resumed), {stopped} openings "
        f"of breakers, {sum(totals.values())} violations, {seconds / 60:.1f} minutes"
    )
    return "\n".join(lines)


def _line(name: str, times: str, cells: Sequence[str], width: int) -> str:
    return "  ".join(
        [f"{name:<{width}}", f"{times:>5}", *(f"{cell:>{len(at)}}" for cell, at in zip(cells, _NAMES, strict=True))]
    )
