"""A harness is guarded by what its own files tell of its stages."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.decision import Action
from orchestrator.domain.events import InnerRunEnded, InnerStageEnded, InnerStateSeen
from orchestrator.domain.harness import inner_ordinal, parent_ordinal, run_outcome
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.watch import StageFrame, Watch


def watch(**limits: Any) -> Watch:
    frame = StageFrame(
        limits=Limits(**{"max_repeated_stages": 3, **limits}),
        context_window=1000,
        prices=None,
        started_at=0.0,
        attempt_started_at=0.0,
    )
    return Watch(frame)


def told(number: int, stage: str = "build", task: str | None = None, ok: bool = True, **more: Any) -> InnerStageEnded:
    word = "success" if ok else "failure"
    return InnerStageEnded(number=number, stage=stage, task=task, ok=ok, word=word, **more)


def end_of(one: Watch, *stages: InnerStageEnded, now: float = 1.0) -> tuple[Outcome | None, str]:
    for stage in stages:
        one.see(stage, now)
    return one.decision.outcome, one.decision.detail


def test_failures_in_a_row_are_counted_over_all_stages() -> None:
    one = watch(max_failures=3)
    assert end_of(one, told(1, ok=False), told(2, "verify", ok=False), told(3, "plan")) == (None, "")
    assert end_of(one, told(4, ok=False), told(5, "verify", ok=False), told(6, "decompose", ok=False)) == (
        Outcome.FAILURE_BREAKER,
        "3 of the harness's stages in a row failed; last decompose failure",
    )


def test_the_same_task_again_and_again_is_a_circle() -> None:
    steps = [told(n, ("build", "verify")[n % 2], "t-1" if n % 2 == 0 else None) for n in range(6)]
    assert end_of(watch(), *steps)[0] is Outcome.LOOP_DETECTED


def test_stages_that_name_no_task_and_go_well_are_no_circle() -> None:
    steps = [told(n, ("build", "verify")[n % 2]) for n in range(20)]
    assert end_of(watch(), *steps) == (None, "")
    assert end_of(watch(), *[told(n, task=f"t-{n}") for n in range(20)]) == (None, "")


def test_as_many_stages_as_the_limit_are_allowed() -> None:
    one = watch(max_iterations=2)
    assert end_of(one, told(1), told(2)) == (None, "")
    assert end_of(one, told(3)) == (Outcome.ITERATION_LIMIT, "stage 3 of 2 of the harness")


def test_tokens_and_stated_costs_count_against_the_limits() -> None:
    usage = TokenUsage(input=60, output=10)
    assert end_of(watch(max_tokens=100), told(1, usage=usage), told(2, usage=usage))[0] is Outcome.TOKEN_LIMIT
    assert end_of(watch(max_cost_usd=0.01), told(1, cost_usd_micros=20_000))[0] is Outcome.COST_LIMIT


def test_the_stage_clock_begins_anew_with_each_stage() -> None:
    one = watch(stage_timeout=10, idle_timeout=100)
    assert end_of(one, told(1), now=8.0) == (None, "")
    assert one.next_deadline(8.0) == 18.0
    assert one.tick(17.0).action is Action.CONTINUE
    assert one.tick(18.0).outcome is Outcome.STAGE_TIMEOUT


def test_a_crowded_context_is_seen_in_the_state_file() -> None:
    one = watch()
    assert one.see(InnerStateSeen(context_tokens=750), 1.0).action is Action.WARN
    assert one.see(InnerStateSeen(context_tokens=960), 1.0).outcome is Outcome.CONTEXT_KILL


def test_what_a_run_says_about_its_end() -> None:
    def outcome(word: str, left: int | None = None) -> Outcome | None:
        return run_outcome(InnerRunEnded(word=word, left=left))

    assert outcome("complete") is outcome("no_work") is outcome("nobody knows") is None
    assert outcome("no_work", 3) is Outcome.TASKS_LEFT
    assert outcome("max_iterations") is Outcome.ITERATION_LIMIT
    assert outcome("interrupted") is Outcome.AGENT_ERROR, "or it would be run again for nothing, for ever"


@given(st.integers(1, 20_000), st.integers(1, 99_999))
def test_a_row_of_an_inner_stage_knows_its_parent(parent: int, number: int) -> None:
    assert parent_ordinal(inner_ordinal(parent, number)) == parent_ordinal(parent) == parent
