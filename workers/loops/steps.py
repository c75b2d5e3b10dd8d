"""What a loop is: a pure function from the stages so far to the next stage or the end.

The history is all it knows, so a loop can be picked up again from the stages that were recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class StageOrder:
    """The next stage: its name, the role whose model does it, and the whole prompt.

    `resumed` when an earlier session began it, `session_id` when that very session goes on. `task` names the tasks of
    a plan that it is about, by their ids.
    """

    stage: str
    role: str
    prompt: str
    resumed: bool = False
    session_id: str | None = None
    task: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageDone:
    """A stage that ended. `outcome` is None when the agent came to its own good end, or its context was too full.

    `handover` is what the session leaves to the next one of the same stage, in words; None when the stage is over.
    `commits` hold what it changed. `task` is the order's. `checks` is what the target's checks said after it, empty
    when all passed; None when the loop did not ask them.
    """

    stage: str
    outcome: Outcome | None
    detail: str
    answer: str
    changed: bool
    handover: str | None = None
    commits: tuple[str, ...] = ()
    task: str | None = None
    checks: str | None = None


@dataclass(frozen=True, kw_only=True)
class CheckOrder:
    """The loop goes on when the checks have been asked about the last commit: the last stage's `checks`."""


@dataclass(frozen=True, kw_only=True)
class LoopEnd:
    """The loop is over."""

    outcome: Outcome
    detail: str


Step = StageOrder | CheckOrder | LoopEnd


class NextStep(Protocol):
    """A loop."""

    def __call__(self, spec: JobSpec, history: Sequence[StageDone]) -> Step:
        """The stage after `history`, the checks, or the end."""


def guard_end(spec: JobSpec, history: Sequence[StageDone]) -> LoopEnd | None:
    """The ends that every loop shares: a guard's kill, the failure breaker, the iteration limit."""
    if not history:
        return None
    last = history[-1]
    if last.outcome is not None and last.outcome is not Outcome.AGENT_ERROR:
        return LoopEnd(outcome=last.outcome, detail=f"{last.stage}: {last.detail}")
    failures = 0
    for done in reversed(history):
        if done.outcome is None:
            break
        failures += 1
    if failures >= spec.limits.max_failures:
        detail = f"{failures} stages in a row failed; last {last.stage}: {last.detail}"
        return LoopEnd(outcome=Outcome.FAILURE_BREAKER, detail=detail)
    return None


def iteration_end(spec: JobSpec, history: Sequence[StageDone]) -> LoopEnd | None:
    """The iteration limit, judged only when another stage would be started."""
    if len(history) < spec.limits.max_iterations:
        return None
    return LoopEnd(outcome=Outcome.ITERATION_LIMIT, detail=f"{len(history)} of {spec.limits.max_iterations} stages")


def settle(history: Sequence[StageDone]) -> LoopEnd:
    """The end of a loop whose last stage went well: complete when anything was changed."""
    if any(done.changed for done in history):
        return LoopEnd(outcome=Outcome.COMPLETE, detail="the agent finished its work")
    return LoopEnd(outcome=Outcome.NO_PROGRESS, detail="the agent finished without changing a file")
