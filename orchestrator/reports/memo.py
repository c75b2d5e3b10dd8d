"""The decision memo in words: one page, at the head of every form of the report."""

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.analysis.flips import Flip
from orchestrator.analysis.memo import Limit, Memo, Rung
from orchestrator.analysis.next_jobs import NextJobs, Step
from orchestrator.analysis.study import Study
from orchestrator.analysis.verdict import join, percent
from orchestrator.reports.table import Table
from orchestrator.reports.words import duration, money, spaced

_LEFT_OUT_SHOWN = 8


class Part(NamedTuple):
    """A heading and the sentences under it."""

    title: str
    sentences: tuple[str, ...]


def ladder(study: Study) -> Table:
    """Who wins at which cost ceiling; without rows where nobody does."""
    memo = study.memo
    return Table(
        key="memo",
        title="Decision memo",
        columns=("up to", "winner", "solved (95 %)", "best in", "good enough", "wrong in"),
        rows=tuple(_rung(one) for one in memo.ladder),
        numeric=frozenset({2, 3, 5}),
        note="Up to: mean cost of a job. Best in: of resamples, among the affordable. Good enough: the cheapest at "
        f"most {100 * memo.delta:.0f} points worse than the winner; wrong in so many resamples as an affordable one "
        "is better by more. – = cannot be said.",
    )


def _rung(one: Rung) -> tuple[str, ...]:
    choice = one.choice
    return (
        "any" if one.ceiling_usd_micros is None else money(one.ceiling_usd_micros),
        one.winner,
        f"{percent(one.rate)} [{100 * one.interval.low:.0f}–{100 * one.interval.high:.0f}]",
        "–" if one.first is None else percent(one.first),
        "–" if choice is None else choice.label,
        "–" if choice is None else percent(choice.wrong),
    )


def parts(study: Study) -> tuple[Part, ...]:
    """What stands under the ladder; parts with nothing to say are left out."""
    memo = study.memo
    made = (
        Part("What would flip it", tuple(_flips(study))),
        Part("The cheapest next jobs", tuple(_next(one) for one in memo.next) or (_nothing_next(memo),)),
        Part("Left out, and why", tuple(_left_out(study))),
        Part("What cannot be concluded", tuple(_CANNOT[one] for one in memo.cannot)),
    )
    return tuple(part for part in made if part.sentences)


def _flips(study: Study) -> Iterable[str]:
    memo = study.memo
    flip = memo.flip
    if memo.winner is None:
        return
    if flip is not None:
        yield f"{_outcomes(flip.changes)} would put {flip.to} first: {_which(memo.winner, flip)}."
    if memo.missing_flips:
        yield f"Jobs without a result: if all went against {memo.winner}, {join(memo.missing_flips)} could be first."
    turn = study.robustness.price_turn
    if turn is not None and turn.factor is not None:
        yield (
            f"Prices: per solved job {turn.label} is cheapest until its price is {turn.factor:.2g} times what it is; "
            f"then {turn.next} is."
        )
    if study.robustness.drift.p_value is not None and study.robustness.drift.p_value < 0.05:
        yield "The hour: within cells, later jobs fared otherwise than earlier ones."


def _outcomes(count: int) -> str:
    return "1 other outcome" if count == 1 else f"{count} other outcomes"


def _which(winner: str, flip: Flip) -> str:
    gained = flip.changes - flip.lost
    lost = f"{flip.lost} that {winner} solved failing"
    more = f"{gained} that it did not solve solved"
    return " and ".join(([lost] if flip.lost else []) + ([more] if gained else []))


def _next(one: NextJobs) -> str:
    text = _STEPS[one.step](one)
    if not one.jobs or one.futile:
        return text
    cost = "at an unknown cost" if one.takes.cost_usd_micros is None else f"about {money(one.takes.cost_usd_micros)}"
    time = "in an unknown time" if one.takes.seconds is None else f"{duration(one.takes.seconds)} of work"
    return f"{text} {one.jobs:,} {'jobs' if one.jobs > 1 else 'job'}, {cost}, {time}."


def _price(one: NextJobs) -> str:
    return (
        f"Give {join(one.profiles)} a price (`bakeoff reprice`): good enough to choose, at a cost that is not known."
    )


def _fill(one: NextJobs) -> str:
    where = f"on {join(one.targets, 5, 'more targets')}"
    return f"Run again what ended without a result: {join(one.profiles)} {where}."


def _results(one: NextJobs) -> str:
    return f"{one.profiles[0]} lacks results to be ranked."


def _repeats(one: NextJobs) -> str:
    first, second = one.profiles
    times = "once" if one.repeats == 1 else f"{one.repeats} times"
    return f"{first} against {second}: every target that both have {times} more{_finds(one)}."


def _targets(one: NextJobs) -> str:
    first, second = one.profiles
    if one.futile:
        return (
            f"{first} and {second} are as good as equal: telling them apart would take {one.more_targets:,} more "
            "targets, so decide by price."
        )
    each = f" with {one.repeats} runs each" if (one.repeats or 1) > 1 else ""
    return f"{first} against {second}: {one.more_targets:,} more targets{each}{_finds(one)}."


def _finds(one: NextJobs) -> str:
    if one.difference is None:
        return ", before which nothing can be told apart"
    return f", which finds a true difference of {100 * one.difference:.1f} points in 4 of 5 cases"


_STEPS = {
    Step.PRICE: _price,
    Step.FILL: _fill,
    Step.RESULTS: _results,
    Step.REPEATS: _repeats,
    Step.TARGETS: _targets,
}


def _nothing_next(memo: Memo) -> str:
    if memo.winner is None:
        return "More targets: nothing so far says which profile to look at."
    if not memo.ladder and Limit.STOPPED in memo.cannot:
        return "None: the race has stopped all others."
    if not memo.ladder and Limit.SECOND_PART in memo.cannot:
        return f"A second profile in the first part: {memo.winner} has nobody to be compared with."
    if Limit.ONE_PROFILE in memo.cannot:
        return f"A second profile: {memo.winner} has nobody to be compared with."
    return "None: the winner is told apart from all others."


def _left_out(study: Study) -> Iterable[str]:
    found = study.memo.left_out
    for reason, say in _REASONS.items():
        named = [one for one in found if one.reason == reason]
        if reason == "cost_unknown" and Limit.NO_COST in study.memo.cannot:
            continue  # said of all of them
        if named:
            labels = [f"{one.label} ({one.count} of {one.of})" for one in named]
            yield f"{say}: {join(labels, _LEFT_OUT_SHOWN)}."
    for kind in dict.fromkeys(one.reason for one in found if one.reason not in _REASONS):
        jobs = [one for one in found if one.reason == kind]
        count = sum(one.count for one in jobs)
        yield f"{_jobs(count)} of {join([one.label for one in jobs])}: {_STANDINGS.get(kind, spaced(kind))}."
    if study.robustness.contradictions:
        count = len(study.robustness.contradictions)
        yield f"{count} {'contradictions' if count > 1 else 'contradiction'} in the data; see the table of them."


def _jobs(count: int) -> str:
    return f"{count} {'jobs' if count > 1 else 'job'}"


_REASONS = {
    "few_results": "Not ranked for want of results",
    "cost_unknown": "Under no ceiling, since not every cost is known",
    "stopped": "Stopped by the race, so compared with nobody; with results",
    "second_part": "In the second part, so compared with nobody; with results",
}
_STANDINGS = {
    "infra": "ended by infrastructure, so in no rate",
    "quota": "waiting for quota",
    "cancelled": "cancelled",
    "raced_out": "not run, since the race was over",
    "invalid": "answered by another model than asked",
    "open": "not ended yet",
}
_CANNOT = {
    Limit.NO_RESULTS: "Anything about quality: no job has ended with a result. Run the jobs first.",
    Limit.FEW_RESULTS: "Who is better: no profile has 5 results.",
    Limit.ONE_PROFILE: "Whether it is better than another: only one profile has enough results.",
    Limit.NOTHING_SOLVED: "Who is better: nobody solved anything. Easier targets would tell profiles apart.",
    Limit.ALL_SOLVED: "Who is better: everything was solved. Harder targets would tell profiles apart.",
    Limit.NO_COST: "What is worth its money: no cost is fully known.",
    Limit.SOME_COST: "Whether one of those of unknown cost is the cheapest that is good enough.",
    Limit.FEW_TARGETS: "What holds on other targets: there are fewer than 6, and the numbers speak of these alone.",
    Limit.FEW_TO_DRAW: "How sure the winner is: shares of resamples need 10 targets.",
    Limit.TASKS_UNNAMED: "Whether profiles solve the same tasks: the source names none, so nothing is paired and "
    "real differences may go unseen.",
    Limit.NOT_APART: "That the winner is better than each of the others: the verdict names those that it is not told "
    "apart from.",
    Limit.STOPPED: "How good those are that the race stopped: on which targets they have results depends on "
    "the results.",
    Limit.SECOND_PART: "Whether the second part is better than the first: its targets were chosen by the first's "
    "results.",
}
