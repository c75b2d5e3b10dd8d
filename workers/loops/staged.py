"""The loop `staged`: the reasoning model plans, the build model edits.

PLAN -> BUILD -> (BUILD while the agent says that work remains) -> end. A stage that fails is tried again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from workers.loops.circles import circle_end, plain
from workers.loops.history import fold
from workers.loops.prompts import stage_prompt
from workers.loops.steps import LoopEnd, StageDone, StageOrder, guard_end, iteration_end, settle

CONTINUE_MARK = "STATUS: CONTINUE"


def staged(spec: JobSpec, history: Sequence[StageDone]) -> StageOrder | LoopEnd:
    """PLAN until it succeeds, then BUILD until the agent no longer asks to continue."""
    end = guard_end(spec, history)
    if end is not None:
        return end
    good = fold(history, "staged", _Good, _with)
    if good.last_build and history[-1].outcome is None:
        if CONTINUE_MARK not in good.last_build.answer:
            return settle(history)
        if good.builds >= spec.max_builds:
            return LoopEnd(outcome=Outcome.ITERATION_LIMIT, detail=f"work remains after {good.builds} BUILD stages")
    stop = iteration_end(spec, len(history)) or circle_end(spec.limits, plain(history))
    if stop is not None:
        return stop
    if good.plan is None:
        prompt = stage_prompt(spec, "plan", task=spec.target.task_text)
        return StageOrder(stage="plan", role="reasoning", prompt=prompt)
    progress = good.last_build.answer if good.last_build else "Nothing has been built yet."
    prompt = stage_prompt(spec, "build", task=spec.target.task_text, plan=good.plan.answer, progress=progress)
    return StageOrder(stage="build", role="build", prompt=prompt)


class _Good(NamedTuple):
    """Of the stages that went well: the first PLAN, the last BUILD, and how many BUILDs there are."""

    plan: StageDone | None = None
    last_build: StageDone | None = None
    builds: int = 0


def _with(good: _Good, done: StageDone) -> _Good:
    if done.outcome is not None:
        return good
    if done.stage == "build":
        return good._replace(last_build=done, builds=good.builds + 1)
    return good._replace(plan=good.plan or done) if done.stage == "plan" else good
