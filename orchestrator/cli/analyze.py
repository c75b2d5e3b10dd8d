"""analyze: other people's results, and experiments of ours, in the forms of a report, with nothing kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from orchestrator.analysis.study import Study, study
from orchestrator.cli.common import chosen_experiment, emit, open_database
from orchestrator.cli.interop import name_of
from orchestrator.cli.report import Forms, forms, show, write_page
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.interop.appendix import appendix
from orchestrator.interop.sources import FORMATS, read_foreign
from orchestrator.reports.options import PLAIN, ReportOptions
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.imports import store_imported
from orchestrator.storage.scratch import scratch_database

SCHEMA = "bakeoff-analysis/1"


@click.command("analyze")
@click.argument("sources", nargs=-1, required=True, metavar="FILE|EXPERIMENT...")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), help="Of the files; default: what they look like."
)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page; of several sources, a folder of pages.")
@forms
def analyze_command(sources: Sequence[str], form: str | None, html: Path | None, **wanted: bool) -> int:
    """Analyse results of other programs like your own runs, and keep nothing; or experiments that were run here.

    A FILE is a published leaderboard (YAML, JSON), a table of trials (CSV, CSV.GZ), a stress test (JSON) or the
    folder of a ralph ledger. Each source is analysed on its own, and of a file ends with what was unclear in it.

    \b
    Examples:
      bakeoff analyze polyglot_leaderboard.yml
      bakeoff analyze trials.csv.gz --markdown
      bakeoff analyze ledger/ last-night --memo
    """
    chosen, documents = Forms(**wanted), []
    for at, (found, options) in enumerate(_studies(sources, form)):
        if html:
            write_page(found, _page(html, found.evidence.experiment, at, sources), options)
        if chosen.as_json:
            from orchestrator.reports.as_json import document

            documents.append(document(found, options.evolve(memo_alone=chosen.memo)))
            continue
        if at:
            click.echo()
        show(found, chosen, options)
    if chosen.as_json:
        emit({"schema": SCHEMA, "analyses": documents})
    return ExitCode.OK


def _page(html: Path, name: str, at: int, sources: Sequence[str]) -> Path:
    """The page of one source; of several, each has its own, also where two files have one name."""
    if len(sources) == 1:
        return html
    twice = name in [name_of(Path(one)) for one in sources[:at]]
    return html / (f"{name}-{at + 1}.html" if twice else f"{name}.html")


def _studies(sources: Sequence[str], form: str | None) -> Iterator[tuple[Study, ReportOptions]]:
    for source in sources:
        if form or Path(source).exists():
            yield _of_file(Path(source), form)
        else:
            database = open_database()
            name = chosen_experiment(database, source)
            yield study(load_evidence(database, name, utc_now())), PLAIN


def _of_file(path: Path, form: str | None) -> tuple[Study, ReportOptions]:
    """Read into a database that is gone afterwards: the same rows, and so the same code, as after an import."""
    read = read_foreign(path, name_of(path), form)
    now = utc_now()
    with scratch_database() as database:
        store_imported(database, name=read.experiment, source=read.source, runs=read.runs, now=now)
        found = study(load_evidence(database, read.experiment, now))
    return found, PLAIN.evolve(appendix=appendix(read))
