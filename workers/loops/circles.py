"""Whether a loop goes round in circles: stages that lead nowhere again and again, edits of nothing, one error."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.cycles import LONGEST_PERIOD, fingerprint, repeated_period
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from workers.loops.steps import LoopEnd, StageDone

_EDITING = frozenset({"run", "build"})
_SHOWN_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class Past:
    """A stage as it counts here. `moved` when the run stands where it never stood before: that breaks any circle."""

    done: StageDone
    moved: bool

    @property
    def name(self) -> str:
        """What it was about and how it ended: `build of 1: done`."""
        about = f" of {self.done.task}" if self.done.task else ""
        return f"{self.done.stage}{about}: {self.done.outcome or 'done'}"


def plain(history: Sequence[StageDone]) -> list[Past]:
    """Of a loop without a ledger: what changes the tree moves the run."""
    return [Past(done=done, moved=done.changed) for done in history]


def circle_end(limits: Limits, past: Sequence[Past]) -> LoopEnd | None:
    """The end of a loop that goes round, with what repeated; judged only when another stage would be started."""
    detail = _cycle(limits, past) or _idle(limits, past) or _same_error(limits, past)
    return LoopEnd(outcome=Outcome.LOOP_DETECTED, detail=detail) if detail else None


def _cycle(limits: Limits, past: Sequence[Past]) -> str | None:
    repeats = limits.max_repeated_stages
    first = max(0, len(past) - repeats * LONGEST_PERIOD)
    keys = [f"{number}" if one.moved else one.name for number, one in enumerate(past[first:])]
    period = repeated_period(keys, repeats)
    if period is None:
        return None
    return f"{repeats} times in a row: {', '.join(keys[-period:])}"


def _idle(limits: Limits, past: Sequence[Past]) -> str | None:
    edits = [one.done for one in past if one.done.stage in _EDITING]
    count = 0
    for done in reversed(edits):
        if done.changed or done.outcome is not None or done.task != edits[-1].task:
            break
        count += 1
    if count < limits.max_unchanged_stages:
        return None
    about = f" of {edits[-1].task}" if edits[-1].task else ""
    return f"{count} stages {edits[-1].stage}{about} in a row changed no file"


def _same_error(limits: Limits, past: Sequence[Past]) -> str | None:
    if not past or past[-1].done.outcome is None:
        return None
    marks = Counter(fingerprint(one.done.detail) for one in past if one.done.outcome is Outcome.AGENT_ERROR)
    last = past[-1].done
    if marks[fingerprint(last.detail)] < limits.max_same_errors:
        return None
    return f"{marks[fingerprint(last.detail)]} stages failed with the same error: {last.detail[:_SHOWN_CHARS]}"
