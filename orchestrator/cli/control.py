"""cancel, requeue: what people do to jobs."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.cli.common import as_json, chosen_experiment, emit, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.storage.control import Selection, cancel, requeue
from orchestrator.storage.engine import Database

F = TypeVar("F", bound=Callable[..., Any])


def selection_options(command: F) -> F:
    """Which jobs: an experiment, narrowed by profile, target or job ids."""
    for option in (
        click.argument("experiment", required=False),
        click.option("--profile", help="Only this profile's jobs."),
        click.option("--target", help="Only this target's jobs."),
        click.option("--job", "jobs", type=int, multiple=True, help="Only this job id; may be repeated."),
    ):
        command = option(command)
    return command


def _selection(
    database: Database, experiment: str | None, profile: str | None, target: str | None, jobs: tuple[int, ...]
) -> Selection:
    name = None if jobs and experiment is None else chosen_experiment(database, experiment)
    return Selection(experiment=name, profile=profile, target=target, job_ids=jobs or None)


@click.command("cancel")
@selection_options
@click.option("--reason", default="cancelled on request", show_default=True)
@as_json
def cancel_command(
    experiment: str | None,
    profile: str | None,
    target: str | None,
    jobs: tuple[int, ...],
    reason: str,
    as_json: bool,
) -> int:
    """Cancel the jobs of EXPERIMENT (default: the newest). What runs is ended by its worker within seconds."""
    database = open_database()
    ended, asked = cancel(database, _selection(database, experiment, profile, target, jobs), reason, utc_now())
    if as_json:
        emit({"cancelled": ended, "asked_to_end": asked})
    else:
        click.echo(f"{ended} waiting jobs cancelled, {asked} running jobs asked to end.")
    return ExitCode.OK


@click.command("requeue")
@selection_options
@as_json
def requeue_command(
    experiment: str | None, profile: str | None, target: str | None, jobs: tuple[int, ...], as_json: bool
) -> int:
    """Give the failed, cancelled and invalid jobs of EXPERIMENT (default: the newest) another try."""
    database = open_database()
    count = requeue(database, _selection(database, experiment, profile, target, jobs))
    if as_json:
        emit({"requeued": count})
    else:
        click.echo(f"{count} jobs are ready again.")
    return ExitCode.OK
