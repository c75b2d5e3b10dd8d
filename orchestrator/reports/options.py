"""What the reader of a report is allowed to see, and what goes with it that the experiment itself does not know."""

from dataclasses import dataclass, replace
from typing import Any

from orchestrator.reports.table import Table


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """`agent_text`: show what agents and providers wrote (final messages, error texts). Off unless asked for, because
    a report is made to be passed on and that text was written by a program with the repository before it.

    `everything`: no rows are folded. `memo_alone`: the decision memo without the rest. `appendix`: tables about where
    the rows come from, such as a reconcile report.
    """

    agent_text: bool = False
    everything: bool = False
    memo_alone: bool = False
    appendix: tuple[Table, ...] = ()

    def evolve(self, **changes: Any) -> "ReportOptions":
        """These options with some of them changed."""
        return replace(self, **changes)


PLAIN = ReportOptions()
