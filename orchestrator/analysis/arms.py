"""The arms of an experiment of ours: which results of which target each variant solved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.analysis.clusters import StandardErrors, clustered_interval, standard_errors
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.judge import Checks, Standing, is_solved, standing
from orchestrator.analysis.passes import Passes, all_passes
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.tally import Arm, Tally, tally
from orchestrator.analysis.variants import labels, variant_of


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """How sure one arm's rate is. `by_target` is its interval for other targets of the same kind, None on too few."""

    label: str
    targets: int
    results: int
    errors: StandardErrors
    by_target: Interval | None
    passes: tuple[Passes, ...]


def arms(jobs: Sequence[JobRow], checks: Checks) -> dict[str, dict[str, Tally]]:
    """The results of each variant by target, under its label; variants without results have no targets."""
    named = labels(jobs)
    found: dict[str, list[tuple[str, bool]]] = {label: [] for label in named.values()}
    for job in jobs:
        if standing(job) is Standing.RESULT:
            found[named[variant_of(job)]].append((job.target, is_solved(job, checks.get(job.job_id, ()))))
    return {label: tally(results) for label, results in found.items()}


def certainty(label: str, arm: Arm, *, tasks_unnamed: bool = False) -> Certainty | None:
    """None without results. Where tasks are unnamed each result is one of its own: there are no repeats."""
    errors = standard_errors(arm)
    if errors is None:
        return None
    return Certainty(
        label=label,
        targets=len(arm),
        results=sum(cell.results for cell in arm.values()),
        errors=replace(errors, within=None, clustered=None) if tasks_unnamed else errors,
        by_target=None if tasks_unnamed else clustered_interval(arm),
        passes=() if tasks_unnamed else all_passes(arm),
    )
