"""export: what people take along, to programs of their own and of others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli.common import chosen_experiment, experiment_name, open_database
from orchestrator.domain.errors import ExitCode

F = TypeVar("F", bound=Callable[..., Any])


@click.group("export")
def export_command() -> None:
    """Write results in open formats, or in the form of other programs."""


def _folder(command: F) -> F:
    """EXPERIMENT, the folder, and whether files in the way are written over."""
    command = click.option("--force", is_flag=True, help="Write over files that are there.")(command)
    output = click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the files."
    )
    return experiment_name(output(command))


_agent_text = click.option(
    "--with-agent-text", is_flag=True, help="With what agents wrote: answers, errors, names of test cases."
)


def _tables(form: str) -> None:
    """Add the command that writes tables in this form."""

    @export_command.command(
        form, help=f"Write jobs, attempts, stages, checks and cases of EXPERIMENT as {form} files."
    )
    @_folder
    @_agent_text
    def command(experiment: str | None, output: Path, force: bool, with_agent_text: bool) -> int:
        from orchestrator.interop.open_tables import write_tables

        database = open_database()
        name = chosen_experiment(database, experiment)
        counts = write_tables(database, name, output, form, agent_text=with_agent_text, force=force)
        click.echo(f"{output}: " + ", ".join(f"{count} {table}" for table, count in counts.items()))
        return ExitCode.OK


for _form in ("csv", "jsonl", "parquet"):
    _tables(_form)


@export_command.command("atif")
@_folder
@_agent_text
def atif_command(experiment: str | None, output: Path, force: bool, with_agent_text: bool) -> int:
    """Write each attempt of EXPERIMENT as a trajectory in the Agent Trajectory Interchange Format."""
    from orchestrator.interop.open_files import write_trajectories

    database = open_database()
    name = chosen_experiment(database, experiment)
    count = write_trajectories(database, name, output, agent_text=with_agent_text, force=force)
    click.echo(f"{output}: {count} trajectories.")
    return ExitCode.OK


@export_command.command("otel")
@_folder
def otel_command(experiment: str | None, output: Path, force: bool) -> int:
    """Write EXPERIMENT as OpenTelemetry spans with GenAI attributes, one OTLP JSON document a line."""
    from orchestrator.interop.open_files import write_spans

    database = open_database()
    count = write_spans(database, chosen_experiment(database, experiment), output, force=force)
    click.echo(f"{output / 'spans.jsonl'}: {count} traces.")
    return ExitCode.OK


@export_command.command("mlflow")
@_folder
def mlflow_command(experiment: str | None, output: Path, force: bool) -> int:
    """Write each attempt of EXPERIMENT as a run for MLflow, in the layout of its file store (mlruns)."""
    from orchestrator.interop.mlflow_files import write_runs

    database = open_database()
    count = write_runs(database, chosen_experiment(database, experiment), output, force=force)
    click.echo(f"{output}: {count} runs. Into a database of MLflow's: mlflow migrate-filestore --source {output}")
    return ExitCode.OK


@export_command.command("ralph")
@experiment_name
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the two files.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def export_ralph_command(experiment: str | None, output: Path, force: bool) -> int:
    """Write EXPERIMENT (default: the newest) as runs.jsonl and iterations.jsonl, with null for what is unknown."""
    from orchestrator.clock import utc_now
    from orchestrator.interop import ralph_export
    from orchestrator.interop.ralph_import import write_texts
    from orchestrator.storage.evidence import load_evidence
    from orchestrator.storage.imports import kept_records

    database = open_database()
    name = chosen_experiment(database, experiment)
    records = kept_records(database, name)
    runs, iterations = (
        ralph_export.kept(records) if records else ralph_export.told(load_evidence(database, name, utc_now()))
    )
    texts = {"runs.jsonl": ralph_export.lines(runs), "iterations.jsonl": ralph_export.lines(iterations)}
    write_texts({output / file: text for file, text in texts.items()}, force=force)
    click.echo(f"{output}: {len(runs)} runs, {len(iterations)} stages.")
    return ExitCode.OK
