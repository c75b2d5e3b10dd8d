"""Longest expected first, and turns between experiments."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.order import Candidate, Placed, Turn, interleave, joins_after, lookahead, pick, worth_reading

ACCOUNT: tuple[str, ...] = ("account:max",)
POOL: tuple[str, ...] = ("pool:gpu",)
BOTH = ACCOUNT + POOL
BLOCKS = [Placed(target=f"t{t}", profile=f"p{p}", repeat=r) for r in (1, 2, 3) for t in range(6) for p in range(3)]
seconds = st.none() | st.floats(1, 1e5, allow_nan=False)


def order(expected: list[float | None], seed: int = 1) -> list[Placed]:
    places = interleave(BLOCKS, seed, expected=expected)
    return [job for _, job in sorted(zip(places, BLOCKS, strict=True), key=lambda pair: pair[0])]


def test_blocks_that_take_long_come_first_once_every_block_had_its_first_repeat() -> None:
    expected = [100.0 * int(job.target[1:]) + (50 if job.profile == "p1" else 0) for job in BLOCKS]
    names = [job.target for job in order(list(expected))]
    longest_first = ("t5", "t4", "t3", "t2", "t1", "t0")
    assert names == [name for repeats in (1, 2) for name in longest_first for _ in range(3 * repeats)]


@given(st.lists(seconds, min_size=len(BLOCKS), max_size=len(BLOCKS)), st.integers(0, 9))
def test_whatever_is_expected_blocks_and_the_draw_inside_stay(expected: list[float | None], seed: int) -> None:
    drawn, sorted_ = order([None] * len(BLOCKS), seed), order(expected, seed)
    assert drawn == [job for _, job in sorted(zip(interleave(BLOCKS, seed), BLOCKS, strict=True), key=lambda p: p[0])]
    for start in range(0, len(sorted_), 3):
        block = sorted_[start : start + 3]
        assert block == [job for job in drawn if (job.target, job.repeat) == (block[0].target, block[0].repeat)]


def test_equal_expectations_leave_the_repeats_one_after_the_other() -> None:
    per_profile: list[float | None] = [10.0 * int(job.profile[1:]) for job in BLOCKS]
    assert order(per_profile) == order([None] * len(BLOCKS))


def test_a_block_of_which_nothing_is_known_counts_as_the_mean() -> None:
    expected: list[float | None] = [None if job.target == "t5" else 10.0 * int(job.target[1:]) for job in BLOCKS]
    names = list(dict.fromkeys(job.target for job in order(expected)))
    assert set(names[2:4]) == {"t2", "t5"}
    assert [names[0], names[1], names[4], names[5]] == ["t4", "t3", "t1", "t0"]


# -- turns --


def test_a_new_experiment_joins_where_the_others_are() -> None:
    turns = {POOL: Turn(500, 900), ACCOUNT: Turn(4, 900)}
    assert joins_after(POOL, turns) == 499
    assert joins_after(ACCOUNT, turns) == 3
    assert joins_after(BOTH, turns) == 499, "nobody of its kind waits: as far as those it shares slots with"
    assert joins_after(("pool:other",), turns) == 0
    assert joins_after(POOL, {POOL: Turn(None, 900)}) == 900, "what comes back from a worker keeps its turn"


def test_experiments_take_turns_on_one_slot() -> None:
    """The first has 40 jobs; a second with 10 comes when 15 have run, a third with 10 when 20 have."""
    waiting = {("a", place): place for place in range(1, 41)}
    ran: list[str] = []
    while waiting:
        for name, moment in (("b", 15), ("c", 20)):
            if len(ran) == moment:
                after = joins_after(ACCOUNT, {ACCOUNT: Turn(min(waiting.values()), 40)})
                waiting |= {(name, after + place): after + place for place in range(1, 11)}
        keys = dict(enumerate(sorted(waiting)))
        jobs = [Candidate(job_id=n, needs=ACCOUNT, position=waiting[key]) for n, key in keys.items()]
        [chosen] = pick(jobs, {ACCOUNT[0]: 1}).chosen
        ran.append(keys[chosen][0])
        del waiting[keys[chosen]]
    assert Counter(ran[:15]) == {"a": 15}
    assert "".join(ran[15:20]) == "ababa"
    assert max(Counter(ran[20:32]).values()) - min(Counter(ran[20:32]).values()) <= 1


# -- what a pass reads --


@given(
    st.dictionaries(st.sampled_from([*BOTH, "pool:x"]), st.integers(-3, 5)),
    st.lists(st.sampled_from([ACCOUNT, POOL, BOTH, ("pool:x",)]), max_size=40),
    st.randoms(use_true_random=False),
)
def test_reading_only_what_is_worth_it_changes_no_choice(
    free: dict[str, int], kinds: list[tuple[str, ...]], chance: random.Random
) -> None:
    jobs = [
        Candidate(job_id=number, needs=needs, position=number, passed_over=chance.randint(0, 4))
        for number, needs in enumerate(kinds)
    ]
    ahead = lookahead(dict.fromkeys(free, 2), set(kinds))
    read = []
    for needs in set(kinds):
        read += [job for job in jobs if job.needs == needs][: worth_reading(needs, free, ahead)]
    assert pick(read, free, ahead).chosen == pick(jobs, free, ahead).chosen


def test_nothing_goes_ahead_to_a_pool_that_a_pair_could_use() -> None:
    total = {"account:max": 1, "pool:gpu": 4, "pool:x": 2}
    assert lookahead(total, [POOL, ACCOUNT]) == {"pool:gpu": 4, "pool:x": 2}
    assert lookahead(total, [POOL, BOTH]) == {"pool:x": 2}
    assert lookahead({"pool:gpu": 4}, [POOL, BOTH]) == {"pool:gpu": 4}, "its account is closed, so it cannot start"
