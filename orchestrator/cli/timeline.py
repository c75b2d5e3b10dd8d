"""timeline: everything that happened in a job's attempts, in order, from the database alone."""

import json
from dataclasses import asdict

import click

from orchestrator.cli.common import NUMBER, as_json, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.reports.words import one_line
from orchestrator.storage.timeline import Moment

_MOST_SHOWN = 200


@click.command("timeline")
@click.argument("job")
@click.option("--experiment", help="The experiment of a label; default: the newest.")
@click.option("--attempt", type=NUMBER, help="Only this attempt, by its number.")
@as_json
def timeline_command(job: str, experiment: str | None, attempt: int | None, as_json: bool) -> int:
    """Replay everything that happened in JOB: its attempts, their stages, and every event between, in order.

    JOB is its id, or its label `target/profile#repeat` as `bakeoff status` shows it.
    """
    from orchestrator.cli.why import job_id_of
    from orchestrator.storage.jobfacts import job_facts
    from orchestrator.storage.timeline import job_timeline

    database = open_database()
    facts = job_facts(database, job_id_of(database, job, experiment, utc_now()))
    moments = job_timeline(database, facts.job_id, attempt=attempt)
    if as_json:
        # Written as it is read: a long run has hundreds of thousands of moments.
        click.echo("[", nl=False)
        for index, moment in enumerate(moments):
            click.echo(f"{',' if index else ''}\n{json.dumps(asdict(moment), default=str)}", nl=False)
        click.echo("\n]")
        return ExitCode.OK
    click.echo(f"job {facts.job_id}, {facts.label} of {facts.experiment}: {facts.state}")
    for moment in moments:
        click.echo(_line(moment))
    return ExitCode.OK


def _line(moment: Moment) -> str:
    place = f"{moment.attempt}" if moment.stage is None else f"{moment.attempt}.{moment.stage}"
    said = ", ".join(f"{name} {_shown(value)}" for name, value in moment.data.items())
    return f"{moment.at:%Y-%m-%d %H:%M:%S}  {place:<7} {one_line(moment.kind, 40)}: {one_line(said, _MOST_SHOWN)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) + "}"
    return str(value)
