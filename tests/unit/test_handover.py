"""Whoever goes on with a stage is told what was done already, and nobody else is."""

from dataclasses import replace
from typing import Any

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from tests.unit.test_matrix import cells_of
from workers.loops.handover import next_step
from workers.loops.single import single
from workers.loops.staged import staged
from workers.loops.steps import NextStep, StageDone, StageOrder

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


def test_another_stage_is_told_nothing() -> None:
    planned = (done("plan", outcome=Outcome.QUOTA_PARKED, handover="half a plan"), done("plan", answer="the plan"))
    text = prompt(staged, SPEC.model_copy(update={"loop": "staged"}), *planned)
    assert "the plan" in text
    assert "half a plan" not in text
    assert "half a plan" not in prompt(staged, SPEC, *planned, done("build", outcome=Outcome.AGENT_ERROR))
