"""The table of efficiency: what a remote call brings, and how much work is accepted without a second look."""

from orchestrator.analysis.measure import Measure
from orchestrator.analysis.study import Study
from orchestrator.analysis.summary import VariantSummary
from orchestrator.reports.table import Table
from orchestrator.reports.words import UNKNOWN, share, sum_of


def efficiency(study: Study) -> Table:
    """One row per variant; empty where nothing of it is known."""
    return Table(
        key="efficiency",
        title="Quota efficiency, and work accepted at once",
        columns=(
            "profile",
            "remote calls",
            "solved per 100",
            "tasks accepted",
            "at the first try",
            "precheck accepted",
        ),
        rows=tuple(_row(entry) for entry in study.summaries),
        numeric=frozenset(range(1, 6)),
        note="Remote calls are of the results, solved ones per 100 of them. Tasks are those of plans (loop `tasks`); "
        "accepted at the first try is without a refusal. Precheck: builds of an imported run that a quick check "
        "accepted; those not told may have been, too.",
    )


def _row(entry: VariantSummary) -> tuple[str, ...]:
    per_call = entry.solved_per_remote_call
    return (
        entry.label,
        sum_of(entry.remote_calls, "number"),
        "–" if per_call is None else f"{100 * per_call:.3g}",
        _of(entry.tasks_accepted, entry.tasks_planned),
        _of(entry.tasks_at_once, entry.tasks_planned),
        _told(entry.prechecks_accepted),
    )


def _told(found: Measure) -> str:
    """`2 of 71 (69 not told)`."""
    if found.total is None:
        return UNKNOWN if found.of else "–"
    silent = found.of - found.known
    return f"{found.total:.0f} of {found.of}" + (f" ({silent} not told)" if silent else "")


def _of(part: Measure, whole: Measure) -> str:
    """`12/15 (80 %)`, over the results that have a plan."""
    if not whole.known:
        return "–"
    if part.total is None or not whole.total:
        return UNKNOWN
    return f"{part.total:.0f}/{whole.total:.0f} ({share(part.total / whole.total)})"
