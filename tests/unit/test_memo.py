"""The decision memo: who wins under which ceiling, what would flip it, and what to run next at what cost."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.flips import Flip, fewest_changes
from orchestrator.analysis.memo import LeftOut, Limit, Memo
from orchestrator.analysis.next_jobs import NextJobs, Step, Takes
from orchestrator.analysis.power import independent_results
from orchestrator.analysis.rows import Evidence, JobRow
from orchestrator.analysis.study import Study, study
from orchestrator.analysis.tally import Tally
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.reports.memo import ladder, parts
from tests.unit.rows_factory import NIGHT, many


def _study(*jobs: JobRow, tasks_unnamed: bool = False) -> Study:
    return study(Evidence(experiment="e", generated_at=NIGHT, jobs=jobs, tasks_unnamed=tasks_unnamed))


def _memo(*jobs: JobRow) -> Memo:
    return _study(*jobs).memo


def _said(found: Study, title: str) -> tuple[str, ...]:
    return next((part.sentences for part in parts(found) if part.title == title), ())


def _repeats(profile: str, solved: list[int], repeats: int, start: int, cost: int | None = 100_000) -> list[JobRow]:
    jobs: list[JobRow] = []
    for at, count in enumerate(solved):
        for repeat in range(repeats):
            changes: dict[str, object] = {"target": f"t{at:02}", "repeat": repeat + 1, "cost_usd_micros": cost}
            jobs += many(
                int(repeat < count), int(repeat >= count), start=start + len(jobs), profile=profile, **changes
            )
    return jobs


tallies = st.integers(1, 8).flatmap(lambda n: st.builds(Tally, st.integers(0, n), st.just(n)))


@given(tallies, tallies)
def test_no_smaller_number_of_other_outcomes_puts_the_rival_first(first: Tally, rival: Tally) -> None:
    able = [
        lost + gained
        for lost in range(first.solved + 1)
        for gained in range(rival.results - rival.solved + 1)
        if Fraction(first.solved - lost, first.results) < Fraction(rival.solved + gained, rival.results)
    ]
    found = fewest_changes(first, [("b", rival)])

    assert (found.changes if found else None) == min(able, default=None)
    if found:
        gained = found.changes - found.lost
        assert Fraction(first.solved - found.lost, first.results) < Fraction(rival.solved + gained, rival.results)


def test_the_rival_that_is_nearest_is_named() -> None:
    assert fewest_changes(
        Tally(9, 10), [("far", Tally(1, 10)), ("near", Tally(16, 20)), ("level", Tally(0, 0))]
    ) == Flip(to="near", changes=2, lost=2)
    assert fewest_changes(Tally(0, 3), [("none", Tally(3, 3))]) == Flip(to="none", changes=0, lost=0)
    assert fewest_changes(Tally(3, 3), []) is None


def test_each_cost_at_which_the_winner_changes_is_a_rung() -> None:
    found = _study(
        *many(6, 6, profile="local", cost_usd_micros=0),
        *many(9, 3, start=50, profile="small", cost_usd_micros=100_000),
        *many(8, 4, start=100, profile="beaten", cost_usd_micros=200_000),
        *many(11, 1, start=150, profile="large", cost_usd_micros=900_000),
        *many(12, 0, start=200, profile="unpriced", cost_usd_micros=None),
    )
    assert [(one.ceiling_usd_micros, one.winner) for one in found.memo.ladder] == [
        (0, "local"),
        (100_000, "small"),
        (900_000, "large"),
        (None, "unpriced"),
    ]
    assert [row[:2] for row in ladder(found).rows] == [
        ("$0", "local"),
        ("$0.10", "small"),
        ("$0.90", "large"),
        ("any", "unpriced"),
    ]
    assert found.memo.ladder[0].first is None, "it is alone under its ceiling"
    last = found.memo.ladder[-1]
    assert last.first is not None
    assert 0.5 < last.first < 1, "never certain"
    assert found.memo.left_out == (LeftOut(label="unpriced", reason="cost_unknown", count=0, of=12),)
    assert found.memo.next[0] == NextJobs(step=Step.PRICE, profiles=("unpriced",), jobs=0)
    assert "Give unpriced a price" in _said(found, "The cheapest next jobs")[0]


def test_the_next_jobs_cost_what_the_means_so_far_say() -> None:
    """16 common targets once each; to find a difference seen takes more of them, at $0.10 and $0.30 a pair."""
    a = [1] * 10 + [0] * 6
    b = [0] * 3 + [1] * 6 + [0] * 7
    found = _memo(*_repeats("a", a, 1, 1), *_repeats("b", b, 1, 500, cost=300_000))

    (step,) = found.next
    assert (step.step, step.profiles, step.repeats) == (Step.TARGETS, ("a", "b"), 1)
    more = step.more_targets
    assert more is not None
    assert step.jobs == 2 * more
    assert step.takes == Takes(cost_usd_micros=more * 400_000.0, seconds=more * 200.0)
    assert step.difference == 0.25


def test_repeats_of_the_same_targets_are_offered_beside_more_targets_the_cheaper_first() -> None:
    a, b = [2, 2, 3, 2, 2, 3, 2, 2, 3, 2], [2, 2, 2, 2, 2, 2, 2, 2, 1, 2]
    found = _memo(*_repeats("a", a, 4, 1, cost=100_000), *_repeats("b", b, 4, 500, cost=100_000))

    # 4 repeats of 10 targets see 0.10 once there are 50 of each cell, or 125 targets: 46 or 115 more.
    assert [(one.step, one.jobs, one.repeats, one.more_targets, one.difference) for one in found.next] == [
        (Step.TARGETS, 920, 4, 115, 0.1),
        (Step.REPEATS, 920, 46, None, 0.1),
    ]
    assert {one.takes for one in found.next} == {Takes(cost_usd_micros=92_000_000, seconds=92_000)}


def test_equal_profiles_are_left_to_their_price() -> None:
    order = [1, 0] * 15
    found = _study(*_repeats("a", order, 1, 1), *_repeats("b", [*order[:-2], 0, 1], 1, 500))

    assert found.memo.flip == Flip(to="b", changes=1, lost=1)
    (step,) = found.memo.next
    assert step.difference == 0.05, "what matters is looked for where nothing is seen"


def test_what_has_no_result_is_run_first_and_named() -> None:
    dead = {"outcome": Outcome.INFRA_ERROR, "state": JobState.FAILED, "profile": "a"}
    lost = [job for at in (90, 91) for job in many(1, 0, start=900 + at, **(dead | {"target": f"t{at}"}))]
    found = _study(*many(8, 4, profile="a"), *many(7, 5, start=300, profile="b"), *lost)

    assert found.memo.next[0] == NextJobs(
        step=Step.FILL,
        profiles=("a",),
        jobs=2,
        targets=("t90", "t91"),
        takes=Takes(cost_usd_micros=1_000_000, seconds=200),
    )
    assert found.memo.missing_flips == ("b",)
    assert found.memo.left_out == (LeftOut(label="a", reason="infra", count=2, of=14),)
    assert _said(found, "Left out, and why") == ("2 jobs of a: ended by infrastructure, so in no rate.",)


def test_too_little_says_what_is_lacking() -> None:
    few = _study(*many(2, 1, profile="a"), *many(1, 1, start=50, profile="b", cost_usd_micros=None))
    assert (few.memo.winner, few.memo.ladder, few.memo.flip) == (None, (), None)
    assert few.memo.cannot == (Limit.FEW_RESULTS,)
    assert [(one.step, one.profiles, one.jobs, one.takes.cost_usd_micros) for one in few.memo.next] == [
        (Step.RESULTS, ("a",), 2, 1_000_000),
        (Step.RESULTS, ("b",), 3, None),
    ]
    assert _memo().cannot == (Limit.NO_RESULTS,)
    assert _memo(*many(0, 12)).cannot == (Limit.ONE_PROFILE, Limit.NOTHING_SOLVED)
    assert Limit.ALL_SOLVED in _memo(*many(12, 0, profile="a"), *many(12, 0, start=50, profile="b")).cannot
    assert Limit.FEW_TARGETS in _memo(*many(3, 2, profile="a"), *many(2, 3, start=50, profile="b")).cannot
    assert Limit.FEW_TO_DRAW in _memo(*many(4, 4, profile="a"), *many(2, 6, start=50, profile="b")).cannot


def test_few_common_targets_ask_for_as_many_as_any_answer_needs() -> None:
    (step,) = _memo(*many(4, 1, profile="a"), *many(3, 2, start=50, profile="b")).next

    assert (step.step, step.more_targets, step.jobs, step.difference) == (Step.TARGETS, 1, 2, None)


def test_unnamed_tasks_are_compared_as_independent() -> None:
    jobs = [*_repeats("a", [40], 60, 1), *_repeats("b", [30], 60, 500)]
    found = _study(*jobs, tasks_unnamed=True)

    assert (found.pairs, found.certainty[0].passes, found.certainty[0].by_target) == ((), (), None)
    assert found.certainty[0].errors.within is None
    assert Limit.TASKS_UNNAMED in found.memo.cannot
    needed = independent_results(40 / 60, 30 / 60, 10 / 60, 0.05)
    assert [one.more_targets for one in found.memo.next] == [needed - 60]


def test_the_closed_form_of_independent_results_is_the_textbooks() -> None:
    # Fleiss, Levin and Paik: 0.6 against 0.5 at 5 % and 80 % power, without correction, takes 385 of each.
    assert independent_results(0.6, 0.5, 0.1) == 385
