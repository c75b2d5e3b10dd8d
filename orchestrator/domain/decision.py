"""What a stage's guard answers."""

from enum import StrEnum
from typing import NamedTuple

from orchestrator.domain.outcome import Outcome


class Action(StrEnum):
    """What the supervisor must do."""

    CONTINUE = "continue"
    WARN = "warn"
    COMPACT = "compact"  # end this session; the stage goes on in a fresh one
    END = "end"


class Decision(NamedTuple):
    """An action, the outcome when it is END, and the reason in words with the figures."""

    action: Action
    outcome: Outcome | None = None
    detail: str = ""


CONTINUE = Decision(Action.CONTINUE)
