"""report: the verdict, in every form. The forms are shared with `analyze`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from orchestrator.analysis.study import Study, study
from orchestrator.cli.common import chosen_experiment, experiment_name, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.reports.options import PLAIN, ReportOptions
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence

F = TypeVar("F", bound=Callable[..., Any])


class Forms(NamedTuple):
    """How a report is wanted: at most one of `as_markdown` and `as_json`, else for the terminal."""

    as_markdown: bool
    as_json: bool
    memo: bool
    everything: bool


def forms(command: F) -> F:
    """The options of a report."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="Fold nothing: every table, pair and row."),
        click.option("--memo", is_flag=True, help="The decision memo alone: one page."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown."),
    ):
        command = option(command)
    return command


@click.command("report")
@experiment_name
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained HTML page.")
@forms
def report_command(experiment: str | None, html: Path | None, **wanted: bool) -> int:
    """Print what EXPERIMENT (default: the newest) shows, and how sure that is."""
    database = open_database()
    name = chosen_experiment(database, experiment)
    found = study(load_evidence(database, name, utc_now()))
    if html:
        write_page(found, html, PLAIN)
    show(found, Forms(**wanted), PLAIN)
    return ExitCode.OK


def show(found: Study, wanted: Forms, options: ReportOptions) -> None:
    """Print a study on standard output. Raises UsageError for two forms at once."""
    if wanted.as_json and wanted.as_markdown:
        raise click.UsageError("--json and --markdown exclude each other: name one of them")
    from orchestrator.reports import as_json as json_report
    from orchestrator.reports import markdown, terminal

    options = options.evolve(everything=wanted.everything, memo_alone=wanted.memo)
    if wanted.as_json:
        click.echo(json_report.render(found, options))
    elif wanted.as_markdown:
        click.echo(markdown.render(found, options))
    else:
        from rich.console import Console

        console = Console()
        console.print(terminal.render(found, console.width, options))


def write_page(found: Study, path: Path, options: ReportOptions) -> None:
    """Write the HTML page, and say where it is. Raises Unavailable."""
    from orchestrator.reports import html

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html.render(found, options), encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"the report cannot be written to {path}: {error.strerror}") from None
    click.echo(f"report: {path.resolve()}", err=True)


def write_report(database: Database, name: str, path: Path) -> Study:
    """Write the HTML page of an experiment; returns what it shows."""
    found = study(load_evidence(database, name, utc_now()))
    write_page(found, path, PLAIN)
    return found
