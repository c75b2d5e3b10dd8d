"""The tables of doubt: what would change who is first, the corrected score, and data that contradict themselves."""

from orchestrator.analysis.drift import Drift
from orchestrator.analysis.robustness import Robustness
from orchestrator.analysis.sensitivity import stable_first
from orchestrator.analysis.study import Study
from orchestrator.analysis.verdict import chance, percent
from orchestrator.reports.table import Table

# The JSON report has all of them.
MAX_CONTRADICTIONS = 50


def robust(study: Study) -> Table:
    """One row per way to look at it; empty with fewer than two ranked profiles."""
    found = study.robustness
    rows = [(f"solved rate, {one.name}", " = ".join(one.first) or "nobody") for one in found.scenarios]
    if len(found.scenarios) > 1:
        rows.append(
            ("however missing jobs are counted", " = ".join(stable_first(found.scenarios)) or "nobody always")
        )
    rows += [("weights of money and time", _weights(found)), ("prices", _prices(found))]
    rows.append(("earlier and later half of the night", _drift(found.drift)))
    return Table(
        key="robust",
        title="What would change the answer",
        columns=("seen so", "first, or what follows"),
        rows=tuple(rows) if len(study.ranking.places) > 1 else (),
        note="Missing jobs ended by infrastructure, wait for quota, are open, cancelled or invalid.",
    )


def _weights(found: Robustness) -> str:
    if not found.first_by_weight:
        return "cannot say: needs two profiles of known cost and time, one of which solved something"
    shares = sorted(found.first_by_weight.items(), key=lambda one: -one[1])
    told = [f"{label} with {percent(share)} of them" for label, share in shares[:3] if share]
    return f"highest corrected score: {', '.join(told)}"


def _prices(found: Robustness) -> str:
    turn = found.price_turn
    if turn is None:
        return "cannot say: fewer than two ranked profiles with known cost solved anything"
    if turn.factor is None:
        return f"{turn.label} costs nothing, so no price list changes that it is cheapest per solved job"
    return f"{turn.label} is cheapest per solved job; at {turn.factor:.2g} times its price {turn.next} would be"


def _drift(found: Drift) -> str:
    if found.p_value is None or found.change is None or found.earlier is None or found.later is None:
        return f"cannot say: {found.refusal}"
    change = f"{100 * found.change:+.0f}".replace("-", "−")
    halves = f"{percent(found.earlier)} solved, then {percent(found.later)}"
    word = "; later jobs fared otherwise" if found.p_value < 0.05 else ""
    return f"{halves}; within cells {change} points, {chance(found.p_value)}{word}"


def scores(study: Study) -> Table:
    """The corrected score of each variant with results."""
    found = study.robustness
    budget = found.budget
    rows = tuple(
        (
            one.label,
            "–" if one.value is None else f"{one.value:.1f}",
            "–" if one.span is None or one.value is None else f"{one.span.high:.1f}",
            percent(found.first_by_weight[one.label]) if one.label in found.first_by_weight else "–",
            one.refusal,
        )
        for one in found.scores
    )
    return Table(
        key="scores",
        title="Corrected score",
        columns=("profile", "score", "if missing were solved", "first by weights", "why none"),
        rows=rows,
        numeric=frozenset({1, 2, 3}),
        note=f"100 × solved / all jobs, over 1 + {budget.cost_weight:g} × cost / ${budget.cost_usd:g} + "
        f"{budget.time_weight:g} × wall / {budget.seconds / 60:g} min, means of a result. No other "
        "profile changes it.",
    )


def contradictions(study: Study) -> Table:
    """What the data say against themselves; empty where nothing does."""
    found = study.robustness.contradictions
    shown = found[:MAX_CONTRADICTIONS]
    rest = len(found) - len(shown)
    return Table(
        key="contradictions",
        title="Data that contradict themselves",
        columns=("where", "what"),
        rows=tuple((one.where, one.what) for one in shown),
        note=f"{rest} more are in the JSON report." if rest else "",
    )
