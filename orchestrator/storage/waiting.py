"""The end of jobs that nobody runs."""

from datetime import datetime

import sqlalchemy as sa

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.storage.tables import jobs


def end_waiting(
    connection: sa.Connection, chosen: sa.ColumnElement[bool], outcome: Outcome, detail: str, now: datetime
) -> int:
    """End jobs that do not run, all in states from which they can be cancelled. Returns how many."""
    return connection.execute(
        jobs.update()
        .where(chosen)
        .values(
            state=JobState.CANCELLED,
            order_token=None,
            outcome=outcome,
            detail=detail,
            waiting_reason=None,
            wake_at=None,
            finished_at=now,
        )
    ).rowcount
