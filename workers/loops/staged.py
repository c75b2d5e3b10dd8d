"""The loop `staged`: the reasoning model plans, the build model edits.

PLAN -> BUILD -> (BUILD while the agent says that work remains) -> end. A stage that fails is tried again.
"""

from collections.abc import Sequence

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from workers.loops.circles import circle_end, plain
from workers.loops.prompts import stage_prompt
from workers.loops.steps import LoopEnd, StageDone, StageOrder, guard_end, iteration_end, settle

CONTINUE_MARK = "STATUS: CONTINUE"


def staged(spec: JobSpec, history: Sequence[StageDone]) -> StageOrder | LoopEnd:
    """PLAN until it succeeds, then BUILD until the agent no longer asks to continue."""
    end = guard_end(spec, history)
    if end is not None:
        return end
    good = [done for done in history if done.outcome is None]
    plan = next((done for done in good if done.stage == "plan"), None)
    builds = [done for done in good if done.stage == "build"]
    if builds and history[-1].outcome is None:
        if CONTINUE_MARK not in builds[-1].answer:
            return settle(history)
        if len(builds) >= spec.max_builds:
            return LoopEnd(outcome=Outcome.ITERATION_LIMIT, detail=f"work remains after {len(builds)} BUILD stages")
    stop = iteration_end(spec, history) or circle_end(spec.limits, plain(history))
    if stop is not None:
        return stop
    if plan is None:
        prompt = stage_prompt(spec, "plan", task=spec.target.task_text)
        return StageOrder(stage="plan", role="reasoning", prompt=prompt)
    progress = builds[-1].answer if builds else "Nothing has been built yet."
    prompt = stage_prompt(spec, "build", task=spec.target.task_text, plan=plan.answer, progress=progress)
    return StageOrder(stage="build", role="build", prompt=prompt)
