"""Simulated fleets: what must come out whatever goes in, and how large they may be."""

import gzip
import random
import time
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.simulate import SimulatedJob, guessed_from_others, simulate
from orchestrator.analysis.simulated_windows import SimulatedWindow, Use
from orchestrator.analysis.workload import Trial, generated, recorded, shares, with_quotas
from orchestrator.domain.errors import InvalidInput
from orchestrator.files.trials import load_trials

POOL, ACCOUNT = ("pool:x",), ("account:a",)
BOTH = ("account:a", "pool:x")
jobs_of_all_kinds = st.lists(
    st.builds(
        SimulatedJob,
        st.sampled_from([POOL, ACCOUNT, BOTH]),
        st.integers(0, 20),
        st.floats(0, 1000, allow_nan=False),
        uses=st.just(()),
        running=st.just(False),
        not_before=st.sampled_from([0.0, 0.0, 3.0, 500.0]),
    ),
    max_size=40,
)


def test_one_slot_runs_jobs_in_order_without_a_gap() -> None:
    jobs = [SimulatedJob(POOL, place, took) for place, took in ((3, 5.0), (1, 2.0), (2, 4.0))]
    done = simulate(jobs, {"pool:x": 1})
    assert done.starts == (6.0, 0.0, 2.0)
    assert (done.makespan_seconds, done.lower_bound_seconds, done.ratio) == (11.0, 11.0, 1.0)


def test_an_account_waits_for_the_next_pass_and_a_pool_does_not() -> None:
    jobs = [SimulatedJob(needs, place, 1.25) for place in (1, 2) for needs in (POOL, ACCOUNT)]
    done = simulate(jobs, {"pool:x": 1, "account:a": 1}, tick_seconds=0.5)
    assert done.starts == (0.0, 0.0, 1.25, 1.5)


def test_a_job_without_a_slot_anywhere_never_starts() -> None:
    done = simulate([SimulatedJob(("pool:y",), 1, 9.0), SimulatedJob(POOL, 2, 1.0)], {"pool:x": 2})
    assert done.starts == (None, 0.0)
    assert done.lower_bound_seconds == 1.0


def test_what_runs_already_keeps_its_slot_and_comes_first() -> None:
    jobs = [SimulatedJob(POOL, 1, 5.0), SimulatedJob(POOL, 9, 3.0, running=True)]
    assert simulate(jobs, {"pool:x": 1}).starts == (3.0, 0.0)


def test_a_parked_job_comes_back_at_its_place_in_the_order() -> None:
    jobs = [SimulatedJob(ACCOUNT, 1, 5.0, not_before=4.0)]
    jobs += [SimulatedJob(ACCOUNT, place, 3.0) for place in (2, 3, 4)]
    assert simulate(jobs, {"account:a": 1}).starts == (6.0, 0.0, 3.0, 11.0)


# -- windows --


def window(**values: Any) -> SimulatedWindow:
    return SimulatedWindow(**{"name": "5h", "gate": "account:a", "length_seconds": 100.0, **values})


def using(count: int, ppm: float, seconds: float = 10.0) -> list[SimulatedJob]:
    return [SimulatedJob(ACCOUNT, place, seconds, (Use(0, ppm),)) for place in range(count)]


def test_a_full_window_lets_in_nothing_before_its_reset() -> None:
    done = simulate(using(4, 500_000), {"account:a": 1}, windows=[window(resets_in_seconds=70.0)])
    assert done.starts == (0.0, 10.0, 70.0, 80.0)
    assert done.held_seconds == (50.0,)
    assert done.peaks == (1.0,)


def test_in_the_orange_zone_one_session_goes_at_a_time() -> None:
    windows = [window(used_ppm=850_000, resets_in_seconds=95.0)]
    assert simulate(using(3, 1000), {"account:a": 3}, windows=windows).starts == (0.0, 10.0, 20.0)


def test_a_rolling_window_forgets_each_use_after_its_length() -> None:
    windows = [window(kind="rolling", used_ppm=500_000, resets_in_seconds=30.0)]
    assert simulate(using(3, 480_000), {"account:a": 1}, windows=windows).starts == (0.0, 30.0, 100.0)


def test_a_share_kept_for_people_is_not_used() -> None:
    windows = [window(reserve_ppm=500_000, resets_in_seconds=100.0)]
    assert simulate(using(2, 480_000), {"account:a": 1}, windows=windows).starts == (0.0, 100.0)


def test_a_budget_that_is_spent_lets_in_nothing_ever() -> None:
    windows = [window(name="money", length_seconds=inf)]
    done = simulate(using(3, 500_000), {"account:a": 1}, windows=windows)
    assert done.starts == (0.0, 10.0, None)
    assert done.makespan_seconds == 20.0


@given(
    st.lists(st.tuples(st.floats(1, 50), st.floats(0, 400_000)), min_size=1, max_size=25),
    st.sampled_from(["fixed", "rolling"]),
    st.integers(1, 4),
)
def test_no_job_starts_in_a_window_that_is_red(
    work: list[tuple[float, float]], kind: Literal["fixed", "rolling"], slots: int
) -> None:
    jobs = [SimulatedJob(ACCOUNT, place, *one[:1], (Use(0, one[1]),)) for place, one in enumerate(work)]
    done = simulate(jobs, {"account:a": slots}, windows=[window(kind=kind, resets_in_seconds=100.0)])
    assert None not in done.starts
    begun = sorted(
        (start, job.uses[0].ppm) for job, start in zip(jobs, done.starts, strict=True) if start is not None
    )
    for moment, _ in begun:
        since = moment - 100.0 + 1e-6 if kind == "rolling" else moment // 100.0 * 100.0
        assert sum(ppm for start, ppm in begun if since <= start < moment) < 950_001


def test_nothing_to_do() -> None:
    assert simulate([], {"pool:x": 1}).ratio is None


@given(jobs_of_all_kinds, st.integers(1, 4), st.integers(1, 2), st.sampled_from([0.0, 0.1, 7.0]))
def test_every_job_runs_once_within_its_slots(jobs: list[SimulatedJob], pool: int, account: int, tick: float) -> None:
    slots = {"pool:x": pool, "account:a": account}
    done = simulate(jobs, slots, tick_seconds=tick)
    assert None not in done.starts
    assert done.makespan_seconds >= done.lower_bound_seconds * (1 - 1e-9)
    assert all((start or 0.0) >= job.not_before for job, start in zip(jobs, done.starts, strict=True))
    for name, count in slots.items():
        moments = []
        for job, start in zip(jobs, done.starts, strict=True):
            if name in job.needs and job.seconds > 0:
                assert start is not None
                moments += [(start, 1), (start + job.seconds, -1)]
        live = 0
        for _, change in sorted(moments):
            live += change
            assert live <= count


@given(st.lists(st.floats(0.1, 100, allow_nan=False), min_size=1, max_size=60), st.integers(1, 5))
def test_longest_first_with_exact_durations_keeps_grahams_bound(seconds: list[float], slots: int) -> None:
    """Graham 1969: longest first is at most 4/3 - 1/(3 slots) of the best schedule."""
    jobs = [SimulatedJob(POOL, place, took) for place, took in enumerate(sorted(seconds, reverse=True))]
    done = simulate(jobs, {"pool:x": slots})
    ordered = sorted(seconds, reverse=True)
    # No schedule beats the lower bound, nor two of the longest slots + 1 jobs in one slot.
    best = max([done.lower_bound_seconds, *(a + b for a, b in pairwise(ordered[slots - 1 : slots + 1]))])
    assert done.makespan_seconds <= (4 / 3 - 1 / (3 * slots)) * best * (1 + 1e-9) + max(ordered[slots:], default=0)


def test_pairs_keep_their_account_busy_beside_a_full_pool() -> None:
    chance = random.Random(1)
    jobs = [
        SimulatedJob(BOTH if place % 10 == 0 else POOL, place, chance.lognormvariate(5, 1)) for place in range(3000)
    ]
    done = simulate(jobs, {"pool:x": 100, "account:a": 12}, tick_seconds=0.1)
    # The last start and not the end: how long the last job happens to be says nothing about the order.
    assert max(start for start in done.starts if start is not None) <= done.lower_bound_seconds


@pytest.mark.parametrize("tick", [0.0, 0.1])
def test_a_thousand_slots_and_a_hundred_thousand_jobs_take_seconds(tick: float) -> None:
    chance = random.Random(1)
    jobs = [
        SimulatedJob((f"pool:{place % 3}",) if place % 10 else BOTH, place, chance.lognormvariate(5, 1))
        for place in range(100_000)
    ]
    began = time.monotonic()
    done = simulate(
        jobs, {"pool:0": 350, "pool:1": 300, "pool:2": 300, "account:a": 30, "pool:x": 50}, tick_seconds=tick
    )
    assert None not in done.starts
    assert time.monotonic() - began < 60


def test_a_guess_is_the_median_of_the_same_task_under_other_profiles() -> None:
    jobs = [("t", "a"), ("t", "a"), ("t", "b"), ("t", "b"), ("t", "c"), ("u", "a")]
    assert guessed_from_others(jobs, [1.0, 3.0, 10.0, 30.0, 50.0, 7.0]) == [30.0, 30.0, 3.0, 3.0, 6.5, None]


# -- workloads --


@given(st.integers(6, 5000))
def test_generated_slots_add_up(slots: int) -> None:
    found = shares(slots)
    assert min(found.values()) >= 1
    assert slots <= sum(found.values()) <= slots + len(found)


def test_a_generated_workload_depends_on_its_seed_alone() -> None:
    assert generated(500, 20, 7) == generated(500, 20, 7)
    assert generated(500, 20, 7) != generated(500, 20, 8)
    assert len(generated(501, 20, 7).jobs) == 501


def test_generated_quotas_hold_back_and_a_budget_ends() -> None:
    work = with_quotas(generated(3000, 30, 1))
    done = simulate(work.jobs, work.slots, windows=work.windows)
    assert [f"{one.name} of {one.gate}" for one in work.windows][-3:] == [
        "5h of account:2",
        "7d of account:2",
        "budget of account:2",
    ]
    left = [job for job, start in zip(work.jobs, done.starts, strict=True) if start is None]
    assert left
    assert all("account:2" in job.needs for job in left), "only the budget keeps jobs out for ever"
    assert done.held_seconds[0] > 0
    assert 0.9 < done.peaks[0] < 1.1


def test_a_task_of_one_submission_has_no_guess() -> None:
    work = recorded([Trial("t", "a", 5.0), Trial("t", "b", 6.0), Trial("u", "a", 7.0)], 2, 0)
    assert (work.known, work.guessed, work.slots) == (2, 1, {"pool:recorded": 2})


def test_trials_are_read_with_either_kind_of_time(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    plain.write_text("task,submission,seconds\nt,a,5\nt,b,\n")
    assert load_trials(plain) == ([Trial("t", "a", 5.0)], 1)
    with gzip.open(packed, "wt") as file:
        file.write("ended,started,task,submission,more\n2026-01-01T00:01:00,2026-01-01T00:00:30,t,a,x\n")
    assert load_trials(packed) == ([Trial("t", "a", 30.0)], 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "submission, task"),
        ("task,submission\n", "started"),
        ("task,submission,seconds\nt,a,-1\n", r"a.csv:2: time: lasted -1 s"),
        ("task,submission,seconds\nt,a,nan\n", "nan"),
        ("task,submission,seconds\nt,a,soon\n", "soon"),
        ("task,submission,seconds\nt,a,\n", "holds no trial"),
        ("task,submission,started,ended\nt,a,2026-01-01T00:00:00Z,2026-01-01T00:00:01\n", "time zone"),
    ],
)
def test_tables_that_are_no_trials(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        load_trials(tmp_path / "a.csv")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    for name in ("a.csv.gz", "missing.csv"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            load_trials(tmp_path / name)
