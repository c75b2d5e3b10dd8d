"""watch: an experiment live, from any terminal that reaches the database."""

import click

from orchestrator.cli.common import as_json, chosen_experiment, emit, experiment_name, open_database
from orchestrator.domain.errors import ExitCode


@click.command("watch")
@experiment_name
@as_json
def watch_command(experiment: str | None, as_json: bool) -> int:
    """Follow EXPERIMENT (default: the newest) until every job has ended. Ctrl-C only ends the watching."""
    from orchestrator.cli.watching import follow

    database = open_database()
    view = follow(database, chosen_experiment(database, experiment), as_json=as_json)
    if as_json:
        emit({"experiment": view.experiment, "jobs": [vars(job) for job in view.jobs]})
    return ExitCode.OK
