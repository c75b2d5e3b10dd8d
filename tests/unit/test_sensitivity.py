"""What would change the answer, what changed over the night, and what contradicts itself."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.contradictions import (
    Contradiction,
    contradictions,
    denominators_differ,
)
from orchestrator.analysis.drift import Drift, Timed, drift
from orchestrator.analysis.frontier_odds import Offer
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.sensitivity import Counted, PriceTurn, price_turn, scenarios, stable_first
from orchestrator.analysis.study import study
from orchestrator.analysis.tally import Tally
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from tests.unit.rows_factory import NIGHT, job, night


def test_missing_jobs_are_counted_in_every_way() -> None:
    arms = [
        Counted(label="a", solved=8, results=8, missing={"infra": 4, "quota": 1}),
        Counted(label="b", solved=9, results=10, missing={"infra": 0}),
        Counted(label="none", solved=0, results=0, missing={}),
    ]
    found = scenarios(arms)

    assert [(one.name, one.first) for one in found] == [
        ("results alone", ("a",)),
        ("infra counted as failed", ("b",)),
        ("quota counted as failed", ("b",)),
        ("all missing failed", ("b",)),
        ("all missing solved", ("a",)),
    ]
    assert found[3].rates == pytest.approx({"a": 8 / 13, "b": 0.9})
    assert stable_first(found) == ()


def test_without_missing_jobs_there_is_one_way_to_count() -> None:
    found = scenarios(
        [Counted(label="a", solved=1, results=2, missing={}), Counted(label="b", solved=1, results=2, missing={})]
    )

    assert [one.first for one in found] == [("a", "b")]
    assert stable_first(found) == ("a", "b")
    assert scenarios([])[0].first == stable_first([]) == ()


def test_prices_may_change_until_the_next_is_cheaper() -> None:
    offers = [
        Offer(label="a", cost=1.0, rate=0.5),
        Offer(label="b", cost=3.0, rate=0.75),
        Offer(label="dark", cost=None, rate=1.0),
        Offer(label="idle", cost=0.1, rate=0.0),
    ]

    assert price_turn(offers) == PriceTurn(label="a", next="b", factor=2.0)
    assert price_turn([Offer(label="free", cost=0.0, rate=0.5), *offers]) == PriceTurn(
        label="free", next="a", factor=None
    )
    assert price_turn(offers[2:]) is None


def _spread(early: int, late: int, half: int, stratum: str = "a") -> list[Timed]:
    return [
        Timed(stratum, at + index / 1000, index < solved)
        for at, solved in ((0, early), (1, late))
        for index in range(half)
    ]


@given(st.integers(10, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_one_stratum_has_the_moments_of_the_hypergeometric_distribution(case: tuple[int, int, int]) -> None:
    early, late, half = case
    found = drift(_spread(early, late, half))
    with np.errstate(divide="ignore"):  # of its kurtosis, which nobody asked for
        mean, variance = stats.hypergeom.stats(2 * half, early + late, half, moments="mv")

    if not variance:
        assert found.p_value is None
    else:
        wanted = 2 * stats.norm.sf(abs(late - mean) / variance**0.5)
        assert found.p_value == pytest.approx(wanted, abs=1e-9)
        assert found.change == pytest.approx((late - early) / half)


def test_a_profile_that_ran_late_is_no_drift() -> None:
    good_early = [Timed("good", index / 100, index % 10 > 0) for index in range(40)]
    bad_late = [Timed("bad", 1 + index / 100, index % 10 == 0) for index in range(40)]

    assert drift([*good_early, *bad_late]).refusal.startswith("no cell has different results")
    mixed = [Timed("bad", 0.2, False), Timed("bad", 0.3, False), Timed("good", 1.5, True), Timed("good", 1.6, True)]
    found = drift([*good_early, *bad_late, *mixed])
    assert found.p_value is not None
    assert found.p_value > 0.3


def test_an_outage_in_the_second_half_is_seen() -> None:
    found = drift([*_spread(18, 4, 20, "a"), *_spread(16, 3, 20, "b")])

    assert (found.earlier, found.later) == (34 / 40, 7 / 40)
    assert found.p_value is not None
    assert found.p_value < 1e-6


def test_a_few_results_tell_nothing_of_drift() -> None:
    assert drift([]) == Drift(refusal="0 results with a known start; 20 or more are needed")


def test_arms_that_lack_targets_are_named() -> None:
    arms = {"a": {"x": Tally(1, 1), "y": Tally(0, 1)}, "b": {"x": Tally(1, 1), "y": Tally(0, 0)}, "c": {}}

    assert denominators_differ(arms) == (
        Contradiction(where="b", what="has results on 1 of the 2 targets; compare it on common targets only"),
    )


def test_rows_that_contradict_themselves_are_reported_with_both_values() -> None:
    jobs = (
        job(1, started_at=NIGHT, ended_at=NIGHT - timedelta(minutes=1)),
        job(2, repeat=2, tasks_accepted=9, tasks_planned=4),
        job(3, repeat=3, cost_usd_micros=1_000_000, stated_cost_usd_micros=9_000_000),
        job(4, repeat=4),
        job(5, repeat=4),
    )
    stage = replace(night().stages[0], job_id=3, cost_usd_micros=100_000)
    found = contradictions(Evidence(experiment="e", generated_at=NIGHT, jobs=jobs, stages=(stage,)), {})

    assert [(one.where[-2:], one.what) for one in found] == [
        ("#4", "is there 2 times; each counts as a run of its own"),
        ("#1", "ended at 2026-03-04 21:59:00, before it started at 2026-03-04 22:00:00"),
        ("#2", "9 tasks accepted of 4 planned"),
        ("#3", "the agent said $9, at list price it is $1"),
        ("#3", "cost $1, but its stages add up to $0.1"),
    ]


def test_a_night_that_goes_target_by_target_from_easy_to_hard_is_no_drift() -> None:
    jobs = [
        job(at, target=f"t{at // 4:02}", repeat=at % 4 + 1, started_at=NIGHT + timedelta(minutes=at), **end)
        for at in range(80)
        for end in [{} if at < 40 or at % 8 == 0 else {"outcome": Outcome.NO_PROGRESS, "state": JobState.FAILED}]
    ]
    found = study(Evidence(experiment="e", generated_at=NIGHT, jobs=tuple(jobs))).robustness.drift
    assert (found.p_value, found.refusal[:38]) == (None, "no cell has different results in both ")
