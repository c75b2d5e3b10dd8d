"""The table of profiles two by two: what is told apart first, equal refusals once, and what was left out counted."""

from collections.abc import Iterable, Sequence

from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.paired import Pair
from orchestrator.analysis.study import Study
from orchestrator.analysis.verdict import chance
from orchestrator.reports.table import Table

# All pairs of 7 profiles. Of more, a reader wants those with the leader.
MAX_PAIRS = 21
_NOTE = (
    "On targets that both have results on, each counted once; better : worse counts those of the first. p is exact "
    "or by sign flips of targets, with Holm's correction over all pairs; intervals are those of one pair alone."
)


def pairs(study: Study, *, everything: bool = False) -> Table:
    """Two profiles a row, the best first; of many, those with the leader. Refusals of one kind share a row."""
    judged = [one for one in study.pairs if one.p_corrected is not None]
    shown = judged if everything or len(judged) <= MAX_PAIRS else _with_leader(study, judged)
    refused = [one for one in study.pairs if one.p_corrected is None]
    return Table(
        key="pairs",
        title="Profiles two by two",
        columns=("first", "second", "targets", "better : worse", "difference (95 %)", "p", "the data"),
        rows=(*(_judged(one) for one in shown), *_refused(refused)),
        numeric=frozenset(range(2, 6)),
        note=_NOTE + _folded(judged, len(shown)),
    )


def _with_leader(study: Study, judged: Sequence[Pair]) -> list[Pair]:
    leader = study.labels[0]
    turned = [one if one.first == leader else one.turned() for one in judged if leader in (one.first, one.second)]
    return turned[:MAX_PAIRS]


def _folded(judged: Sequence[Pair], shown: int) -> str:
    rest = len(judged) - shown
    if not rest:
        return ""
    apart = sum(one.apart for one in judged)
    return (
        f" Of {len(judged):,} pairs {apart:,} are told apart. {rest:,} of them, not with the leader or far behind "
        "it, are folded here: `--all` shows them, and the JSON report has them."
    )


def _judged(one: Pair) -> tuple[str, ...]:
    difference = _range(one.difference or 0.0, one.interval)
    bare = (one.first, one.second, str(one.targets), f"{one.first_better} : {one.second_better}")
    return (*bare, difference, chance(one.p_corrected or 0.0)[2:], pair_words(one))


def _refused(refused: Sequence[Pair]) -> Iterable[tuple[str, ...]]:
    """One row for all pairs that are refused with the same words."""
    groups: dict[str, list[Pair]] = {}
    for one in refused:
        groups.setdefault(one.refusal, []).append(one)
    for refusal, group in groups.items():
        first = group[0]
        better = f"{first.first_better} : {first.second_better}"
        names = (first.first, first.second, str(first.targets), better)
        if len(group) > 1:
            profiles = {name for one in group for name in (one.first, one.second)}
            names = (f"{len(group):,} pairs of {len(profiles)} profiles", "", str(first.targets), "–")
        yield (*names, "–", "–", f"cannot say: {refusal}")


def pair_words(one: Pair) -> str:
    """`a is better`, or that they are not told apart."""
    if not one.apart:
        return "do not tell them apart"
    return f"{one.first if (one.difference or 0.0) > 0 else one.second} is better"


def _range(difference: float, interval: Interval | None) -> str:
    bounds = "" if interval is None else f" ({100 * interval.low:+.0f} to {100 * interval.high:+.0f})"
    return f"{100 * difference:+.0f}{bounds}".replace("-", "−")
