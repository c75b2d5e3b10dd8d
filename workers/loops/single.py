"""The loop `single`: one prompt, tried again when the agent itself fails."""

from collections.abc import Sequence

from orchestrator.domain.jobspec import JobSpec
from workers.loops.circles import circle_end, plain
from workers.loops.prompts import stage_prompt
from workers.loops.steps import LoopEnd, StageDone, StageOrder, guard_end, iteration_end, settle


def single(spec: JobSpec, history: Sequence[StageDone]) -> StageOrder | LoopEnd:
    """RUN once; after an agent error again, up to the failure breaker."""
    end = guard_end(spec, history)
    if end is not None:
        return end
    if history and history[-1].outcome is None:
        return settle(history)
    stop = iteration_end(spec, history) or circle_end(spec.limits, plain(history))
    return stop or StageOrder(stage="run", role="build", prompt=stage_prompt(spec, "run", task=spec.target.task_text))
