"""The guard of the stages that a harness runs by itself: failures in a row, going in circles, how many there were."""

from collections import deque

from orchestrator.domain.cycles import repeated_period
from orchestrator.domain.decision import Action, Decision
from orchestrator.domain.events import InnerStageEnded
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage, add_known


class InnerGuard:
    """Judges a harness by what its own files tell. Where they tell nothing it says nothing."""

    def __init__(self, limits: Limits) -> None:
        self.stages = 0
        self.usage = TokenUsage()
        self.cost_usd_micros: int | None = None
        self._failures = 0
        self._last = ""
        self._steps: deque[str] = deque(maxlen=4 * limits.max_repeated_stages)

    def saw(self, told: InnerStageEnded) -> None:
        """Take a stage into account."""
        self.stages += 1
        self.usage += told.usage
        self.cost_usd_micros = add_known(self.cost_usd_micros, told.cost_usd_micros)
        if told.ok is not None:
            self._failures = 0 if told.ok else self._failures + 1
        self._last = f"{told.stage} {told.kill_reason or told.word}".strip()
        self._steps.append(_step(told))

    def retune(self, limits: Limits) -> None:
        """Remember as many steps as the new limits need."""
        self._steps = deque(self._steps, maxlen=4 * limits.max_repeated_stages)

    def judge(self, limits: Limits) -> Decision | None:
        """The end that follows; None for none. As many stages as the limit are allowed, the next one is not."""
        if self._failures >= limits.max_failures:
            detail = f"{self._failures} of the harness's stages in a row failed; last {self._last}"
            return Decision(Action.END, Outcome.FAILURE_BREAKER, detail)
        steps = tuple(self._steps)
        period = repeated_period(steps, limits.max_repeated_stages)
        if period and any(_tells(step) for step in steps[-period:]):
            detail = f"the same {period} stage(s) {limits.max_repeated_stages} times in a row; last {self._last}"
            return Decision(Action.END, Outcome.LOOP_DETECTED, detail)
        if self.stages > limits.max_iterations:
            return Decision(
                Action.END, Outcome.ITERATION_LIMIT, f"stage {self.stages} of {limits.max_iterations} of the harness"
            )
        return None


def _step(told: InnerStageEnded) -> str:
    return "\0".join((told.task or "", told.stage, told.word if told.ok is not False else "failure"))


def _tells(step: str) -> bool:
    """Whether the step says that it is the same again: stages without a task that go well may be about any."""
    task, _, outcome = step.split("\0", 2)
    return bool(task) or outcome == "failure"
