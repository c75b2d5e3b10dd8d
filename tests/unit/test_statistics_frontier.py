"""The frontier and the cheapest that is good enough, with how sure both are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.draws import MIN_DRAWN, Draws, drawn_by_count, drawn_by_target
from orchestrator.analysis.frontier_odds import (
    Offer,
    cheapest_not_worse,
    frontier_odds,
    near_ties,
    on_frontier,
)
from orchestrator.analysis.tally import Tally

offers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=7)


def single(solved: int, of: int) -> dict[str, Tally]:
    return {f"t{index:03}": Tally(int(index < solved), 1) for index in range(of)}


@given(offers)
def test_on_the_frontier_is_what_no_other_beats(values: list[tuple[int, int]]) -> None:
    costs = np.array([cost for cost, _ in values], dtype=float)
    rates = np.array([rate for _, rate in values], dtype=float)
    wanted = [
        rate > 0 and not any(c <= cost and r >= rate and (c, r) != (cost, rate) for c, r in values)
        for cost, rate in values
    ]

    assert on_frontier(costs, rates).tolist() == wanted
    assert on_frontier(costs, np.vstack([rates, rates])).tolist() == [wanted, wanted]


def test_memberships_are_sure_where_nothing_is_near_and_unsure_where_two_are_alike() -> None:
    arms = {"cheap": single(40, 100), "alike": single(41, 100), "best": single(90, 100), "worst": single(2, 100)}
    arms["alike"] |= {"t000": Tally(0, 1), "t001": Tally(0, 1), "t050": Tally(1, 1), "t051": Tally(1, 1)}
    found = frontier_odds(
        [
            Offer(label=label, cost=cost, rate=sum(cell.solved for cell in arms[label].values()) / 100)
            for label, cost in (("cheap", 1.0), ("alike", 1.5), ("best", 9.0), ("worst", 2.0))
        ],
        drawn_by_target(arms),
    )

    assert [(one.label, one.on_frontier, one.settled) for one in found] == [
        ("cheap", True, True),
        ("alike", True, False),
        ("worst", False, True),
        ("best", True, True),
    ]
    (sentence,) = near_ties(found)
    assert sentence.startswith("On the frontier, but not surely: alike (in ")


def test_unknown_cost_takes_no_part_and_few_targets_give_no_share() -> None:
    found = frontier_odds(
        [
            Offer(label="dark", cost=None, rate=1.0),
            Offer(label="a", cost=1.0, rate=0.5),
            Offer(label="b", cost=2.0, rate=None),
        ],
        drawn_by_target({"a": single(1, 2)}),
    )

    assert [(one.label, one.on_frontier, one.share) for one in found] == [("a", True, None)]
    assert near_ties(found) == ()
    assert frontier_odds([], None) == ()


def test_the_cheapest_good_enough_states_its_chance_of_being_wrong() -> None:
    arms = {"best": single(90, 100), "near": single(88, 100), "far": single(50, 100)}
    table = [
        Offer(label="best", cost=9.0, rate=0.9),
        Offer(label="near", cost=2.0, rate=0.88),
        Offer(label="far", cost=1.0, rate=0.5),
    ]
    drawn = drawn_by_target(arms)
    assert drawn is not None

    found = cheapest_not_worse(table, drawn, 0.05)
    strict = cheapest_not_worse(table, drawn, 0.0)

    assert found is not None
    assert (found.label, found.best) == ("near", "best")
    assert 0 < found.wrong < 0.2
    assert strict is not None
    assert (strict.label, strict.best, strict.delta) == ("best", "best", 0.0)
    assert 0.5 / 101 < strict.wrong < 0.1, "two targets more for the other side would be enough"
    with pytest.raises(ValueError, match="found -1"):
        cheapest_not_worse(table, drawn, -1)


def test_nothing_is_chosen_where_nothing_is_solved_or_priced() -> None:
    drawn = Draws(rates=np.zeros((5, 1)), units=10)

    assert cheapest_not_worse([Offer(label="a", cost=1.0, rate=0.0)], drawn, 0.1) is None
    assert cheapest_not_worse([Offer(label="a", cost=None, rate=0.4)], drawn, 0.1) is None


def test_the_best_may_be_of_unknown_cost_and_still_makes_a_choice_wrong() -> None:
    arms = {"dark": single(90, 100), "a": single(20, 100)}
    drawn = drawn_by_target(arms)
    assert drawn is not None
    table = [Offer(label="dark", cost=None, rate=0.9), Offer(label="a", cost=1.0, rate=0.2)]

    assert cheapest_not_worse(table, drawn, 0.1) is None
    found = cheapest_not_worse(table, drawn, 0.7)
    assert found is not None
    assert (found.label, found.best) == ("a", "dark")
    assert 0.2 < found.wrong < 0.8


@given(
    st.lists(
        st.integers(1, 50).flatmap(lambda n: st.builds(Tally, st.integers(0, n), st.just(n))), min_size=1, max_size=5
    )
)
def test_counts_alone_are_drawn_around_their_share(counts: list[Tally]) -> None:
    drawn = drawn_by_count(counts, resamples=400).rates

    assert drawn.shape == (400, len(counts))
    for column, (solved, results) in zip(drawn.T, counts, strict=True):
        chance = (solved + 0.5) / (results + 1)
        assert abs(column.mean() - chance) < 6 * (chance * (1 - chance) / results / 400) ** 0.5


def test_few_targets_are_not_resampled_and_no_share_is_certain() -> None:
    assert drawn_by_target({"a": single(3, MIN_DRAWN - 1)}) is None
    drawn = drawn_by_target({"a": single(3, MIN_DRAWN), "b": single(2, MIN_DRAWN)})
    assert drawn is not None

    nested = cheapest_not_worse(
        [Offer(label="a", cost=1.0, rate=0.3), Offer(label="b", cost=1.0, rate=0.2)], drawn, 0.0
    )

    assert nested is not None
    # One target of ten apart: not 1 in 11, as resampling alone has it, for two unseen ones may go the other way.
    assert 1.5 / 11 < nested.wrong < 3 / 11
