"""The verdict in words: who leads, how sure, who cannot be told apart, what ended badly, what is not known.

Three to six sentences. Each is a claim with its numbers, so that it stands up to a question.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.analysis.clusters import clustered_interval
from orchestrator.analysis.judge import SOLVED, Standing, word_standing
from orchestrator.analysis.power import ALPHA, spread
from orchestrator.analysis.ranking import MIN_RESULTS, Place, Ranking
from orchestrator.analysis.summary import VariantSummary
from orchestrator.analysis.tally import Arm

_MOST_NAMED = 4


def verdict(
    summaries: Sequence[VariantSummary],
    ranking: Ranking,
    arms: Mapping[str, Arm] | None = None,
    *,
    tasks_unnamed: bool = False,
) -> tuple[str, ...]:
    """Sentences in the order in which they should be read. Never empty."""
    if not any(entry.results for entry in summaries):
        return (_nothing(summaries), *_apart(summaries, ranking), _unknown(summaries))
    by_label = arms or {}
    sentences = [
        _lead(summaries, ranking, by_label, tasks_unnamed=tasks_unnamed),
        *_compare(ranking, by_label),
        *_cost(ranking),
        *_bad_ends(summaries),
    ]
    return (*sentences, *_apart(summaries, ranking), _unknown(summaries))


def percent(share: float) -> str:
    """A share as a whole percentage. Rounding never turns `not all` into 100 or `some` into 0."""
    if 0 < share < 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"


def join(names: Sequence[str], most: int = _MOST_NAMED, rest: str = "more") -> str:
    """`a, b and c`; after `most` names the rest is counted."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} {rest}"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _nothing(summaries: Sequence[VariantSummary]) -> str:
    jobs = sum(entry.jobs for entry in summaries)
    return f"There is nothing to judge yet: none of {_count(jobs, 'job')} has ended with a result."


def _lead(
    summaries: Sequence[VariantSummary], ranking: Ranking, arms: Mapping[str, Arm], *, tasks_unnamed: bool
) -> str:
    leader = ranking.leader
    if leader is None:
        shown = [f"{e.label} {e.solved} of {e.results}" for e in sorted(summaries, key=lambda e: -(e.rate or 0.0))]
        return (
            f"No ranking is claimed: no profile has {MIN_RESULTS} results; with fewer, one job moves the rate by a "
            f"quarter or more. Solved so far: {join(shown)}."
        )
    low, high = leader.interval
    results = f"{_count(leader.results, 'result')} on {_count(leader.targets, 'target')}"
    numbers = (
        f"{leader.solved} of {_count(leader.results, 'task') if tasks_unnamed else results} "
        f"({percent(leader.rate or 0.0)}, 95 % interval {percent(low)} to {percent(high)})"
    )
    equal = [place.summary.label for place in ranking.places[1:] if place.summary.rate == leader.rate]
    few = f" Not ranked, with fewer than {MIN_RESULTS} results: {join([e.label for e in ranking.unranked])}."
    tail = few if ranking.unranked else ""
    if leader.results > leader.targets > 1:
        tail = _alike(arms.get(leader.label, {})) + tail
    if len(ranking.places) == 1:
        compared = len(ranking.places) + len(ranking.unranked)
        why = "no other profile has enough results for a comparison" if compared == len(summaries) else _OUT
        return f"{leader.label} solved {numbers}; {why}.{tail}"
    if not leader.solved:
        return f"No profile solved anything; the first, {leader.label}, has {numbers}.{tail}"
    if equal:
        return f"{leader.label} and {join(equal)} lead together: {leader.label} solved {numbers}.{tail}"
    return f"{leader.label} leads: it solved {numbers}.{tail}"


# A race or a second part has the others, and says its own sentence.
_OUT = "it is compared with no other profile"


def _alike(arm: Arm) -> str:
    wider = clustered_interval(arm)
    if wider is None:
        return " Repeats of one target are alike, so the true uncertainty is larger."
    return f" Repeats of one target are alike: for other targets it is {percent(wider.low)} to {percent(wider.high)}."


def _compare(ranking: Ranking, arms: Mapping[str, Arm]) -> list[str]:
    leader = ranking.leader
    if leader is None or len(ranking.places) < 2 or not leader.solved:
        return []
    same = [place for place in ranking.places[1:] if not place.apart_from_leader]
    worse = [place for place in ranking.places[1:] if place.apart_from_leader]
    parts = []
    if worse:
        parts.append(f"it is better than {join([_gap(place) for place in worse])}")
    if same:
        parts.append(f"the data do not tell it from {join([_gap(place) for place in same])}")
    return [f"Compared with {leader.label}: {'; '.join(parts)}.{_these_alone(worse)}{_size(same, arms)}"]


def _gap(place: Place) -> str:
    low, high = place.lead_over
    text = f"difference {100 * low:+.0f} to {100 * high:+.0f} points".replace("-", "−")
    if place.pair and place.pair.p_corrected is not None:
        text += f", {chance(place.pair.p_corrected)}"
    return f"{place.summary.label} ({text})"


def chance(p_value: float) -> str:
    """`p 0.03`; `p <0.001` below."""
    return "p <0.001" if p_value < 0.001 else f"p {p_value:.2g}"


def _these_alone(worse: Sequence[Place]) -> str:
    """Differences that hold among repeats, where the targets are too few to speak of others."""
    few = [place.summary.label for place in worse if place.pair and place.pair.refusal]
    return f" For {join(few)} it holds on these targets alone: there are too few of them in common." if few else ""


def _size(same: Sequence[Place], arms: Mapping[str, Arm]) -> str:
    """What a comparison with the nearest rival that is not told apart can see, and what it would take to settle."""
    judged = [place.pair for place in same if place.pair and place.pair.difference is not None]
    if not judged:
        return ""
    if judged[0].targets_lacking:
        return (
            f" With {judged[0].compared} comparisons at once nothing can be told apart on so few targets: at least "
            f"{judged[0].targets_lacking} more are needed."
        )
    first, second = judged[0].first, judged[0].second
    seen = spread(arms.get(first, {}), arms.get(second, {}))
    if seen is None:
        return ""
    alpha = ALPHA / (judged[0].compared or 1)
    points = f"{100 * seen.detectable(alpha):.0f} points"
    text = f" Between {first} and {second} this experiment would find {points} or more in 4 of 5 cases"
    needed = seen.targets_for(judged[0].difference, alpha) if judged[0].difference else None
    return f"{text}; to find the difference observed takes about {needed} targets." if needed else f"{text}."


def _cost(ranking: Ranking) -> list[str]:
    leader = ranking.leader
    if leader is None or not leader.solved:
        return []
    near = [leader, *(place.summary for place in ranking.places[1:] if not place.apart_from_leader)]
    priced = [entry for entry in near if entry.cost_usd_micros.complete and entry.solved]
    if len(near) < 2 or not priced:
        return []
    cheapest = min(priced, key=lambda entry: (entry.cost_usd_micros.mean or 0.0, entry.label))
    unpriced = [entry.label for entry in near if entry not in priced]
    tail = f"; the cost of {join(unpriced)} is not fully known" if unpriced else ""
    mean = (cheapest.cost_usd_micros.mean or 0.0) / 1e6
    versus = " (local models are priced at 0 in the fleet file; the machine is not counted)" if not mean else ""
    if cheapest is not leader and leader in priced:
        versus += f" against ${(leader.cost_usd_micros.mean or 0.0) / 1e6:.4g} for {leader.label}"
    if cheapest is not leader:
        gap = next(place.lead_over.high for place in ranking.places if place.summary is cheapest)
        versus += f", and may be up to {100 * gap:.0f} points worse"
    return [f"Of those that cannot be told apart, {cheapest.label} is cheapest at ${mean:.4g} a job{versus}{tail}."]


def _bad_ends(summaries: Sequence[VariantSummary]) -> list[str]:
    results = sum(entry.results for entry in summaries)
    unsolved = results - sum(entry.solved for entry in summaries)
    if not unsolved:
        easy = ": the tasks may be too easy to tell profiles apart" if results >= MIN_RESULTS else ""
        return [f"All {_count(results, 'result')} were solved{easy}."]
    owners: dict[str, Counter[str]] = {}
    for entry in summaries:
        for word, count in entry.ends.items():
            if word != SOLVED and word_standing(word) is Standing.RESULT:
                owners.setdefault(word, Counter())[entry.label] += count
    reasons = sorted(owners, key=lambda word: (-owners[word].total(), word))
    told = [_reason(word, owners[word]) for word in reasons]
    return [f"{unsolved} of {_count(results, 'result')} were not solved: {join(told, rest='other kinds of end')}."]


def _reason(word: str, owners: Counter[str]) -> str:
    words = word.replace("_", " ")
    (label, count), total = owners.most_common(1)[0], owners.total()
    if total > 1 and count == total:
        return f"{total} × {words} (all {label})"
    return f"{total} × {words}" + (f" (mostly {label})" if count > 0.6 * total and total > 3 else "")


def _apart(summaries: Sequence[VariantSummary], ranking: Ranking) -> list[str]:
    missing = {kind: sum(entry.standings[kind] for entry in summaries) for kind in Standing}
    del missing[Standing.RESULT]
    told = [f"{count} {_APART_WORDS[kind]}" for kind, count in missing.items() if count]
    if not told:
        return []
    jobs = sum(entry.jobs for entry in summaries)
    total = sum(missing.values())
    verb = "says" if total == 1 else "say"
    known = [place.summary for place in ranking.places]
    elsewhere = any(entry.jobs > entry.results for entry in summaries if entry not in known)
    flip = _flip(ranking, sure=not elsewhere)
    return [f"{total} of {_count(jobs, 'job')} {verb} nothing about quality: {join(told, 5)}.{flip}"]


_APART_WORDS = {
    Standing.INFRA: "ended by infrastructure",
    Standing.QUOTA: "waiting for quota",
    Standing.CANCELLED: "cancelled",
    Standing.RACED_OUT: "out of the race",
    Standing.INVALID: "invalid (another model answered)",
    Standing.OPEN: "still open",
}


def _flip(ranking: Ranking, *, sure: bool) -> str:
    """Whether the missing jobs could change who leads: every one of the leader's failing, every other one solved.

    Not `sure`: jobs of others than the ranked ones are missing, too, so nobody is said to lead however they ended.
    """
    leader = ranking.leader
    if leader is None or len(ranking.places) < 2:
        return ""
    worst = leader.sensitivity.low
    rivals = [place.summary for place in ranking.places[1:]]
    able = [entry.label for entry in rivals if entry.sensitivity.high > worst]
    if able:
        return f" If they all went against {leader.label}, {join(able)} could be ahead."
    return f" However they had ended, {leader.label} would lead." if sure else ""


def _unknown(summaries: Sequence[VariantSummary]) -> str:
    results = sum(entry.results for entry in summaries)
    if not results:
        return "Cost, tokens and time are not known for any result."
    parts = []
    for word, counts in (
        ("cost is", [(e.cost_usd_micros.known, e.cost_usd_micros.of) for e in summaries]),
        ("tokens are", [(e.tokens_total.known, e.tokens_total.of) for e in summaries]),
        ("time is", [(e.wall_seconds.known, e.wall_seconds.of) for e in summaries]),
    ):
        known, of = sum(k for k, _ in counts), sum(o for _, o in counts)
        if known < of:
            parts.append(f"{word} known for {known} of {of}")
    unjudged = sum(entry.unjudged for entry in summaries)
    if unjudged:
        parts.append(f"{unjudged} complete without an answer from every check (counted as not solved)")
    if not parts:
        return f"Cost, tokens and time are known for all {_count(results, 'result')}."
    return f"Not known: {'; '.join(parts)}. Unknown values are left out, not counted as 0."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
