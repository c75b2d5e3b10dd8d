"""Answers to the questions that people bring to a report: which profile for which wish, or why no answer is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.analysis.frontier_odds import Choice
from orchestrator.analysis.ranking import MIN_RESULTS, Ranking
from orchestrator.analysis.summary import VariantSummary


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A question with the variants that answer it best (several: they tie), or `refusal` saying why there is none."""

    question: str
    labels: tuple[str, ...]
    because: str
    refusal: str = ""


# By how much the cheapest may be behind the best and still be taken: a wish, not a finding.
DELTA = 0.05


def advise(ranking: Ranking, choice: Choice | None = None) -> tuple[Advice, ...]:
    """Answers among the ranked variants only. A quantity that is unknown for a variant leaves it out, and says so."""
    ranked = [place.summary for place in ranking.places]
    return (
        _best("Highest solved rate, cost no object", ranked, _solved_rate, _say_rate),
        _best("Lowest cost per solved job", ranked, _cheapness, _say_cost),
        _near_best(ranked, choice),
        _best("Least quota per solved job", ranked, _quota, _say_quota),
        _best("Fewest ends by a guard, for nights unattended", ranked, _calm, _say_calm),
    )


def _near_best(ranked: Sequence[VariantSummary], choice: Choice | None) -> Advice:
    question = f"Cheapest that is at most {100 * DELTA:.0f} points worse than the best"
    if choice is None:
        text = "needs two ranked profiles on 10 targets or more, and a known cost of one that is good enough"
        return Advice(question=question, labels=(), because="", refusal=text)
    because = f"wrong in {100 * choice.wrong:.0f} % of resamples of targets; best observed: {choice.best}"
    return Advice(question=question, labels=(choice.label,), because=because)


def _best(
    question: str,
    ranked: Sequence[VariantSummary],
    value: Callable[[VariantSummary], float | None],
    say: Callable[[VariantSummary], str],
) -> Advice:
    if not ranked:
        text = f"no profile has {MIN_RESULTS} results yet"
        return Advice(question=question, labels=(), because="", refusal=text)
    known = [(found, entry) for entry in ranked if (found := value(entry)) is not None]
    if not known:
        return Advice(question=question, labels=(), because="", refusal="not known for any ranked profile")
    top = max(found for found, _ in known)
    winners = [entry for found, entry in known if found == top]
    missing = [entry.label for entry in ranked if value(entry) is None]
    because = say(winners[0]) + (f"; left out as unknown or nothing solved: {', '.join(missing)}" if missing else "")
    return Advice(question=question, labels=tuple(entry.label for entry in winners), because=because)


def _solved_rate(entry: VariantSummary) -> float | None:
    return entry.rate


def _say_rate(entry: VariantSummary) -> str:
    return f"{entry.solved} of {entry.results} solved"


def _cheapness(entry: VariantSummary) -> float | None:
    cost = entry.cost_per_solved_usd_micros
    return None if cost is None else -cost


def _say_cost(entry: VariantSummary) -> str:
    return f"${(entry.cost_per_solved_usd_micros or 0) / 1e6:.4g} per solved job at list price"


def _quota(entry: VariantSummary) -> float | None:
    """Minus the remote calls per solved job."""
    calls = entry.remote_calls
    if not calls.complete or calls.total is None or not entry.solved:
        return None
    return -calls.total / entry.solved


def _say_quota(entry: VariantSummary) -> str:
    return f"{-(_quota(entry) or 0):.3g} remote calls per solved job"


def _calm(entry: VariantSummary) -> float | None:
    return -entry.guard_ends / entry.results if entry.results and entry.solved else None


def _say_calm(entry: VariantSummary) -> str:
    return f"{entry.guard_ends} of {entry.results} results ended by a guard"
