"""What a stage's end means: exit codes are evidence, the guard's decision and structured errors are the verdict."""

from typing import NamedTuple

from orchestrator.domain.events import AgentEnded, EndReason, ErrorSeen
from orchestrator.domain.harness import run_outcome
from orchestrator.domain.outcome import Outcome, outcome_of_error

# A limit without a reset time is looked at again after this long.
DEFAULT_PARK_SECONDS = 900.0


class Verdict(NamedTuple):
    """The stage's outcome (None = a good end) and the reason in words."""

    outcome: Outcome | None
    detail: str


def judge_agent_end(ended: AgentEnded, last_error: ErrorSeen | None) -> Verdict:
    """The verdict on an agent that ended by itself.

    `last_error` is the last structured error for which no success came after it.
    """
    if ended.run is not None and (stated := run_outcome(ended.run)) is not None:
        return Verdict(stated, f"the harness says: {ended.run.word}")
    if ended.reason is EndReason.FINISHED:
        return Verdict(None, "")
    if ended.reason is EndReason.TURN_LIMIT:
        return Verdict(Outcome.TURN_LIMIT, "the agent reached its own turn limit")
    if last_error is not None and (outcome := outcome_of_error(last_error.kind)):
        status = f"HTTP {last_error.status}: " if last_error.status else ""
        return Verdict(outcome, f"{status}{last_error.kind}: {last_error.text[:300]}")
    said = last_error.text if last_error else ended.final_text
    code = "no exit code" if ended.exit_code is None else f"exit code {ended.exit_code}"
    return Verdict(Outcome.AGENT_ERROR, f"{ended.reason}, {code}: {said[-300:]}".rstrip(": "))
