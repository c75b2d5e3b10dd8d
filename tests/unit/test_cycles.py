"""Going round in circles: found by the bound whenever it happens, and never where something moves."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.cycles import LONGEST_PERIOD, fingerprint, repeated_period
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from tests.unit.test_task_ledger import done, spec, verdict
from workers.loops.circles import Past, circle_end, plain
from workers.loops.staged import CONTINUE_MARK, staged
from workers.loops.steps import LoopEnd, StageDone, StageOrder
from workers.loops.tasks import tasks

LIMITS = Limits(max_repeated_stages=3, max_unchanged_stages=100, max_same_errors=4)
_WORDS = st.sampled_from("abcd")
_REPEATS = st.integers(2, 5)


@given(st.lists(_WORDS, max_size=24), _REPEATS)
def test_a_period_means_that_the_tail_repeats(items: list[str], repeats: int) -> None:
    cycles = {n for n in range(1, 5) if len(items) >= n * repeats and items[-n * repeats :] == items[-n:] * repeats}
    assert repeated_period(items, repeats) == min(cycles, default=None)


@given(st.lists(_WORDS, max_size=9), st.lists(_WORDS, min_size=1, max_size=LONGEST_PERIOD), _REPEATS)
def test_a_cycle_is_found_by_the_bound_whatever_came_before(
    before: list[str], cycle: list[str], repeats: int
) -> None:
    items = [*before, *cycle * repeats]
    found = [end for end in range(len(items) + 1) if repeated_period(items[:end], repeats)]
    assert found, "at the latest when the cycle has come round that often"


@given(st.lists(st.integers(), unique=True), _REPEATS)
def test_what_never_repeats_is_no_cycle(items: list[int], repeats: int) -> None:
    assert all(repeated_period(items[:end], repeats) is None for end in range(len(items) + 1))


_STAGES = st.builds(
    done,
    st.sampled_from(["investigate", "build", "verify"]),
    task=st.sampled_from([None, "1", "2"]),
    outcome=st.sampled_from([None, Outcome.AGENT_ERROR]),
    changed=st.booleans(),
    detail=st.just("x"),
)


def ends(past: Sequence[Past], limits: Limits = LIMITS) -> list[str]:
    found = (circle_end(limits, past[:end]) for end in range(len(past) + 1))
    return [end.detail for end in found if end is not None]


@given(st.lists(_STAGES, max_size=6), st.lists(_STAGES, min_size=1, max_size=LONGEST_PERIOD))
def test_stages_that_lead_nowhere_end_by_the_bound(before: list[StageDone], cycle: list[StageDone]) -> None:
    past = [Past(done=one, moved=True) for one in before]
    past += [Past(done=one, moved=False) for one in cycle * LIMITS.max_repeated_stages]
    assert ends(past)


@given(st.lists(_STAGES, max_size=30))
def test_stages_that_move_something_are_no_cycle(stages: list[StageDone]) -> None:
    never = LIMITS.changed({"max_same_errors": 1000})
    assert ends([Past(done=one, moved=True) for one in stages], never) == []


@given(st.lists(_STAGES, max_size=40), _REPEATS)
def test_edits_of_nothing_end_by_the_bound_and_not_before(stages: list[StageDone], most: int) -> None:
    limits = Limits(max_repeated_stages=1000, max_unchanged_stages=most, max_same_errors=1000)
    run, longest, about = 0, 0, None
    for one in stages:
        if one.stage == "build":
            idle = not one.changed and one.outcome is None
            run = (run + 1 if one.task == about else 1) if idle else 0
            about = one.task
            longest = max(longest, run)
    assert bool(ends(plain(stages), limits)) == (longest >= most)


@given(st.lists(st.sampled_from(["timeout after 3 s", "no such model"]), max_size=20), st.lists(st.booleans()))
def test_an_error_that_comes_again_and_again_ends_by_the_bound(texts: list[str], between: list[bool]) -> None:
    stages: list[StageDone] = []
    for number, text in enumerate(texts):
        detail = text.replace("3", str(number))
        stages.append(done("build", outcome=Outcome.AGENT_ERROR, detail=detail, commits=("x",)))
        if number < len(between) and between[number]:
            stages.append(done("build", commits=("x",)))
    most = max((texts.count(one) for one in texts), default=0)
    assert bool(ends(plain(stages))) == (most >= LIMITS.max_same_errors)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Error at 0x7f3a: request 9f3c2d1e failed", "error at 0x11: request  1a2b3c4d FAILED"),
        ("line 12, col 4: unexpected ']'", "line 7, col 19: unexpected ']'"),
        ("run 0b1f6f9e-52d3-4a3e-9f35-1d2c3b4a5f60 gone", "run 9b1f6f9e-12d3-4a3e-8f35-1d2c3b4a5f61 gone"),
    ],
)
def test_two_tellings_of_an_error_are_one(one: str, other: str) -> None:
    assert fingerprint(one) == fingerprint(other)


def test_different_errors_stay_different() -> None:
    texts = ["defaced", "decade", "connection refused", "connection reset", "", "no such file", "error"]
    assert len({fingerprint(text) for text in texts}) == len(texts)


@given(st.text())
def test_any_text_has_a_fingerprint(text: str) -> None:
    assert fingerprint(text) == fingerprint(f"  {text}\n")


# -- in the loops --


def test_done_and_refused_for_ever_is_named() -> None:
    its = spec(plan=("only",)).model_copy(update={"max_rejects": 100})
    history: list[StageDone] = []
    while isinstance(order := tasks(its, history), StageOrder):
        answer = verdict(False, "1") if order.stage == "verify" else done(order.stage, commits=(f"c{len(history)}",))
        history.append(replace(answer, task=order.task))
    assert order == LoopEnd(
        outcome=Outcome.LOOP_DETECTED,
        detail="5 times in a row: verify of 1: done, build of 1: done; 0 of 1 tasks accepted",
    )
    assert len(history) == 2 + 2 * 5, "until the first refusal each stage stood where nobody had stood"


def test_a_builder_that_goes_on_without_editing_is_ended() -> None:
    its = spec().model_copy(update={"loop": "staged", "max_builds": 1000})
    going_on = done("build", f"more to do\n{CONTINUE_MARK}")
    history = [done("plan"), done("build", CONTINUE_MARK, commits=("x",)), *[going_on] * 2]
    assert isinstance(staged(its, history), StageOrder)
    assert staged(its, [*history, going_on]) == LoopEnd(
        outcome=Outcome.LOOP_DETECTED, detail="3 stages build in a row changed no file"
    )
    busy = [done("plan"), *[done("build", CONTINUE_MARK, commits=("x",))] * 100]
    assert isinstance(staged(its, busy), StageOrder), "whatever is edited is no circle"
