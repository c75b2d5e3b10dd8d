"""Scopes among the `needs` of jobs: while a profile or a model is held back, its jobs are classes of their own.

So a pass reads none of them while nothing of it may start, however many wait. Jobs that run or have failed are marked
too: when they come back to ready they wait with the others.
"""

import sqlalchemy as sa

from orchestrator.domain.states import JobState
from orchestrator.storage.engine import lock_in_order, one_at_a_time
from orchestrator.storage.tables import attempts, breakers, cells, experiments, is_live, jobs, model_gates


def model_scope(account: str, model: str) -> str:
    """The scope of one model of an account."""
    return f"model:{account}/{model}"


def lock(connection: sa.Connection, scope: str) -> None:
    """Before `mark`: nobody else changes these jobs, and no submit adds some unseen, until the transaction ends."""
    lock_in_order(connection, jobs.c.id, _jobs_of(scope))
    one_at_a_time(connection, "marks")


def mark(
    connection: sa.Connection, scope: str, *, stopped: bool, among: sa.ColumnElement[bool] | None = None
) -> None:
    """Put a scope into the needs of its jobs (those `among` them), or take it out. Idempotent."""
    marked = _without(scope) != _listed
    if stopped:
        mine = sa.and_(_jobs_of(scope), ~marked, jobs.c.state != JobState.DONE, *([] if among is None else [among]))
        change = jobs.update().where(mine).values(needs=jobs.c.needs + f",{scope}")
    else:
        rest = _without(scope)
        change = jobs.update().where(marked).values(needs=sa.func.substr(rest, 1, sa.func.length(rest) - 1))
    connection.execute(change)


def mark_new(connection: sa.Connection, experiment: str) -> None:
    """Jobs that have just been added to what is held back wait with the others."""
    one_at_a_time(connection, "marks")
    prefix = f"profile:{experiment}/"
    profiles = sa.select(breakers.c.scope).where(
        breakers.c.scope.startswith(prefix, autoescape=True), breakers.c.gated.is_(True)
    )
    models = sa.select(model_gates.c.scope)
    for scope in connection.execute(profiles.union(models)).scalars().all():
        mark(connection, scope, stopped=True, among=_of_experiment(experiment))


def live_of(connection: sa.Connection, scope: str) -> int:
    """How many live attempts are of jobs with this mark."""
    marked = _without(scope) != _listed
    query = sa.select(sa.func.count()).select_from(attempts).join(jobs, jobs.c.id == attempts.c.job_id)
    return int(connection.execute(query.where(is_live, marked)).scalar_one())


# Needs begin with a resource, so that every mark stands between two commas here.
_listed = jobs.c.needs + ","


def _without(scope: str) -> sa.ColumnElement[str]:
    # Not by LIKE, which takes `Opus` for `opus` on SQLite.
    return sa.func.replace(_listed, f",{scope},", ",")


def _jobs_of(scope: str) -> sa.ColumnElement[bool]:
    kind, _, name = scope.partition(":")
    first, _, second = name.partition("/")
    if kind == "profile":
        mine = sa.select(cells.c.id).join(experiments, experiments.c.id == cells.c.experiment_id)
        chosen = mine.where(experiments.c.name == first, cells.c.profile == second)
        return sa.and_(_of_experiment(first), jobs.c.cell_id.in_(chosen))
    # A `single` loop never asks its reasoning model.
    plans = sa.and_(cells.c.spec["loop"].as_string() != "single", _asks("reasoning", first, second))
    return jobs.c.cell_id.in_(sa.select(cells.c.id).where(sa.or_(_asks("build", first, second), plans)))


def _asks(role: str, account: str, model: str) -> sa.ColumnElement[bool]:
    asked = cells.c.spec[("models", role, "alias")].as_string() == model
    return sa.and_(asked, cells.c.spec[("models", role, "resource")].as_string() == f"account:{account}")


def _of_experiment(name: str) -> sa.ColumnElement[bool]:
    return jobs.c.experiment_id == sa.select(experiments.c.id).where(experiments.c.name == name).scalar_subquery()
