"""The tables of certainty: how sure each rate is, what repeats give, and how sure the frontier is."""

from orchestrator.analysis.arms import Certainty
from orchestrator.analysis.frontier_odds import near_ties
from orchestrator.analysis.study import Study
from orchestrator.reports.table import Table
from orchestrator.reports.words import money, share


def certainty(study: Study) -> Table:
    """One row per variant: three standard errors and the interval for other targets."""
    unnamed = study.evidence.tasks_unnamed
    return Table(
        key="certainty",
        title="How sure the rates are",
        columns=(
            "profile",
            "targets",
            "results",
            "solved",
            "± same",
            "± independent",
            "± other",
            "95 % other",
        ),
        rows=tuple(_certain(entry, unnamed=unnamed) for entry in study.certainty),
        numeric=frozenset(range(1, 8)),
        note=_UNNAMED if unnamed else _ERRORS,
    )


_ERRORS = (
    "± is one standard error in points: for new repeats on the same targets, if every result were a target of its "
    "own, and for other targets of the same kind, which is the one to quote; 95 % is for those, too. – = too few "
    "repeats or targets to say."
)
_UNNAMED = (
    "± is one standard error in points. The source tells how many tasks were solved and not which: each result "
    "is a task of its own, profiles are compared as if their tasks were independent, and nobody can say what repeats "
    "would give."
)


def _certain(entry: Certainty, *, unnamed: bool) -> tuple[str, ...]:
    errors = entry.errors
    return (
        entry.label,
        "–" if unnamed else str(entry.targets),
        str(entry.results),
        f"{100 * errors.rate:.2f} %",
        _points(errors.within),
        _points(errors.independent),
        _points(errors.clustered) if entry.by_target else "–",
        "–" if entry.by_target is None else f"{100 * entry.by_target.low:.0f}–{100 * entry.by_target.high:.0f}",
    )


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def passes(study: Study) -> Table:
    """What repeats give: two rows per variant, a column per number of runs; empty without repeats."""
    found = {entry.label: {one.k: one for one in entry.passes} for entry in study.certainty if len(entry.passes) > 1}
    runs = sorted({k for by_k in found.values() for k in by_k if k in _RUNS or k == max(by_k)})
    rows = []
    for label, by_k in found.items():
        rows.append((label, "once (pass@k)", *(_exact(by_k[k].at_least_once) if k in by_k else "–" for k in runs)))
        rows.append((label, "always (pass^k)", *(_exact(by_k[k].every_time) if k in by_k else "–" for k in runs)))
    return Table(
        key="passes",
        title="What repeats give",
        columns=("profile", "solved in k runs", *(f"k = {k}" for k in runs)),
        rows=tuple(rows),
        numeric=frozenset(range(2, 2 + len(runs))),
        note="Mean percentage of the targets that is solved at least once, and every time, in k runs; both unbiased. "
        "k goes as far as every target has results.",
    )


# Of many repeats, the numbers that people ask for.
_RUNS = frozenset({1, 2, 3, 4, 5, 10, 20, 50, 100})


def _exact(share: float) -> str:
    """Percentages as published: three decimals where there are as many."""
    return f"{100 * share:.3f}".rstrip("0").rstrip(".")


def frontier(study: Study) -> Table:
    """Ranked variants of known cost, the frontier's members first, and how often each is one. Empty below two."""
    found = sorted(study.frontier_odds, key=lambda one: not one.on_frontier) if len(study.frontier_odds) > 1 else ()
    return Table(
        key="frontier",
        title="Cost against quality",
        columns=("profile", "mean cost", "solved", "on the frontier", "in resamples"),
        rows=tuple(
            (
                one.label,
                money(one.cost),
                share(one.rate),
                "yes" if one.on_frontier else "no",
                "–" if one.share is None else share(one.share),
            )
            for one in found
        ),
        numeric=frozenset({1, 2, 4}),
        note=" ".join((_DRAWN[study.evidence.tasks_unnamed], *near_ties(found))),
    )


_DRAWN = {
    False: "Resamples draw targets anew; costs are held.",
    True: "Resamples draw the number of solved tasks of each profile on its own; costs are held.",
}
