"""Two arms and more: paired tests, their correction, intervals of differences, and what an experiment can see."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.bootstrap import (
    RESAMPLES,
    percentiles,
    resampled_means,
    resampled_rates,
    target_weights,
    with_unseen,
)
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.multiplicity import holm
from orchestrator.analysis.paired import PairTest, compare, targets_to_tell
from orchestrator.analysis.power import Spread, spread
from orchestrator.analysis.sign_test import mcnemar, sign_flip
from orchestrator.analysis.tally import Tally, grid

signs = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=13)
p_values = st.lists(st.floats(0, 1), max_size=12)


def repeated(rates: list[float], repeats: int, seed: int) -> dict[str, Tally]:
    """An arm with this chance on each target."""
    draw = random.Random(seed)
    return {
        f"t{index:03}": Tally(sum(draw.random() < rate for _ in range(repeats)), repeats)
        for index, rate in enumerate(rates)
    }


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_scipys_binomial_test_of_a_half(one: int, other: int) -> None:
    wanted = stats.binomtest(one, one + other, 0.5).pvalue if one + other else 1.0

    assert mcnemar(one, other) == pytest.approx(wanted)


@given(signs)
def test_sign_flips_of_single_results_are_mcnemars_test(values: list[float]) -> None:
    (found,) = sign_flip(np.array([values]))

    assert found == pytest.approx(mcnemar(values.count(1.0), values.count(-1.0)))


def test_sign_flips_of_repeats_are_scipys_permutation_test() -> None:
    values = np.array([0.6, -0.2, 0.4, 0.8, -0.4, 0.2, 0.2, 1.0])
    wanted = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )

    (found,) = sign_flip(values[None])

    assert found == pytest.approx(wanted.pvalue)


def test_drawn_signs_come_near_the_exact_value_and_never_to_zero() -> None:
    values = np.array([[1.0] * 14 + [-1.0] * 4, [1.0] * 18])
    mixed, unanimous = sign_flip(values)

    assert mixed == pytest.approx(mcnemar(14, 4), abs=0.006)
    assert 0 < unanimous < 0.001


@given(p_values)
def test_holm_lies_between_the_raw_values_and_bonferroni(values: list[float]) -> None:
    corrected = holm(values)

    assert all(
        raw <= found <= min(1, len(values) * raw) + 1e-12 for raw, found in zip(values, corrected, strict=True)
    )
    assert [found for _, found in sorted(zip(values, corrected, strict=True))] == sorted(corrected)


def test_holm_equals_a_published_example() -> None:
    # Four values of Holm's procedure: 4 x 0.005, 3 x 0.01, then 0.06 twice as the third is not below its step.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_resampling_is_the_same_each_time_and_draws_as_many_targets_as_there_are() -> None:
    weights = target_weights(7)

    assert weights.shape == (RESAMPLES, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == target_weights(7)).all()
    assert (weights != target_weights(7, seed=2)).any()


def test_resampled_rates_pool_results_and_an_arm_without_any_has_none() -> None:
    table = grid({"a": {"x": Tally(1, 2), "y": Tally(4, 4)}, "b": {"x": Tally(0, 1)}})
    rates = resampled_rates(table, np.array([[1.0, 1.0], [0.0, 2.0]]))

    assert rates[0] == pytest.approx([5 / 6, 0.0])
    assert rates[1, 0] == 1
    assert np.isnan(rates[1, 1])


def test_the_interval_of_a_mean_is_near_that_of_t_also_for_few_targets() -> None:
    values = np.array([0.2, 0.4, 0.1, 0.9, 0.5, 0.7, 0.3, 0.6])
    means = resampled_means(values[None], target_weights(len(values), 20_000))[:, 0]
    found = percentiles(means, len(values))
    wanted = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))

    assert found == pytest.approx(wanted, abs=0.03)
    with pytest.raises(ValueError, match="found 1"):
        percentiles(means, 1)


def test_paired_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for trial in range(120):
        draw = random.Random(trial)
        base = [draw.choice([0.1, 0.5, 0.9]) for _ in range(25)]
        (pair,) = compare({"a": repeated(base, 3, trial + 1000), "b": repeated(base, 3, trial + 5000)}, seed=trial)
        assert pair.interval is not None
        covered += pair.interval.holds(0.0)

    assert covered >= 108


def test_pairing_sees_what_independent_intervals_do_not() -> None:
    hard = {f"t{index:03}": Tally(int(index < 40), 1) for index in range(100)}
    better = {f"t{index:03}": Tally(int(index < 50), 1) for index in range(100)}

    (pair,) = compare({"better": better, "hard": hard})

    assert (pair.first_better, pair.second_better, pair.test) == (10, 0, PairTest.MCNEMAR)
    assert pair.p_value == pytest.approx(2 / 2**10)
    assert pair.apart
    assert pair.interval is not None
    assert pair.interval.low > 0


def test_only_common_targets_count_and_all_pairs_are_corrected_together() -> None:
    arms = {
        "a": {f"t{index}": Tally(1, 1) for index in range(10)},
        "b": {f"t{index}": Tally(0, 1) for index in range(2, 12)},
        "c": {f"t{index}": Tally(index % 2, 1) for index in range(12)},
    }
    first, second, third = compare(arms)

    assert (first.first, first.second, first.targets, first.first_better) == ("a", "b", 8, 8)
    assert first.p_value == pytest.approx(2 / 2**8)
    assert first.p_corrected == pytest.approx(3 * 2 / 2**8)
    assert first.apart
    assert (second.targets, third.targets) == (10, 10)


def test_too_few_targets_get_a_sentence_and_no_number() -> None:
    few = {f"t{index}": Tally(5, 5) for index in range(5)}
    none = {f"t{index}": Tally(0, 5) for index in range(5)}
    (pair,) = compare({"a": few, "b": none})
    (apart,) = compare({"a": few, "b": {"other": Tally(1, 1)}})

    assert (pair.difference, pair.interval, pair.p_value, pair.p_corrected) == (None,) * 4
    assert pair.refusal.startswith("5 common targets: even one that is better on every one of them")
    assert apart.refusal == "no target has results of both; 6 or more are needed"
    assert compare({"a": few}) == compare({}) == ()
    assert [targets_to_tell(pairs) for pairs in (1, 3, 300)] == [6, 7, 14]


def test_equal_arms_are_not_certainly_equal() -> None:
    arm = {f"t{index}": Tally(1, 1) for index in range(10)}
    (pair,) = compare({"a": arm, "b": dict(arm)})

    assert pair.difference == 0
    assert pair.p_value == 1
    assert pair.interval is not None
    assert pair.interval.low < -0.2 < 0.2 < pair.interval.high


def test_intervals_of_single_results_are_near_bonett_and_price() -> None:
    better, worse, n = 12, 5, 60
    one = {f"t{index:02}": Tally(int(index < better), 1) for index in range(n)}
    other = {f"t{index:02}": Tally(int(better <= index < better + worse), 1) for index in range(n)}
    (pair,) = compare({"a": one, "b": other})

    centre = (better - worse) / (n + 2)
    half = 1.96 * ((better + worse + 2) / (n + 2) - centre**2) ** 0.5 / (n + 2) ** 0.5
    assert pair.interval == pytest.approx(Interval(centre - half, centre + half), abs=0.02)
    assert with_unseen(np.zeros((1, 2)), np.array([0.5])).tolist() == [[0, 0, 0.5, -0.5]]


@given(st.randoms(use_true_random=False))
def test_the_order_of_a_pair_changes_its_sign_alone(draw: random.Random) -> None:
    one, other = (repeated([draw.random() for _ in range(9)], 2, draw.randrange(999)) for _ in range(2))
    (forth,), (back,) = compare({"a": one, "b": other}), compare({"b": other, "a": one})

    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.difference == pytest.approx(-(back.difference or 0.0))


def test_what_can_be_seen_follows_the_formula() -> None:
    seen = Spread(targets=100, repeats=1, between=0.25, within=None)

    assert seen.detectable() == pytest.approx((1.95996 + 0.84162) * 0.05, abs=1e-4)
    assert seen.targets_for(seen.detectable()) == 100
    assert seen.targets_for(-seen.detectable() / 2) == 400
    assert seen.repeats_for(0.1) is None
    with pytest.raises(ValueError, match="difference of 0"):
        seen.targets_for(0.0)


def test_repeats_help_only_against_what_repeats_cause() -> None:
    noise = Spread(targets=50, repeats=2, between=0.0, within=0.5)
    kind = Spread(targets=50, repeats=2, between=0.5, within=0.0)

    assert noise.repeats_for(noise.detectable() / 2) == 8
    assert kind.repeats_for(kind.detectable() / 2) is None
    assert kind.targets_for(kind.detectable() / 2) == 200


def test_the_spread_is_split_by_repeats() -> None:
    rates = [0.2, 0.5, 0.8] * 200
    found = spread(repeated(rates, 4, 1), repeated(rates, 4, 2))

    assert found is not None
    assert (found.targets, found.repeats) == (600, 4)
    assert found.within == pytest.approx(2 * (0.16 + 0.25 + 0.16) / 3, abs=0.02)
    assert found.between < 0.01


def test_equal_arms_may_still_differ_by_what_was_not_seen() -> None:
    arm = {f"t{index}": Tally(1, 1) for index in range(10)}

    equal = spread(arm, arm)
    assert equal is not None
    assert equal.detectable() > 0.2
    assert spread({"a": Tally(1, 1)}, {"a": Tally(0, 1)}) is None
    single = spread(arm, {**arm, "t1": Tally(0, 1)})
    assert single is not None
    assert single.within is None


@given(st.integers(2, 500), st.floats(0.01, 1), st.floats(0.0, 1), st.floats(0.02, 0.9))
def test_what_is_asked_for_is_then_detectable(targets: int, between: float, within: float, wanted: float) -> None:
    seen = Spread(targets=targets, repeats=3, between=between, within=within)
    more = Spread(targets=seen.targets_for(wanted), repeats=3, between=between, within=within)

    assert more.detectable() <= wanted + 1e-9
    repeats = seen.repeats_for(wanted)
    if repeats is not None:
        assert Spread(targets=targets, repeats=repeats, between=between, within=within).detectable() <= wanted + 1e-9
