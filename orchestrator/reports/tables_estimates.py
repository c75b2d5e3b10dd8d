"""The table that holds estimates against what came."""

from orchestrator.analysis.foretold import Fit
from orchestrator.analysis.study import Study
from orchestrator.reports.table import Table


def estimates(study: Study) -> Table:
    """One row per variant, and one per stage of it; empty when nothing was estimated."""
    rows = tuple(
        (
            found.label,
            found.stage or "all",
            f"{found.seconds.compared}/{found.seconds.of}",
            _ratio(found.seconds),
            _inside(found.seconds),
            _ratio(found.tokens),
            _inside(found.tokens),
            *(("–", "–") if found.cost_usd_micros is None else _money(found.cost_usd_micros)),
        )
        for found in study.foretold
        if not found.stage or found.seconds.compared or found.tokens.compared
    )
    return Table(
        key="estimates",
        title="Estimates against what came",
        columns=("profile", "stage", "compared", "time", "inside", "tokens", "inside", "money", "inside"),
        rows=rows,
        numeric=frozenset(range(2, 9)),
        note="Median of what came by what was expected at submit; behind it the ratio of the sums. Inside: of the "
        "intervals that are made for 8 of 10. Compared: results with an expected time. Stages: of jobs that went "
        "through in one attempt.",
    )


def _money(fit: Fit) -> tuple[str, str]:
    return _ratio(fit), _inside(fit)


def _ratio(fit: Fit) -> str:
    if fit.median_ratio is None:
        return "unknown" if fit.total_ratio is None else f"({fit.total_ratio:.2f})"
    return f"{fit.median_ratio:.2f} ({'unknown' if fit.total_ratio is None else f'{fit.total_ratio:.2f}'})"


def _inside(fit: Fit) -> str:
    return f"{fit.inside}/{fit.ranged}" if fit.ranged else "–"
