"""What the reader of a report is allowed to see."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """`agent_text`: show what agents and providers wrote (final messages, error texts). Off unless asked for, because
    a report is made to be passed on and that text was written by a program with the repository before it."""

    agent_text: bool = False
