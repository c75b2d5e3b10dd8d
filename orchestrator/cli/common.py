"""What the commands share."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.settings import Settings, load_settings
from orchestrator.storage.engine import HEAD, Database

F = TypeVar("F", bound=Callable[..., Any])

# As experiment files accept it.
PRIORITY = click.IntRange(-1000, 1000)
# Ids and numbers of rows, as every database can look for them.
NUMBER = click.IntRange(1, 2**31 - 1)

experiment_file = click.argument("file", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def experiment_name(command: F) -> F:
    """The optional argument EXPERIMENT: the newest one when it is not given."""
    return click.argument("experiment", required=False)(command)


def open_database(settings: Settings | None = None, *, upgrade: bool = False) -> Database:
    """The results database, at the newest schema.

    Without `upgrade` a server's older schema is left alone and Conflict raised: other machines may be using it, and
    whoever just looks must not end their work. A file is this machine's own.
    """
    database = Database((settings or load_settings()).database_url)
    revision = None if upgrade or database.sqlite else database.revision()
    if revision is not None and revision < HEAD:
        raise Conflict(
            f"the database is at schema {revision}, this program needs {HEAD}: other machines may be using it; "
            "update the fleet, and start `bakeoff scheduler`, which migrates"
        )
    database.migrate()
    return database


def chosen_experiment(database: Database, name: str | None) -> str:
    """The named experiment, or the one submitted last. A file name is accepted for the experiment in it.

    Raises NotFound: a misspelt name must not look like an experiment without jobs.
    """
    from orchestrator.storage.evidence import experiment_names

    names = experiment_names(database)
    if name is None:
        if not names:
            raise NotFound(f"no experiment in {database!r} yet: submit or run one first")
        return names[0]
    if name not in names and Path(name).is_file():
        from orchestrator.files import load_experiment

        name = load_experiment(name).experiment.experiment
    if name not in names:
        raise NotFound(f"no experiment {name!r} in {database!r}; there are: {', '.join(names) or 'none'}")
    return name


def unserved_here(settings: Settings, database: Database, resources: Iterable[str]) -> list[str]:
    """Those without a live worker. None where no shared broker is set: `bakeoff run` starts its own workers."""
    if settings.broker_url is None:
        return []
    from orchestrator.clock import utc_now
    from orchestrator.storage.machines import unserved

    return unserved(database, resources, utc_now())


def emit(document: object) -> None:
    """Data on standard output."""
    click.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))
