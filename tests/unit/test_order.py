"""The order of jobs: interleaved positions, and the choice of the next ones."""

import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.order import Candidate, Picked, Placed, interleave, pick

CLOUD, GPU = "account:max", "pool:gpu"


def grid(targets: int, profiles: int, repeats: int) -> list[Placed]:
    return [
        Placed(target=f"t{t}", profile=f"p{p}", repeat=r)
        for t, p, r in product(range(targets), range(profiles), range(repeats))
    ]


def in_order(jobs: Sequence[Placed], positions: Sequence[int]) -> list[Placed]:
    return [job for _, job in sorted(zip(positions, jobs, strict=True), key=lambda pair: pair[0])]


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
seeds = st.integers(0, 2**63 - 1)


@given(sizes, seeds)
def test_each_block_has_each_profile_once(size: tuple[int, int, int], seed: int) -> None:
    jobs = grid(*size)
    order = in_order(jobs, interleave(jobs, seed))
    profiles = size[1]
    for start in range(0, len(order), profiles):
        block = order[start : start + profiles]
        assert len({job.profile for job in block}) == profiles
        assert len({(job.target, job.repeat) for job in block}) == 1


@given(sizes, seeds)
def test_no_window_has_a_profile_more_than_twice(size: tuple[int, int, int], seed: int) -> None:
    jobs = grid(*size)
    order = in_order(jobs, interleave(jobs, seed))
    profiles = size[1]
    for start in range(len(order) - profiles + 1):
        assert max(Counter(job.profile for job in order[start : start + profiles]).values()) <= 2


@given(sizes, seeds)
def test_repeats_and_targets_are_balanced(size: tuple[int, int, int], seed: int) -> None:
    targets, profiles, repeats = size
    jobs = grid(*size)
    order = in_order(jobs, interleave(jobs, seed))
    assert [job.repeat for job in order] == sorted(job.repeat for job in order)
    for end in range(0, len(order) + 1, profiles):
        seen = Counter(job.target for job in order[:end])
        spread = [seen[f"t{t}"] for t in range(targets)]
        assert max(spread) - min(spread) <= profiles
    assert len(order) == targets * profiles * repeats


@given(sizes, seeds, st.randoms(use_true_random=False))
def test_positions_do_not_depend_on_the_order_of_the_file(
    size: tuple[int, int, int], seed: int, shuffle: random.Random
) -> None:
    jobs = grid(*size)
    shuffled = list(jobs)
    shuffle.shuffle(shuffled)
    assert in_order(jobs, interleave(jobs, seed)) == in_order(shuffled, interleave(shuffled, seed))


@given(sizes, seeds, st.integers(0, 10**6))
def test_positions_are_new_and_without_gaps(size: tuple[int, int, int], seed: int, after: int) -> None:
    positions = interleave(grid(*size), seed, after=after)
    assert sorted(positions) == list(range(after + 1, after + 1 + len(positions)))


def test_over_many_blocks_no_profile_is_early() -> None:
    jobs = grid(targets=200, profiles=4, repeats=1)
    places = dict(zip(jobs, interleave(jobs, seed=7), strict=True))
    within = {f"p{p}": [(places[job] - 1) % 4 for job in jobs if job.profile == f"p{p}"] for p in range(4)}
    # Mean of 200 draws from 0..3: standard error 0.079; four of them.
    assert all(abs(sum(seen) / len(seen) - 1.5) < 4 * 0.079 for seen in within.values())


def test_the_seed_decides() -> None:
    jobs = grid(5, 4, 2)
    assert interleave(jobs, 1) == interleave(jobs, 1)
    assert interleave(jobs, 1) != interleave(jobs, 2)


# -- pick --


def job(number: int, *needs: str, passed_over: int = 0) -> Candidate:
    return Candidate(job_id=number, needs=tuple(sorted(needs)), position=number, passed_over=passed_over)


def test_takes_the_first_that_fit() -> None:
    jobs = [job(1, CLOUD), job(2, CLOUD), job(3, GPU), job(4, GPU), job(5, GPU)]
    assert pick(jobs, {CLOUD: 1, GPU: 2}) == Picked((1, 3, 4), ())


def test_a_hybrid_takes_both_or_neither() -> None:
    hybrid = job(1, CLOUD, GPU)
    assert pick([hybrid], {CLOUD: 1, GPU: 1}) == Picked((1,), ())
    assert pick([hybrid], {CLOUD: 1, GPU: 0}) == Picked((), ())
    assert pick([hybrid, job(2, CLOUD)], {CLOUD: 1, GPU: 0}) == Picked((2,), (1,))


def test_after_three_times_the_account_is_kept_for_the_hybrid() -> None:
    jobs = [job(1, CLOUD, GPU, passed_over=3), job(2, CLOUD), job(3, GPU)]
    assert pick(jobs, {CLOUD: 1, GPU: 0}) == Picked((), ())
    assert pick(jobs, {CLOUD: 1, GPU: 1}) == Picked((1,), ())
    # The pool is never kept: its slots go on working while the account is busy.
    assert pick(jobs, {CLOUD: 0, GPU: 1}) == Picked((3,), (1,))


def test_one_slot_is_kept_and_the_others_are_given() -> None:
    jobs = [job(1, CLOUD, GPU, passed_over=9), job(2, CLOUD), job(3, CLOUD)]
    assert pick(jobs, {CLOUD: 2, GPU: 0}) == Picked((2,), (1,))


def test_a_closed_resource_holds_nothing_back() -> None:
    jobs = [job(1, CLOUD, GPU, passed_over=9), job(2, CLOUD)]
    assert pick(jobs, {CLOUD: 1}) == Picked((2,), ())


def test_hints_go_ahead_for_jobs_with_one_resource() -> None:
    jobs = [job(1, GPU), job(2, CLOUD, GPU), job(3, GPU), job(4, GPU)]
    assert pick(jobs, {CLOUD: 1, GPU: 1}, {GPU: 1}) == Picked((1, 3), (2,))
    assert pick(jobs, {CLOUD: 1, GPU: -1}, {GPU: 1}) == Picked((), ())


def test_nothing_is_sent_ahead_of_a_hybrid_that_waits_for_that_pool_alone() -> None:
    jobs = [job(1, CLOUD, GPU, passed_over=3), job(2, GPU)]
    assert pick(jobs, {CLOUD: 1, GPU: 0}, {GPU: 2}) == Picked((), ())
    assert pick(jobs, {CLOUD: 0, GPU: 0}, {GPU: 2}) == Picked((2,), (1,))


names = st.sampled_from(["account:a", "account:b", "pool:x", "pool:y"])
candidate_lists = st.lists(
    st.tuples(st.sets(names, min_size=1, max_size=3), st.integers(0, 20), st.integers(0, 5)), max_size=25
).map(
    lambda rows: [
        Candidate(job_id=number, needs=tuple(sorted(needs)), position=position, passed_over=passed)
        for number, (needs, position, passed) in enumerate(rows)
    ]
)
slot_maps = st.dictionaries(names, st.integers(-2, 4))


@given(candidate_lists, slot_maps, slot_maps, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_never_more_than_there_is(
    candidates: list[Candidate], free: Mapping[str, int], ahead: Mapping[str, int], shuffle: random.Random
) -> None:
    picked = pick(candidates, free, ahead)
    by_id = {candidate.job_id: candidate for candidate in candidates}
    single = Counter(need for one in picked.chosen if len(by_id[one].needs) == 1 for need in by_id[one].needs)
    several = Counter(need for one in picked.chosen if len(by_id[one].needs) > 1 for need in by_id[one].needs)
    for need in {*single, *several}:
        assert single[need] + several[need] <= max(0, free[need]) + max(0, ahead.get(need, 0))
        assert several[need] <= max(0, free[need])
    assert len(set(picked.chosen)) == len(picked.chosen)
    assert not set(picked.chosen) & set(picked.passed_over)
    assert all(len(by_id[one].needs) > 1 for one in picked.passed_over)
    shuffled = list(candidates)
    shuffle.shuffle(shuffled)
    assert pick(shuffled, free, ahead) == picked


@given(candidate_lists, slot_maps)
def test_what_is_left_over_is_of_no_use_to_anybody_who_waits(
    candidates: list[Candidate], free: Mapping[str, int]
) -> None:
    """Without reservations (endless patience) the choice is maximal."""
    picked = pick(candidates, free, patience=10**9)
    left = dict(free)
    for candidate in candidates:
        if candidate.job_id in picked.chosen:
            for need in candidate.needs:
                left[need] -= 1
    for candidate in candidates:
        if candidate.job_id not in picked.chosen:
            assert any(left.get(need, 0) <= 0 for need in candidate.needs)


def simulate(kinds: Sequence[tuple[str, ...]], seconds: Sequence[float], ahead: int) -> list[int]:
    """Run all jobs on one account and a pool of two; the number of completions that each job waited for.

    Hints that were sent ahead begin when a slot is free, in the order in which they were sent.
    """
    capacity = {CLOUD: 1, GPU: 2}
    waiting = dict(enumerate(kinds))
    passed: Counter[int] = Counter()
    hinted: list[int] = []
    running: list[tuple[float, int]] = []
    busy: Counter[str] = Counter()
    started_after: dict[int, int] = {}
    now, completed = 0.0, 0
    while waiting or hinted or running:
        out = Counter(need for number in hinted for need in kinds[number])
        free = {need: capacity[need] - busy[need] - out[need] for need in capacity}
        candidates = [
            Candidate(job_id=number, needs=needs, position=number, passed_over=passed[number])
            for number, needs in waiting.items()
        ]
        picked = pick(candidates, free, {GPU: ahead})
        passed.update(picked.passed_over)
        for number in picked.chosen:
            hinted.append(number)
            del waiting[number]
        for number in list(hinted):
            if all(busy[need] < capacity[need] for need in kinds[number]):
                hinted.remove(number)
                busy.update(kinds[number])
                started_after[number] = completed
                heapq.heappush(running, (now + seconds[number], number))
        assert running, f"stuck with {waiting} and {hinted}"
        now, done = heapq.heappop(running)
        busy.subtract(kinds[done])
        completed += 1
    return [started_after[number] for number in range(len(kinds))]


@given(
    st.lists(
        st.tuples(st.sampled_from([(CLOUD, GPU), (CLOUD,), (GPU,)]), st.floats(0.1, 100.0, allow_nan=False)),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_nobody_starves(rows: list[tuple[tuple[str, ...], float]], ahead: int) -> None:
    kinds, seconds = [row[0] for row in rows], [row[1] for row in rows]
    started = simulate(kinds, seconds, ahead)
    hybrids = 0
    for number, needs in enumerate(kinds):
        # At most everything before it, and a bounded number of later jobs for each hybrid up to it.
        hybrids += len(needs) > 1
        assert started[number] <= number + 12 * (hybrids + 1)


def test_a_hybrid_first_in_a_long_queue_starts_soon() -> None:
    """Short pool jobs without end never leave the pool and the account free together by chance."""
    chance = random.Random(5)
    kinds: list[tuple[str, ...]] = [(CLOUD,), (GPU,), (GPU,), (CLOUD, GPU)]
    kinds += [chance.choice([(CLOUD,), (GPU,)]) for _ in range(400)]
    seconds = [chance.uniform(1, 10) for _ in kinds]
    for ahead in (0, 2):
        assert simulate(kinds, seconds, ahead)[3] <= 15


@pytest.mark.parametrize("count", [100_000])
def test_a_pass_over_a_large_queue_is_cheap_when_all_is_taken(count: int) -> None:
    candidates = [job(number, GPU) for number in range(count)]
    assert pick(candidates, {GPU: 0}) == Picked((), ())


def test_of_many_that_wait_for_the_same_only_the_first_is_counted() -> None:
    hybrids = [job(number, CLOUD, GPU) for number in range(1000)]
    assert pick([*hybrids, job(2000, GPU)], {CLOUD: 0, GPU: 1}) == Picked((2000,), (0,))
