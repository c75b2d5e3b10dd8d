"""What is on record about a tree that an attempt left on its machine: may its job go on in it, is it archived."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import artifacts, attempts, cells, experiments, is_live, jobs


@dataclass(frozen=True, kw_only=True)
class TreeRecord:
    """A tree by the last attempt that worked in it.

    `live` when any attempt of the job is, whichever tree it uses. `final_sha`, `patch_sha256` and `bundle_sha256` are
    what that attempt archived, each None when it did not; `ended_at` is None while nobody has recorded its end.
    """

    job_id: int
    label: str
    experiment: str
    job_state: JobState
    repeat: int
    spec: dict[str, object]
    live: bool
    ended_at: datetime | None
    final_sha: str | None
    patch_sha256: str | None
    bundle_sha256: str | None


def tree_record(database: Database, machine: str, number: int, id_prefix: str) -> TreeRecord | None:
    """The record of the tree that attempt `number` with this beginning of its id made; None when there is none."""
    made_by = sa.select(attempts.c.id, attempts.c.job_id, attempts.c.run_dir).where(
        attempts.c.id >= id_prefix,
        attempts.c.id < id_prefix + "g",  # ids are hexadecimal
        attempts.c.number == number,
        attempts.c.machine == machine,
    )
    with database.snapshot() as connection:
        maker = connection.execute(made_by).one_or_none()
        if maker is None:
            return None
        tries = connection.execute(
            sa.select(attempts, is_live.label("live"))
            .where(attempts.c.job_id == maker.job_id)
            .order_by(attempts.c.number)
        ).all()
        used = [one for one in tries if one.id == maker.id or (one.run_dir and one.run_dir == maker.run_dir)]
        job = connection.execute(
            sa.select(jobs, cells.c.key, cells.c.spec, experiments.c.name.label("experiment"))
            .join(cells, cells.c.id == jobs.c.cell_id)
            .join(experiments, experiments.c.id == jobs.c.experiment_id)
            .where(jobs.c.id == maker.job_id)
        ).one()
        kept = _kept(connection, used[-1])
    return TreeRecord(
        job_id=job.id,
        label=f"{job.key}#{job.repeat}",
        experiment=job.experiment,
        job_state=JobState(job.state),
        repeat=job.repeat,
        spec=job.spec,
        live=any(one.live for one in tries),
        ended_at=used[-1].ended_at,
        final_sha=used[-1].final_sha,
        patch_sha256=kept.get("patch") or kept.get("patch_cut"),
        bundle_sha256=kept.get("bundle"),
    )


def _kept(connection: sa.Connection, attempt: Any) -> dict[str, str]:
    kinds = ("patch", "patch_cut", "bundle")
    query = sa.select(artifacts.c.kind, artifacts.c.sha256).where(
        artifacts.c.attempt_id == attempt.id, artifacts.c.kind.in_(kinds)
    )
    return {row.kind: row.sha256 for row in connection.execute(query)}


def open_sources(database: Database) -> set[str]:
    """The sources, as their targets name them, of every job that has not ended for good."""
    unfinished = sa.select(jobs.c.cell_id).where(jobs.c.state.not_in(sorted(FINAL_JOB_STATES)))
    query = sa.select(cells.c.spec["target"]["source"].as_string()).where(cells.c.id.in_(unfinished)).distinct()
    with database.read() as connection:
        return {source for source in connection.execute(query).scalars() if source}
