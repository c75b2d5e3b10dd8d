"""The corrected score: no other arm moves it, nothing free wins by being free, and what is unknown has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.fixed_score import Budget, FixedScore, ScoredArm, first_by_weight, fixed_score
from orchestrator.analysis.intervals import Interval

BUDGET = Budget()


@st.composite
def arms(draw: st.DrawFn) -> ScoredArm:
    planned = draw(st.integers(0, 50))
    missing = draw(st.integers(0, planned))
    return ScoredArm(
        label=draw(st.text("abc", min_size=1, max_size=4)),
        solved=draw(st.integers(0, planned - missing)),
        planned=planned,
        missing=missing,
        cost_usd=draw(st.none() | st.floats(0, 100)),
        seconds=draw(st.none() | st.floats(0, 1e5)),
    )


def test_the_score_is_the_solved_share_of_all_planned_over_what_it_took() -> None:
    arm = ScoredArm(label="a", solved=6, planned=10, missing=2, cost_usd=2.0, seconds=900.0)

    assert fixed_score(arm, Budget(cost_weight=0.25, time_weight=0.5, cost_usd=2, seconds=1200)) == FixedScore(
        label="a", value=60 / 1.625, span=Interval(60 / 1.625, 80 / 1.625)
    )


def test_unknown_cost_has_no_score_unless_money_does_not_matter() -> None:
    arm = ScoredArm(label="a", solved=6, planned=10, seconds=900.0)

    assert fixed_score(arm, BUDGET) == FixedScore(label="a", value=None, refusal="cost not fully known")
    assert fixed_score(arm, Budget(cost_weight=0)).value == pytest.approx(60 / 1.15)
    assert fixed_score(ScoredArm(label="a", solved=0, planned=0), BUDGET).refusal == "no job was planned"


@given(st.lists(arms(), max_size=6, unique_by=lambda arm: arm.label), st.data())
def test_adding_or_filtering_a_profile_changes_no_other_score(found: list[ScoredArm], data: st.DataObject) -> None:
    kept = [arm for arm in found if data.draw(st.booleans())]
    every = {arm.label: fixed_score(arm, BUDGET) for arm in found}

    assert {arm.label: fixed_score(arm, BUDGET) for arm in kept} == {arm.label: every[arm.label] for arm in kept}


@given(arms())
def test_a_score_lies_between_nothing_and_the_solved_share(arm: ScoredArm) -> None:
    score = fixed_score(arm, BUDGET)
    if score.value is not None and score.span is not None:
        assert 0 <= score.value == score.span.low <= score.span.high <= 100 + 1e-9
        assert score.value <= 100 * arm.solved / arm.planned + 1e-9


def test_what_is_free_and_solves_little_does_not_win() -> None:
    free = ScoredArm(label="free", solved=1, planned=20, cost_usd=0.0, seconds=10.0)
    good = ScoredArm(label="good", solved=18, planned=20, cost_usd=2.0, seconds=3600.0)

    assert (fixed_score(free, BUDGET).value or 0) < (fixed_score(good, BUDGET).value or 0)


def test_weights_show_whether_the_first_depends_on_them() -> None:
    cheap = ScoredArm(label="cheap", solved=10, planned=20, cost_usd=0.1, seconds=900.0)
    good = ScoredArm(label="good", solved=18, planned=20, cost_usd=4.0, seconds=900.0)
    dark = ScoredArm(label="dark", solved=20, planned=20, seconds=1.0)
    best = ScoredArm(label="best", solved=19, planned=20, cost_usd=0.05, seconds=300.0)

    depends = first_by_weight([cheap, good, dark], BUDGET)

    assert set(depends) == {"cheap", "good"}
    assert 0 < depends["cheap"] < 1
    assert sum(depends.values()) == pytest.approx(1)
    assert first_by_weight([cheap, good, best], BUDGET)["best"] == pytest.approx(1)
    assert first_by_weight([dark], BUDGET) == {}


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="a: 3 solved and 1 missing of 3 planned cannot be"):
        fixed_score(ScoredArm(label="a", solved=3, planned=3, missing=1), BUDGET)
    with pytest.raises(ValueError, match="budgets must be positive"):
        Budget(cost_usd=0)
    with pytest.raises(ValueError, match="weights must not be negative"):
        Budget(time_weight=-1)
