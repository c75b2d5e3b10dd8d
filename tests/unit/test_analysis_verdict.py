"""Ranking, frontier, advice and the verdict: what is claimed, and what is refused."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.matrix import check_summaries
from orchestrator.analysis.pareto import frontier
from orchestrator.analysis.ranking import MIN_RESULTS, legacy_ranking, rank
from orchestrator.analysis.rows import CheckRow, Evidence, JobRow
from orchestrator.analysis.study import Study, study
from orchestrator.analysis.summary import VariantSummary, summarize
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from tests.unit.rows_factory import NIGHT, job, many, night


def _summaries(**variants: tuple[int, int, int | None]) -> tuple[VariantSummary, ...]:
    """Summaries of name=(solved, unsolved, cost in micro-dollars)."""
    rows: list[JobRow] = []
    for name, (solved, unsolved, cost) in variants.items():
        rows += many(solved, unsolved, start=len(rows) + 1, profile=name, cost_usd_micros=cost)
    return summarize(rows, {})


def _study(jobs: list[JobRow], checks: tuple[CheckRow, ...] = ()) -> Study:
    return study(Evidence(experiment="e", generated_at=NIGHT, jobs=tuple(jobs), checks=checks))


def test_ranked_by_solved_rate_and_never_by_being_free() -> None:
    summaries = _summaries(free=(2, 18, 0), paid=(19, 1, 2_000_000), same=(19, 1, 1_000_000))
    ranking = rank(summaries)
    assert [(place.rank, place.summary.label) for place in ranking.places] == [(1, "same"), (2, "paid"), (3, "free")]
    assert [place.apart_from_leader for place in ranking.places] == [False, False, True]


def test_the_old_score_put_first_what_was_free_and_quick_and_leaves_out_the_unknown() -> None:
    rows = [
        *many(2, 8, profile="free", cost_usd_micros=0, wall_seconds=5.0),
        *many(9, 1, start=50, profile="paid"),
        *many(9, 1, start=90, profile="dark", cost_usd_micros=None),
    ]
    assert [item.run.label for item in legacy_ranking(summarize(rows, {}))] == ["free", "paid"]
    leader = _study(rows).ranking.leader
    assert leader is not None
    assert leader.label == "paid"


def test_equal_rate_and_cost_share_a_rank() -> None:
    ranking = rank(_summaries(a=(9, 1, 5), b=(9, 1, 5), c=(8, 2, 5)))
    assert [place.rank for place in ranking.places] == [1, 1, 3]


def test_too_few_results_are_not_ranked_and_the_verdict_says_so() -> None:
    few = _study(many(MIN_RESULTS - 1, 0))
    assert few.ranking.leader is None
    assert few.verdict[0].startswith("No ranking is claimed: no profile has 5 results")
    assert all(advice.refusal for advice in few.advice)

    mixed = _study([*many(3, 4), *many(1, 0, start=50, profile="lucky")])
    assert mixed.ranking.leader is not None
    assert mixed.ranking.leader.label == "hybrid"
    assert [entry.label for entry in mixed.ranking.unranked] == ["lucky"]
    assert "Not ranked, with fewer than 5 results: lucky" in mixed.verdict[0]


def test_unknown_cost_is_kept_off_the_frontier_and_named() -> None:
    found = frontier(_summaries(cheap=(5, 5, 100), good=(9, 1, 900), bad=(4, 6, 500), dark=(10, 0, None)))
    assert [(p.label, p.on_frontier) for p in found.points] == [("cheap", True), ("bad", False), ("good", True)]
    assert found.apart == (("dark", "cost 0 of 10 known"),)


def test_whatever_solves_nothing_is_on_no_frontier() -> None:
    found = frontier(_summaries(nothing=(0, 10, 0), some=(3, 7, 500)))
    assert [(p.label, p.on_frontier) for p in found.points] == [("nothing", False), ("some", True)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=6))
def test_no_frontier_point_is_beaten_and_every_other_one_is(values: list[tuple[int, int, int]]) -> None:
    named = {f"p{i}": (a, b + (a + b == 0), c) for i, (a, b, c) in enumerate(values)}
    points = frontier(_summaries(**named)).points
    for point in points:
        beaten = any(
            other.cost_usd_micros <= point.cost_usd_micros
            and other.rate >= point.rate
            and (other.cost_usd_micros, other.rate) != (point.cost_usd_micros, point.rate)
            for other in points
        )
        assert point.on_frontier == (not beaten and point.rate > 0)


def test_the_verdict_names_leader_doubt_cost_bad_ends_and_the_unknown() -> None:
    jobs = [
        *many(19, 1, profile="opus", cost_usd_micros=2_000_000),
        *many(18, 2, start=100, profile="hybrid", cost_usd_micros=500_000),
        *many(2, 18, start=200, profile="small", cost_usd_micros=None),
        job(300, profile="small", state=JobState.FAILED, outcome=Outcome.SETUP_FAILED),
    ]
    assert _study(jobs).verdict == (
        "opus leads: it solved 19 of 20 results on 20 targets (95 %, 95 % interval 76 % to 99 %).",
        "Compared with opus: it is better than small (difference +50 to +95 points, p <0.001); the data do not tell "
        "it from hybrid (difference −9 to +23 points, p 1). Between opus and hybrid this experiment would find 27 "
        "points or more in 4 of 5 cases; to find the difference observed takes about 563 targets.",
        "Of those that cannot be told apart, hybrid is cheapest at $0.5 a job against $2 for opus, "
        "and may be up to 23 points worse.",
        "21 of 60 results were not solved: 21 × no progress (mostly small).",
        "1 of 61 jobs says nothing about quality: 1 ended by infrastructure. However they had ended, "
        "opus would lead.",
        "Not known: cost is known for 40 of 60. Unknown values are left out, not counted as 0.",
    )


def test_a_verdict_over_nothing_says_that() -> None:
    assert _study([]).verdict[0].startswith("There is nothing to judge yet")
    waiting = _study([job(state=JobState.READY, outcome=None)])
    assert waiting.verdict[0] == "There is nothing to judge yet: none of 1 job has ended with a result."
    assert "1 still open" in waiting.verdict[1]


def test_a_tie_at_the_top_is_said_in_words() -> None:
    tied = _study([*many(9, 1, profile="a"), *many(9, 1, start=50, profile="b", cost_usd_micros=1)])
    assert tied.verdict[0].startswith("b and a lead together")


@given(st.integers(0, 5), st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_a_verdict_has_one_to_six_sentences_of_one_line(a: int, b: int, c: int, priced: bool) -> None:
    jobs = [*many(a, b), *many(c, a, start=100, profile="x", cost_usd_micros=5 if priced else None)]
    found = _study(jobs).verdict
    assert 1 <= len(found) <= 6
    assert all(sentence.strip() and "\n" not in sentence for sentence in found)


def test_checks_are_shown_beside_the_untouched_base() -> None:
    checks = {
        1: [CheckRow(job_id=1, name="tests", status=CheckStatus.PASS, baseline=CheckStatus.FAIL)],
        2: [CheckRow(job_id=2, name="tests", status=CheckStatus.FAIL, baseline=CheckStatus.FAIL)],
        3: [CheckRow(job_id=3, name="lint", status=CheckStatus.PASS, baseline=CheckStatus.PASS)],
    }
    lint, tests = check_summaries([job(1), job(2, repeat=2), job(3)], checks)
    assert (lint.passed_before, tests.passed_before) == (True, False)
    assert tests.by_label == {"hybrid": {CheckStatus.PASS: 1, CheckStatus.FAIL: 1}}


def test_the_night_is_analysed_whole() -> None:
    found = study(night())
    assert len(found.cells) == 49
    assert {use.resource for use in found.resources} == {"account:max", "pool:redbox"}
    by_label = {offload.label: offload for offload in found.offloads}
    assert (by_label["devstral"].calls, by_label["opus"].calls) == (1.0, 0.0)
    assert {word for entry in found.summaries for word in entry.ends} >= {
        "solved",
        "checks_failed",
        "parked",
        "lease_lost",
    }


def _repeated(profile: str, solved: list[int], repeats: int, start: int) -> list[JobRow]:
    """Jobs of a profile on as many targets as there are counts of solved repeats."""
    return [
        row
        for index, count in enumerate(solved)
        for row in many(count, repeats - count, start=start + index * repeats, profile=profile)
        for row in [replace(row, target=f"t{index}")]
    ]


def test_pairing_tells_apart_what_independent_intervals_do_not() -> None:
    good = [4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1]
    found = _study(
        [
            *_repeated("a", good, 4, 1),
            *_repeated("b", [count - (index < 7) for index, count in enumerate(good)], 4, 500),
        ]
    )

    assert [place.apart_from_leader for place in rank(found.summaries).places] == [False, False]
    assert [place.apart_from_leader for place in found.ranking.places] == [False, True]
    assert "it is better than b" in found.verdict[1]
    assert "Repeats of one target are alike: for other targets it is" in found.verdict[0]


def test_repeats_of_few_targets_speak_of_these_targets_alone() -> None:
    found = _study([*_repeated("a", [20, 20], 20, 1), *_repeated("b", [1, 0], 20, 500)])

    assert found.verdict[1].endswith("For b it holds on these targets alone: there are too few of them in common.")
    assert found.certainty[0].by_target is None
    assert [pair.p_value for pair in found.pairs] == [None]


def test_many_comparisons_on_few_targets_say_how_many_are_lacking() -> None:
    jobs = [row for index in range(5) for row in many(5, 1 + index % 2, start=100 * index + 1, profile=f"p{index}")]

    assert (
        "With 10 comparisons at once nothing can be told apart on so few targets: at least 3 more"
        in (_study(jobs).verdict[1])
    )
