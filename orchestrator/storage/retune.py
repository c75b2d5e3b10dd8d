"""Other limits for jobs that have not ended, kept beside the cell's own: what they measure stands apart."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.domain.limits import Limits, context_disorder
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.storage.control import Selection, locked
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import cells, jobs

Changes = Mapping[str, float | int | None]


class Retuned(NamedTuple):
    """How many jobs have other limits now."""

    waiting: int
    running: int


def retune(database: Database, selection: Selection, changes: Changes) -> Retuned:
    """Give jobs other limits, by name; None is unlimited. Idempotent; later changes add to earlier ones.

    Running attempts are guarded by them within seconds. A job that was never tried and gets its own limits back is
    as it was submitted. Raises InvalidInput, and changes nothing, when a job's limits would not fit each other.
    """
    with database.write() as connection:
        chosen = sa.and_(locked(connection, selection), jobs.c.state.not_in(FINAL_JOB_STATES))
        query = (
            sa.select(jobs.c.id, jobs.c.state, jobs.c.attempts, jobs.c.retuned, cells.c.spec["limits"].label("own"))
            .join(cells, cells.c.id == jobs.c.cell_id)
            .where(chosen)
            .order_by(jobs.c.id)
        )
        rows = connection.execute(query).all()
        updates = [{"job": row.id, "new": _merged(row, changes)} for row in rows]
        if updates:
            change = jobs.update().where(jobs.c.id == sa.bindparam("job")).values(retuned=sa.bindparam("new"))
            connection.execute(change, updates)
    running = sum(row.state == JobState.RUNNING for row in rows)
    return Retuned(len(rows) - running, running)


def _merged(row: Any, changes: Changes) -> dict[str, float | int | None] | None:
    merged = {**(row.retuned or {}), **changes}
    own = Limits.model_validate(row.own)
    if row.attempts == 0:
        merged = {name: value for name, value in merged.items() if getattr(own, name) != value}
    try:
        disorder = context_disorder(own.changed(merged))
    except ValidationError as error:
        disorder = str(error.errors()[0]["msg"])
    if disorder:
        raise InvalidInput([Fault(file=f"job {row.id}", field="--set", message=disorder)])
    return merged or None
