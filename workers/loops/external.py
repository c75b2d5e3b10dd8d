"""The loop `external`: one command that runs stages of its own, supervised as a whole; started again if it fails."""

from collections.abc import Sequence

from orchestrator.domain.jobspec import JobSpec
from workers.loops.steps import LoopEnd, StageDone, StageOrder, guard_end, settle


def external(spec: JobSpec, history: Sequence[StageDone]) -> StageOrder | LoopEnd:
    """HARNESS with the task as it is; after an agent error again, up to the failure breaker.

    Iterations are the harness's own stages, and counted while it runs.
    """
    end = guard_end(spec, history)
    if end is not None:
        return end
    if history and history[-1].outcome is None:
        return settle(history)
    return StageOrder(stage="harness", role="build", prompt=spec.target.task_text)
