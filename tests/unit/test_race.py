"""Races: who is stopped, on what evidence, and how often that is wrong."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis.race import RaceRow, Stop, decide, fewest_targets, needed, running
from orchestrator.analysis.race_replay import replay
from orchestrator.domain.order import Placed, target_by_target
from orchestrator.domain.race import Race

RULES = Race()


def row(arm: str, target: int, solved: bool | None, *, repeat: int = 1, ended: bool = True) -> RaceRow:
    return RaceRow(arm=arm, target=f"t{target:03}", repeat=repeat, order=target, ended=ended, solved=solved)


def race(results: dict[str, str], repeat: int = 1) -> list[RaceRow]:
    """One row for each letter: `+` solved, `-` not, `x` ended without a result, `.` not ended yet."""
    return [
        row(arm, place, {"+": True, "-": False}.get(one), repeat=repeat, ended=one != ".")
        for arm, line in results.items()
        for place, one in enumerate(line)
    ]


def simulated(seed: int, rates: list[float], targets: int, repeats: int) -> list[RaceRow]:
    """Targets that are hard or easy for everybody, and some that suit one arm: repeats of a target are alike."""
    random = np.random.default_rng(seed)
    ease = random.normal(0, 1.5, targets)
    rows = []
    for at, rate in enumerate(rates):
        taste = random.normal(0, 1.0, targets)
        chance = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + ease + taste)))
        for repeat in range(1, repeats + 1):
            solved = random.random(targets) < chance
            rows += [row(f"arm{at}", target, bool(solved[target]), repeat=repeat) for target in range(targets)]
    return rows


def test_one_target_moves_the_evidence_by_half_and_none_by_nothing() -> None:
    won, lost, none = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]]), np.array([[np.nan], [1.0]])

    found = [float(np.exp(running(share).evidence[0, 1, 0])) for share in (won, lost, none)]

    assert found == pytest.approx([1.5, 0.5, 1.0])


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 1.0]), min_size=1, max_size=7))
def test_nothing_is_gained_on_average_where_either_could_as_well_have_been_better(leads: list[float]) -> None:
    def evidence(signs: tuple[int, ...]) -> float:
        signed = np.array(leads) * signs
        share = np.stack([np.maximum(-signed, 0), np.maximum(signed, 0)])
        return float(np.exp(running(share).evidence[0, 1, -1]))

    every = [evidence(signs) for signs in product((-1, 1), repeat=len(leads))]

    assert np.mean(every) == pytest.approx(1.0)


def test_an_arm_that_loses_on_every_target_is_stopped_as_soon_as_that_can_be_said() -> None:
    least = fewest_targets(2, RULES)

    early = decide(race({"a": "+" * (least - 1), "b": "-" * (least - 1)}), RULES)
    found = decide(race({"a": "+" * least, "b": "-" * least}), RULES)

    assert early == ()
    assert [replace(stop, evidence=0.0) for stop in found] == [
        Stop(
            arm="b",
            against="a",
            targets=least,
            better=least,
            worse=0,
            repeat=1,
            evidence=0.0,
            needed=needed(2, 2, RULES, 1),
            arms=2,
        )
    ]
    assert found[0].evidence >= found[0].needed == pytest.approx(2 / (0.05 * 0.75))


def test_nobody_is_stopped_on_fewer_targets_than_asked_for_however_clear_it_is() -> None:
    rules = Race(min_targets=40)

    assert decide(race({"a": "+" * 39, "b": "-" * 39}), rules) == ()
    assert [stop.targets for stop in decide(race({"a": "+" * 40, "b": "-" * 40}), rules)] == [40]


def test_a_target_that_ended_early_waits_for_those_before_it() -> None:
    rows = race({"a": "+" * 30, "b": "+." + "-" * 28})

    assert decide(rows, RULES) == ()
    assert decide([replace(one, ended=True) for one in rows], RULES) != ()


def test_what_infrastructure_broke_counts_for_nobody() -> None:
    least = fewest_targets(2, RULES)
    rows = race({"a": "x" * 50 + "+" * least, "b": "-" * 50 + "-" * least})

    found = decide(rows, RULES)

    assert [(stop.arm, stop.targets, stop.better, stop.worse) for stop in found] == [("b", least, least, 0)]
    assert decide(race({"a": "+" * 60, "b": "x" * 60}), RULES) == ()


def test_only_the_common_targets_are_compared() -> None:
    rows = [*race({"a": "+" * 60}), *(row("b", target, False) for target in range(100, 160))]

    assert decide(rows, RULES) == ()


def test_the_last_one_runs_on_and_who_is_out_stops_nobody() -> None:
    rows = race({"a": "+" * 60, "b": "-" * 60, "c": "-" * 60})

    assert sorted(stop.arm for stop in decide(rows, RULES)) == ["b", "c"]
    assert [stop.arm for stop in decide(rows, RULES, out={"b"})] == ["c"]
    assert decide(rows, RULES, out={"a"}) == ()
    assert decide(rows, RULES, out={"b", "c"}) == ()
    assert decide([], RULES) == () == decide(race({"a": "+++"}), RULES)


def test_equal_arms_are_both_kept_without_a_margin_and_one_is_with_it() -> None:
    rows = race({"a": "+-" * 150, "b": "+-" * 150})

    assert decide(rows, RULES) == ()
    assert len(decide(rows, Race(margin=0.1))) == 1


def test_repeats_are_a_round_of_their_own_in_which_a_target_still_counts_once() -> None:
    first = race({"a": "+-" * 20, "b": "+-" * 20})
    second = race({"a": "+" * 40, "b": "-" * 40}, repeat=2)

    found = decide([*first, *second], RULES)

    assert [(one.arm, one.repeat, one.targets, one.better) for one in found] == [("b", 2, 40, 40)]
    assert decide([*first, *(replace(one, ended=False) for one in second)], RULES) == ()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 2))
def test_a_replay_stops_the_same_arms_as_the_race_did(seed: int, arms: int, repeats: int) -> None:
    rules = Race(min_targets=5, error_rate=0.5)
    rows = simulated(seed, [0.1, 0.9, 0.5, 0.2][:arms], 16, repeats)
    out: list[Stop] = []
    for repeat in range(1, repeats + 1):
        for target in range(16):
            gone = {stop.arm for stop in out}
            known = [
                replace(one, ended=(one.repeat, one.order) <= (repeat, target) or one.arm in gone) for one in rows
            ]
            known = [one if one.ended else replace(one, solved=None) for one in known]
            out += decide(known, rules, gone)

    found = replay(rows, rules)

    assert [(stop.arm, stop.targets) for stop in found.stops] == [(stop.arm, stop.targets) for stop in out]
    assert {arm for arm, _ in found.inside} == {one.arm for one in rows} - {stop.arm for stop in out}


@settings(max_examples=40)
@given(st.integers(0, 99), st.permutations(range(18)))
def test_a_race_runs_every_profile_on_a_target_before_the_next_whatever_the_order_of_the_file(
    seed: int, shuffled: list[int]
) -> None:
    matrix = [
        Placed(target=target, profile=profile, repeat=repeat)
        for target in ("x", "y", "z")
        for profile in ("a", "b", "c")
        for repeat in (1, 2)
    ]
    places = dict(zip(matrix, target_by_target(matrix, seed), strict=True))
    mixed = [matrix[at] for at in shuffled]

    in_order = sorted(matrix, key=lambda one: places[one])

    assert sorted(places.values()) == list(range(1, 19))
    blocks = [{(one.repeat, one.target) for one in in_order[at : at + 3]} for at in range(0, 18, 3)]
    assert [len(block) for block in blocks] == [1] * 6
    assert [one.repeat for one in in_order] == [1] * 9 + [2] * 9
    assert [one.target for one in in_order[:9]] == [one.target for one in in_order[9:]]
    assert dict(zip(mixed, target_by_target(mixed, seed), strict=True)) == places


def test_a_race_ends_when_its_runs_are_made() -> None:
    rows = simulated(1, [0.5, 0.5, 0.5], 40, 1)

    found = replay(rows, Race(most_runs=0.25))

    assert (found.runs, found.of_runs, found.spent, found.stops) == (30, 120, True, ())
    assert not replay(rows, RULES).spent


@pytest.mark.parametrize(("rates", "repeats"), [([0.4] * 4, 1), ([0.6, 0.6, 0.6], 2)])
def test_among_equals_hardly_ever_is_anybody_stopped(rates: list[float], repeats: int) -> None:
    races = 100

    wrong = sum(bool(replay(simulated(seed, rates, 40, repeats), RULES).stops) for seed in range(races))

    assert wrong <= 0.05 * races


def test_the_best_stays_and_the_hopeless_go() -> None:
    found = [replay(simulated(seed, [0.8, 0.1, 0.1, 0.1], 80, 1), RULES) for seed in range(40)]

    assert [one.winner for one in found] == ["arm0"] * 40
    assert np.mean([one.runs / one.of_runs for one in found]) < 0.75
