"""What runs that ended say about the next ones: which runs are taken, how far they reach, and if that is true."""

import random
from math import log
from statistics import fmean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis.estimate import Estimate, Source, estimate_alike, estimate_another
from orchestrator.analysis.known import COST, SECONDS, TOKENS, Run, Subject, known_from
from orchestrator.analysis.sizes import sizes_of

amounts = st.floats(0.01, 1e7, allow_nan=False)


def of(target: str, profile: str = "p", agent: str = "a") -> Subject:
    return Subject(f"{target}/{profile}", target, profile, agent)


def took(*seconds: float, subject: Subject) -> list[Run]:
    return [Run(subject, {SECONDS: one}) for one in seconds]


def expect(runs: list[Run], subject: Subject) -> Estimate:
    found = known_from(runs).expect(subject, SECONDS)
    assert found is not None
    return found


def test_the_nearest_runs_that_are_enough_are_taken() -> None:
    cell = took(10, 20, 30, subject=of("t1"))
    assert (expect(cell, of("t1")).source, expect(cell, of("t1")).mean) == (Source.CELL, 20.0)
    assert expect(cell, of("t1", "new limits")).source is Source.AGENT_ON_TARGET
    assert expect(cell, of("t2")).source is Source.PROFILE
    assert expect(cell, of("t2", "new limits")).source is Source.AGENT
    assert expect(cell, of("t1", "q", "b")).source is Source.TARGET
    assert known_from(cell).expect(of("t2", "q", "b"), SECONDS) is None
    assert known_from(cell[:2]).expect(of("t1"), SECONDS) is None, "two runs are not enough"
    assert known_from(cell).expect(of("t1"), COST) is None, "what nobody measured is unknown"


def test_how_large_a_target_is_others_have_shown() -> None:
    """a takes twice as long as b and c everywhere; on the large target it never ran."""
    runs: list[Run] = []
    for target, seconds in (("t1", 10.0), ("t2", 20.0), ("t3", 40.0), ("large", 400.0)):
        for agent, times in (("a", 2.0), ("b", 1.0), ("c", 1.0)):
            if (target, agent) != ("large", "a"):
                runs += took(
                    *(seconds * times * noise for noise in (0.9, 1.0, 1.1)), subject=of(target, agent, agent)
                )
    found = expect(runs, of("large", "a", "a"))
    assert found.source is Source.SIZED
    assert found.middle == pytest.approx(800, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 800 < found.high < 1200


def test_agents_and_targets_that_nothing_connects_are_not_compared() -> None:
    here = [("a", target, 1.0) for target in ("t1", "t2", "t3")] + [
        ("b", target, 2.0) for target in ("t1", "t2", "t3")
    ]
    there = [("c", target, 9.0) for target in ("u1", "u2", "u3")] + [("d", target, 9.0) for target in ("u1", "u2")]
    sizes = sizes_of(*zip(*(here + there), strict=True))
    assert sizes.expect("a", "t1") is not None
    assert sizes.expect("a", "u1") is None


def test_with_too_few_targets_nobody_knows_how_much_another_one_differs() -> None:
    two = estimate_another(Source.PROFILE, [10.0, 10.0, 40.0], ["t1", "t1", "t2"])
    assert (two.mean, two.low, two.high) == (20.0, None, None)
    three = estimate_another(Source.PROFILE, [10.0, 20.0, 40.0], ["t1", "t2", "t3"])
    assert three.high is not None


def test_what_costs_nothing_is_known_to_cost_nothing() -> None:
    free = estimate_alike(Source.CELL, [0.0, 0.0, 0.0])
    assert (free.mean, free.middle, free.low, free.high) == (0, 0, 0, 0)


def test_a_limit_ends_every_run() -> None:
    found = estimate_alike(Source.CELL, [10.0, 100.0, 1000.0]).limited(300.0)
    assert (found.mean, found.high) == (300.0, 300.0)
    assert found.middle == pytest.approx(100.0)


@given(st.lists(amounts, min_size=3, max_size=12))
def test_the_interval_holds_the_middle_and_turns_with_the_unit(values: list[float]) -> None:
    found = estimate_alike(Source.CELL, values)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.middle * (1 + 1e-9)
    assert found.middle <= found.high * (1 + 1e-9)
    again = estimate_alike(Source.CELL, [1000 * value for value in values])
    assert again.low == pytest.approx(1000 * found.low)
    assert again.high == pytest.approx(1000 * found.high)


@given(st.lists(amounts, min_size=3, max_size=6), st.integers(2, 5))
def test_more_of_the_same_history_only_narrows(values: list[float], times: int) -> None:
    few, many = estimate_alike(Source.CELL, values), estimate_alike(Source.CELL, values * times)
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low <= many.low * (1 + 1e-9)
    assert many.high <= few.high * (1 + 1e-9)
    assert many.mean == pytest.approx(few.mean)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("tuv"), amounts), max_size=30), st.randoms())
def test_the_order_of_runs_does_not_matter(rows: list[tuple[str, str, float]], chance: random.Random) -> None:
    runs = [Run(of(target, agent, agent), {SECONDS: value}) for agent, target, value in rows]
    mixed = list(runs)
    chance.shuffle(mixed)
    for agent in "abc":
        for target in "tuvw":
            one, other = (known_from(those).expect(of(target, agent, agent), SECONDS) for those in (runs, mixed))
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert (one.source, one.runs) == (other.source, other.runs)
                assert one.middle == pytest.approx(other.middle, rel=1e-6)


def test_an_unknown_quantity_of_some_runs_leaves_the_others() -> None:
    runs = [Run(of("t"), {SECONDS: 1.0, TOKENS: tokens} if tokens else {SECONDS: 1.0}) for tokens in (0, 5, 5, 5)]
    known = known_from(runs)
    tokens, seconds = known.expect(of("t"), TOKENS), known.expect(of("t"), SECONDS)
    assert tokens is not None
    assert seconds is not None
    assert (tokens.runs, seconds.runs) == (3, 4)


# -- are they true --


def world(chance: random.Random, runs: int) -> tuple[list[Run], list[tuple[Subject, float]]]:
    """Eight agents on 30 targets, log-normal by agent, target and run; the last agent knows half of the targets."""
    known, asked = [], []
    sizes = [chance.gauss(0, 0.9) for _ in range(30)]
    for agent in range(8):
        speed = chance.gauss(5, 0.4)
        for number, size in enumerate(sizes):
            subject = of(f"t{number}", f"p{agent}", f"a{agent}")
            fit = speed + size + chance.gauss(0, 0.25)
            seen = 0 if agent == 7 and number % 2 else runs
            known += [Run(subject, {SECONDS: chance.lognormvariate(fit, 0.4)}) for _ in range(seen)]
            asked.append((subject, chance.lognormvariate(fit, 0.4)))
    return known, asked


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_of_ten_next_runs_eight_lie_in_the_interval(runs: int) -> None:
    inside: dict[Source, list[bool]] = {}
    ratios: list[float] = []
    for seed in range(20):
        known_runs, asked = world(random.Random(seed), runs)
        known = known_from(known_runs)
        for subject, came in asked:
            found = known.expect(subject, SECONDS)
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            inside.setdefault(found.source, []).append(found.low <= came <= found.high)
            ratios.append(log(came / found.middle))
    assert {source: len(those) for source, those in inside.items()} == {Source.CELL: 4500, Source.SIZED: 300}
    assert fmean(inside[Source.CELL]) == pytest.approx(0.8, abs=0.03)
    assert fmean(inside[Source.SIZED]) == pytest.approx(0.8, abs=0.08)
    assert median(ratios) == pytest.approx(0.0, abs=0.03)


def test_of_targets_that_nobody_saw_the_profile_tells_as_much_as_it_can() -> None:
    chance, inside = random.Random(3), []
    for _ in range(400):
        seen = [chance.lognormvariate(5, 0.9) for _ in range(12)]
        found = estimate_another(Source.PROFILE, seen, [f"t{number}" for number in range(12)])
        assert found.low is not None
        assert found.high is not None
        inside.append(found.low <= chance.lognormvariate(5, 0.9) <= found.high)
    assert fmean(inside) == pytest.approx(0.8, abs=0.05)
