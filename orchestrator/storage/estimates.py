"""What jobs were expected to take: stored with them at submit, read beside what came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.analysis.rows import EstimateRow
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.tables import cells, estimates


@dataclass(frozen=True, kw_only=True)
class NewEstimates:
    """By quantity, what each new job of a cell is expected to take. What is unknown is not there."""

    cell_hash: str
    took: Mapping[str, EstimateRow]


def insert_estimates(
    connection: sa.Connection, new: Sequence[NewEstimates], cell_ids: Mapping[str, int], now: datetime
) -> None:
    """Store them under the moment of the jobs' submit. Those that are there stay."""
    if not new:
        return
    mine = sa.select(estimates.c.cell_id).where(estimates.c.made_at == now)
    have = set(connection.execute(mine).scalars())
    rows = (
        {
            "cell_id": cell_ids[one.cell_hash],
            "made_at": now,
            "took": {name: list(row) for name, row in one.took.items()},
        }
        for one in new
        if cell_ids[one.cell_hash] not in have
    )
    insert_many(connection, estimates, rows)


def estimates_of(
    connection: sa.Connection, experiment_id: int
) -> dict[tuple[int, datetime], Mapping[str, EstimateRow]]:
    """By cell and moment of submit."""
    query = (
        sa.select(estimates)
        .join(cells, cells.c.id == estimates.c.cell_id)
        .where(cells.c.experiment_id == experiment_id)
    )
    return {(row.cell_id, row.made_at): _read(row.took) for row in connection.execute(query)}


def _read(took: Mapping[str, Any]) -> dict[str, EstimateRow]:
    return {name: EstimateRow(*values) for name, values in took.items()}
