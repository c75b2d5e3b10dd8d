"""One arm: exact intervals, standard errors and intervals by target, pass@k and pass^k."""

from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.beta import beta_cdf, t_quantile
from orchestrator.analysis.clusters import MIN_TARGETS, clustered_interval, effective_results, standard_errors
from orchestrator.analysis.intervals import clopper_pearson, wilson
from orchestrator.analysis.passes import all_passes, passes
from orchestrator.analysis.tally import Tally, tally, total

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cells = st.integers(0, 6).flatmap(lambda n: st.builds(Tally, st.integers(0, n), st.just(n)))
arms = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), cells, max_size=12)


@given(counts, st.sampled_from([0.8, 0.95, 0.999]))
def test_the_exact_interval_is_scipys(counted: tuple[int, int], confidence: float) -> None:
    solved, n = counted
    wanted = stats.binomtest(solved, n).proportion_ci(confidence, method="exact")

    assert clopper_pearson(solved, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@given(counts)
def test_wilson_is_scipys(counted: tuple[int, int]) -> None:
    wanted = stats.binomtest(*counted).proportion_ci(0.95, method="wilson")

    assert wilson(*counted) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@given(st.floats(0.001, 0.999), st.floats(0.3, 3000), st.floats(0.3, 3000))
def test_the_beta_distribution_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-12)


@given(st.floats(0.6, 0.9999), st.integers(1, 2000))
def test_quantiles_of_t_are_scipys(share: float, degrees: int) -> None:
    assert t_quantile(share, degrees) == pytest.approx(stats.t.ppf(share, degrees), rel=1e-6)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="found 3 of 2"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="found 3 of 2 on 'a'"):
        standard_errors({"a": Tally(3, 2)})
    with pytest.raises(ValueError, match="found 0"):
        passes({"a": Tally(1, 2)}, 0)


def test_results_are_counted_by_target() -> None:
    assert tally([("a", True), ("b", False), ("a", False)]) == {"a": (1, 2), "b": (0, 1)}
    assert total({"a": Tally(1, 2), "b": Tally(0, 1)}) == (1, 3)


@given(arms)
def test_alike_repeats_never_count_for_more_than_they_are(arm: dict[str, Tally]) -> None:
    effective, results = effective_results(arm), total(arm).results

    assert (effective is None) == (results == 0)
    assert effective is None or 0 < effective <= results


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_with_one_result_per_target_all_errors_are_the_independent_one(solved: list[bool]) -> None:
    errors = standard_errors({str(index): Tally(int(one), 1) for index, one in enumerate(solved)})

    assert errors is not None
    assert errors.within is None
    assert (errors.clustered is None) == (len(set(solved)) == 1)
    if errors.clustered is not None:
        assert errors.clustered == pytest.approx(errors.independent)


def test_repeats_that_always_agree_count_once() -> None:
    arm = {str(index): Tally(5 * (index % 2), 5) for index in range(20)}
    errors = standard_errors(arm)

    assert errors is not None
    assert errors.within == 0
    assert errors.clustered == pytest.approx(sqrt(0.25 / 20))
    assert effective_results(arm) == pytest.approx(19)


def test_unanimity_on_many_repeats_is_no_certainty() -> None:
    arm = {str(index): Tally(10, 10) for index in range(8)}

    interval = clustered_interval(arm)

    assert interval is not None
    assert interval.low < clopper_pearson(8, 8).low + 0.01
    assert interval.high == 1


def test_few_targets_and_no_results_have_no_clustered_interval() -> None:
    assert clustered_interval({str(i): Tally(2, 5) for i in range(MIN_TARGETS - 1)}) is None
    assert clustered_interval({}) is None
    assert standard_errors({"a": Tally(0, 0)}) is None


@given(arms)
def test_a_clustered_interval_holds_the_rate(arm: dict[str, Tally]) -> None:
    interval = clustered_interval(arm)
    if interval is not None:
        solved, results = total(arm)
        assert interval.low - 1e-12 <= solved / results <= interval.high + 1e-12


@given(st.integers(0, 7), st.integers(1, 7), st.integers(1, 7))
def test_passes_are_the_share_among_all_ways_to_take_k(solved: int, n: int, k: int) -> None:
    runs = [index < solved for index in range(n)]
    ways = list(combinations(runs, k))
    found = passes({"a": Tally(min(solved, n), n)}, k)

    if k > n:
        assert found is None
    else:
        assert found is not None
        assert found.at_least_once == pytest.approx(sum(map(any, ways)) / len(ways))
        assert found.every_time == pytest.approx(sum(map(all, ways)) / len(ways))


def test_passes_say_how_many_targets_have_as_many_results() -> None:
    arm = {"a": Tally(1, 3), "b": Tally(2, 2), "c": Tally(0, 0)}

    assert [one.k for one in all_passes(arm)] == [1, 2]
    found = passes(arm, 3)
    assert found is not None
    assert (found.targets, found.of) == (1, 2)
    assert all_passes({}) == ()
