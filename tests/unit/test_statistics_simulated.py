"""The statistics on made-up experiments whose truth is known: a small run of `benchmarks/statistics_check.py`.

Bounds are four standard errors of a share over so many runs away from what is claimed; the seeds are fixed.
"""

import pytest

from benchmarks.statistics_check import Design, Pairing, compared, covered, drifted, exchanged, family, power, same

RUNS = 100
# 5 % of 100, and four times the square root of 100 x 0.05 x 0.95.
AT_MOST = 5 + 4 * 2.2


@pytest.mark.parametrize("design", [Design(6, 5), Design(20, 5, 0.85, 0.3), Design(20, 1, 0.15)])
def test_intervals_by_target_hold_the_truth_as_often_as_they_say(design: Design) -> None:
    ours, plain = covered(design, RUNS)

    assert ours.of == RUNS
    assert RUNS - ours.hits <= AT_MOST
    if design.repeats > 1:
        assert plain.hits < ours.hits, "all results as independent claim too much"


@pytest.mark.parametrize("pairing", [same, exchanged])
def test_equal_profiles_are_told_apart_as_seldom_as_claimed(pairing: Pairing) -> None:
    found = compared(Design(12, 3), pairing, RUNS)

    assert found.apart.hits <= AT_MOST
    assert RUNS - found.held.hits <= AT_MOST


def test_of_many_equal_profiles_hardly_any_two_are_told_apart() -> None:
    assert family(Design(20, 1), profiles=5, runs=RUNS).hits <= AT_MOST


def test_a_clear_difference_is_found() -> None:
    assert power(Design(20, 5), 0.5, RUNS).hits > 0.9 * RUNS


def test_a_night_without_drift_shows_none_in_whatever_order_it_ran() -> None:
    rounds, silent = drifted(Design(20, 3), "rounds", by_cell=True, runs=RUNS)
    assert silent == 0
    assert rounds.hits <= AT_MOST
    assert drifted(Design(20, 3), "target by target", by_cell=True, runs=20)[1] == 20
