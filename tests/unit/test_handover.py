"""Whoever goes on with a stage is told what was done already, and nobody else is."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.storage.attempts import KeptStage
from tests.unit.test_matrix import cells_of
from workers.loops.handover import next_step, settled
from workers.loops.history import History, fold
from workers.loops.single import single
from workers.loops.staged import staged
from workers.loops.steps import NextStep, StageDone, StageOrder
from workers.resume import history_of

SPEC = cells_of()[0].spec


def done(stage: str, **values: Any) -> StageDone:
    known = {"outcome": None, "detail": "", "answer": "", "changed": False, **values}
    return StageDone(stage=stage, **known)


def prompt(loop: NextStep, spec: JobSpec, *history: StageDone) -> str:
    step = next_step(loop, spec, history)
    assert isinstance(step, StageOrder)
    return step.prompt


PARKED = done("run", outcome=Outcome.QUOTA_PARKED, handover="half is done")
FAILED = done("run", outcome=Outcome.AGENT_ERROR, detail="no such session")


def test_the_notes_stay_until_the_stage_is_over() -> None:
    assert "half is done" in prompt(single, SPEC, PARKED)
    assert "half is done" in prompt(single, SPEC, PARKED, FAILED), "the session could not be taken up"
    assert "half is done" not in prompt(single, SPEC, FAILED)


def test_a_session_that_could_not_be_taken_up_is_no_iteration_and_keeps_the_notes() -> None:
    unknown = replace(FAILED, handover="")
    assert "half is done" in prompt(single, SPEC, PARKED, unknown)
    last_chance = SPEC.model_copy(update={"limits": SPEC.limits.changed({"max_failures": 1})})
    assert "half is done" in prompt(single, last_chance, PARKED, unknown), "nobody's failure"


def test_what_was_nobodys_failure_is_none_when_it_is_read_from_the_record_either() -> None:
    kept = KeptStage(
        ordinal=1,
        stage="run",
        role="build",
        task=None,
        outcome=Outcome.QUOTA_PARKED,
        detail="",
        answer="",
        changed=False,
        handover="half is done",
        session_id=None,
        commit_sha=None,
        checks=None,
        context_percent=None,
        tokens=0,
        spent_usd_micros=0,
    )
    history = history_of([kept, replace(kept, ordinal=2, outcome=Outcome.AGENT_ERROR, handover="")])
    assert list(settled(history)) == []
    lost = history_of([replace(kept, handover=None), replace(kept, outcome=Outcome.AGENT_ERROR, handover=None)])
    assert [one.outcome for one in settled(lost)] == [Outcome.AGENT_ERROR]


def test_another_stage_is_told_nothing() -> None:
    planned = (done("plan", outcome=Outcome.QUOTA_PARKED, handover="half a plan"), done("plan", answer="the plan"))
    text = prompt(staged, SPEC.model_copy(update={"loop": "staged"}), *planned)
    assert "the plan" in text
    assert "half a plan" not in text
    assert "half a plan" not in prompt(staged, SPEC, *planned, done("build", outcome=Outcome.AGENT_ERROR))


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 2), min_size=1))
def test_a_history_that_grows_gives_what_a_plain_list_gives(numbers: list[int], skips: list[int]) -> None:
    stages = [done(f"s{number}", handover="" if number == 3 else None, commits=(f"{number}",)) for number in numbers]
    history, seen = History(), []

    def joined(text: str, one: StageDone) -> str:
        return text + one.stage

    for index, one in enumerate(stages):
        history.append(one)
        seen.append(one)
        but_last = skips[index % len(skips)]
        found = fold(history, "names", str, joined, but_last=but_last)
        assert found == fold(seen, "names", str, joined, but_last=but_last)
        assert list(settled(history)) == list(settled(seen))
    assert list(history) == stages


def test_a_loop_looks_at_no_stage_twice() -> None:
    looked = 0

    def count(total: int, one: StageDone) -> int:
        nonlocal looked
        looked += 1
        return total + 1

    history = History()
    for number in range(1, 500):
        history.append(done("build"))
        assert fold(history, "n", int, count) == number
        assert fold(history, "n", int, count, but_last=1) == number - 1
    assert looked < 510
