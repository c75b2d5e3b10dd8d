"""The tables of certainty: how sure each rate is, and which profiles the data tell apart."""

from orchestrator.analysis.arms import Certainty
from orchestrator.analysis.frontier_odds import near_ties
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.paired import Pair
from orchestrator.analysis.study import Study
from orchestrator.analysis.verdict import chance
from orchestrator.reports.table import Table
from orchestrator.reports.words import money, share

# Of 25 profiles there are 300 pairs; the JSON report has all of them.
MAX_PAIRS = 60


def certainty(study: Study) -> Table:
    """One row per variant: standard errors, the interval for other targets, and what repeats give."""
    return Table(
        key="certainty",
        title="How sure the rates are",
        columns=(
            "profile",
            "targets",
            "results",
            "solved",
            "± same targets",
            "± other targets",
            "95 %",
            "once",
            "always",
        ),
        rows=tuple(_certain(entry) for entry in study.certainty),
        numeric=frozenset(range(1, 9)),
        note="± is one standard error in points, for new repeats on these targets and for other targets of the "
        "same kind; 95 % is for other targets. Once and always: solved at least once (pass@k) and every time "
        "(pass^k) in as many runs as every target has. – = too few repeats or targets to say.",
    )


def _certain(entry: Certainty) -> tuple[str, ...]:
    most = entry.passes[-1] if len(entry.passes) > 1 else None
    return (
        entry.label,
        str(entry.targets),
        str(entry.results),
        share(entry.errors.rate),
        _points(entry.errors.within),
        _points(entry.errors.clustered) if entry.by_target else "–",
        "–" if entry.by_target is None else f"{100 * entry.by_target.low:.0f}–{100 * entry.by_target.high:.0f}",
        "–" if most is None else f"{share(most.at_least_once)} in {most.k}",
        "–" if most is None else f"{share(most.every_time)} in {most.k}",
    )


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def pairs(study: Study) -> Table:
    """Two profiles a row, the best first."""
    shown = study.pairs[:MAX_PAIRS]
    rest = len(study.pairs) - len(shown)
    return Table(
        key="pairs",
        title="Profiles two by two",
        columns=("first", "second", "common targets", "first : second better", "difference (95 %)", "p", "the data"),
        rows=tuple(_pair(one) for one in shown),
        numeric=frozenset(range(2, 6)),
        note="On targets that both have results on, each counted once. p is exact or by sign flips of targets, with "
        "Holm's correction over all pairs; intervals are those of one pair alone."
        + (f" {rest} more pairs are in the JSON report." if rest else ""),
    )


def _pair(one: Pair) -> tuple[str, ...]:
    bare = (one.first, one.second, str(one.targets), f"{one.first_better} : {one.second_better}")
    if one.difference is None or one.p_corrected is None:
        return (*bare, "–", "–", f"cannot say: {one.refusal}")
    return (*bare, _range(one.difference, one.interval), chance(one.p_corrected)[2:], pair_words(one))


def pair_words(one: Pair) -> str:
    """`a is better`, or that they are not told apart."""
    if not one.apart:
        return "do not tell them apart"
    return f"{one.first if (one.difference or 0.0) > 0 else one.second} is better"


def _range(difference: float, interval: Interval | None) -> str:
    bounds = "" if interval is None else f" ({100 * interval.low:+.0f} to {100 * interval.high:+.0f})"
    return f"{100 * difference:+.0f}{bounds}".replace("-", "−")


def frontier(study: Study) -> Table:
    """Ranked variants of known cost: on the frontier or not, and how often on other targets. Empty below two."""
    found = study.frontier_odds if len(study.frontier_odds) > 1 else ()
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
        note=" ".join(("Resamples draw targets anew; costs are held.", *near_ties(found))),
    )
