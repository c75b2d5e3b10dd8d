"""report: the verdict, in every form."""

from pathlib import Path

import click

from orchestrator.analysis.study import Study, study
from orchestrator.cli.common import chosen_experiment, experiment_name, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.reports.options import ReportOptions
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence


@click.command("report")
@experiment_name
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained HTML page.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report_command(experiment: str | None, html: Path | None, as_markdown: bool, as_json: bool) -> int:
    """Print what EXPERIMENT (default: the newest) shows, and how sure that is."""
    from orchestrator.reports import as_json as json_report
    from orchestrator.reports import markdown, terminal

    database = open_database()
    name = chosen_experiment(database, experiment)
    found = write_report(database, name, html) if html else study(load_evidence(database, name, utc_now()))
    options = ReportOptions()
    if as_json:
        click.echo(json_report.render(found, options))
    elif as_markdown:
        click.echo(markdown.render(found, options))
    else:
        from rich.console import Console

        console = Console()
        console.print(terminal.render(found, width=console.width))
    if html:
        click.echo(f"report: {html.resolve()}", err=True)
    return ExitCode.OK


def write_report(database: Database, name: str, path: Path) -> Study:
    """Write the HTML page; returns what it shows."""
    from orchestrator.reports import html

    found = study(load_evidence(database, name, utc_now()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html.render(found, ReportOptions()), encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"the report cannot be written to {path}: {error.strerror}") from None
    return found
