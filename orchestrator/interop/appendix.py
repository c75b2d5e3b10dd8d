"""What a source says about itself, as tables at the end of a report: the reconcile report and its own pairs."""

from collections.abc import Sequence

from orchestrator.analysis.verdict import chance
from orchestrator.interop.findings import Finding
from orchestrator.interop.published_pairs import PublishedPair
from orchestrator.interop.sources import Foreign
from orchestrator.reports.table import Table


def appendix(read: Foreign) -> tuple[Table, ...]:
    """Both tables; the published pairs only where there are any. Call it when the runs have been read."""
    return (*([_pairs(read.pairs)] if read.pairs else []), _findings(read.findings()))


def _findings(findings: Sequence[Finding]) -> Table:
    rows = [(one.kind.replace("_", " "), one.where, one.found, one.read_as) for one in findings]
    return Table(
        key="reconcile",
        title="Reconcile report: what was unclear in the source",
        columns=("kind", "where", "found", "read as"),
        rows=tuple(rows) or (("nothing", "–", "nothing was unclear", "–"),),
    )


def _pairs(pairs: Sequence[PublishedPair]) -> Table:
    return Table(
        key="published_pairs",
        title="Pairs as the source publishes them",
        columns=("first", "second", "tasks", "first alone", "second alone", "p", "published p", "either solves"),
        rows=tuple(_pair(one) for one in pairs),
        numeric=frozenset(range(2, 8)),
        note="Task by task, which the sums above do not tell. p is McNemar's exact one of these counts, of each pair "
        "alone; “either solves” is what one would have that always chose the right one of the two. – = not told.",
    )


def _pair(one: PublishedPair) -> tuple[str, ...]:
    stated = "–" if one.stated_p is None else chance(one.stated_p)[2:]
    either = "–"
    if one.either is not None and one.tasks:
        either = f"{one.either} ({100 * one.either / one.tasks:.1f} %)"
    return (
        one.first,
        one.second,
        "–" if one.tasks is None else str(one.tasks),
        str(one.first_only),
        str(one.second_only),
        chance(one.p_value)[2:],
        f"{stated} (does not fit the counts)" if one.contradicts else stated,
        either,
    )
