"""The original's own ranking of its runs, from the summaries as they stand: faults in them are in it too."""

from collections.abc import Sequence

from orchestrator.analysis.legacy import LegacyRun, LegacyScore, legacy_scores
from orchestrator.domain.untyped import count, number
from orchestrator.interop.ralph_ledger import LedgerRun


def legacy_ranking(runs: Sequence[LedgerRun]) -> tuple[LegacyScore, ...]:
    """Every run with a summary that has cost, duration and tasks, best first, labelled `profile run_id`."""
    return legacy_scores([found for run in runs if (found := _legacy(run)) is not None])


def _legacy(run: LedgerRun) -> LegacyRun | None:
    cost, kills = number(run.said("cost")), run.said("kills")
    if cost is None or run.seconds is None or run.completed is None or run.left is None:
        return None
    return LegacyRun(
        label=f"{run.profile} {run.run_id}",
        completed=run.completed,
        total=run.left,
        cost_usd=cost,
        duration_seconds=run.seconds,
        kills=sum(count(kills, kind) or 0 for kind in kills) if isinstance(kills, dict) else 0,
    )
