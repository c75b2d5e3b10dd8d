"""import: what people bring along from other programs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import as_json, emit, open_database
from orchestrator.domain.base import check_name
from orchestrator.domain.errors import ExitCode
from orchestrator.interop.findings import Finding
from orchestrator.interop.findings import as_json as findings_json
from orchestrator.interop.findings import as_lines as findings_lines

if TYPE_CHECKING:
    from orchestrator.interop.sources import Foreign
    from orchestrator.storage.imports import Stored


@click.group("import")
def import_command() -> None:
    """Read experiments and results of other programs. Nothing of them is ever run."""


def _overrides(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not (name and sign) for name, sign, _ in pairs):
        raise click.BadParameter("KEY=VALUE, for example MAX_ITERATIONS=5")
    return {name: value for name, _, value in pairs}


def _experiment_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return check_name(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


named = click.option("--name", callback=_experiment_name, help="Of the experiment; default: a name of the file's.")


@import_command.command("ralph")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the files; default: the name.")
@click.option(
    "--name", callback=_experiment_name, help="Of the experiment; default: the name of FILE, or of its folder."
)
@click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    help="Ralph's config.toml; default: ~/.config/ralph/config.toml, where it exists.",
)
@click.option("--set", "overrides", multiple=True, callback=_overrides, help="KEY=VALUE, instead of what FILE says.")
@click.option("--harness", is_flag=True, help="Run ralph itself as one command, instead of the loop 'tasks'.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@as_json
def ralph_command(file: Path, output: Path | None, as_json: bool, **options: Any) -> int:
    """Write an experiment and a fleet file for FILE, an experiment.conf of ralph's or its folder.

    Ends with a report of what was unclear, and how it was read.
    """
    from orchestrator.interop.ralph_import import import_conf, look_at_target, write_files

    file = file / "experiment.conf" if file.is_dir() else file
    name = options["name"] or name_of(file)
    made = import_conf(
        file, name=name, profiles=options["profiles"], overrides=options["overrides"], harness=options["harness"]
    )
    written = write_files(made, output or Path(name), force=options["force"])
    findings = [*made.findings, *look_at_target(written)]
    if as_json:
        files = {"experiment": str(written), "fleet": str(written.with_name("fleet.toml"))}
        emit({"files": files, "findings": findings_json(findings)})
        return ExitCode.OK
    click.echo(f"{written}\n{written.with_name('fleet.toml')}")
    _report(findings)
    return ExitCode.OK


@import_command.command("ralph-ledger")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", callback=_experiment_name, help="Of the experiment; default: the name of the folder.")
@as_json
def ralph_ledger_command(path: Path, name: str | None, as_json: bool) -> int:
    """Store the runs of a ledger of ralph's, the folder PATH with runs.jsonl and iterations.jsonl, as an experiment.

    Importing again adds only runs that are new.
    """
    from orchestrator.interop.sources import read_ledger

    folder = path if path.is_dir() else path.parent
    read = read_ledger(path, name or name_of(folder.absolute() / "experiment.conf"))
    stored = _store(read)
    if as_json:
        emit(_document(read, stored))
        return ExitCode.OK
    click.echo(f"{read.experiment}: {stored.added} runs added, {stored.known} were there already.")
    _report(read.findings())
    return ExitCode.OK


@import_command.command("leaderboard")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--name", callback=_experiment_name, help="Of the experiment, for a single file; default: its own name."
)
@as_json
def leaderboard_command(files: tuple[Path, ...], name: str | None, as_json: bool) -> int:
    """Store published leaderboards, each of FILES as an experiment: aider's YAML, or a mapping with `rows`.

    Importing again adds only runs that are new.
    """
    from orchestrator.interop.sources import read_leaderboard

    if name and len(files) > 1:
        raise click.UsageError("--name is for a single file")
    names = [name or name_of(file) for file in files]
    if len(set(names)) < len(names):
        raise click.UsageError(
            "two of the files have one name, and each becomes an experiment: import one with --name"
        )
    boards = [read_leaderboard(file, chosen) for file, chosen in zip(files, names, strict=True)]
    told = [(board, _store(board)) for board in boards]
    if as_json:
        emit({"imports": [_document(board, stored) for board, stored in told]})
        return ExitCode.OK
    for board, stored in told:
        compared = f"{len(board.told()['runs'])} runs compared"
        click.echo(f"{board.experiment}: {compared}, {stored.added} jobs added, {stored.known} were there already.")
        _report(board.findings())
    return ExitCode.OK


@import_command.command("trials")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", callback=_experiment_name, help="Of the experiment; default: the name of FILE.")
@as_json
def trials_command(file: Path, name: str | None, as_json: bool) -> int:
    """Store a table of trials, FILE.csv or FILE.csv.gz, as an experiment: a row is a trial of a task.

    Importing again adds only trials that are new.
    """
    from orchestrator.interop.sources import read_trials

    read = read_trials(file, name or name_of(file))
    stored, counts = _store(read), read.told()
    if as_json:
        emit(_document(read, stored))
        return ExitCode.OK
    click.echo(f"{read.experiment}: {stored.added} trials added, {stored.known} were there already.")
    click.echo(f"{counts['infra']} of {counts['trials']} are not in quality, {counts['not_judged']} were not judged.")
    _report(read.findings())
    return ExitCode.OK


def _store(read: "Foreign") -> "Stored":
    """Keep what is not there yet."""
    from orchestrator.clock import utc_now
    from orchestrator.storage.imports import store_imported

    return store_imported(open_database(), name=read.experiment, source=read.source, runs=read.runs, now=utc_now())


def _document(read: "Foreign", stored: "Stored") -> dict[str, Any]:
    findings = findings_json(read.findings())
    return {"experiment": read.experiment, **stored._asdict(), **read.told(), "findings": findings}


def _report(findings: Sequence[Finding]) -> None:
    for line in findings_lines(findings):
        click.echo(line)


def name_of(file: Path) -> str:
    """The name of an experiment that is read from a file."""
    plain = file.name.removesuffix(".gz").rpartition(".")[0] or file.name
    stem = file.absolute().parent.name if plain == "experiment" else plain.removeprefix("experiment_")
    return re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", stem).strip("-._")[:64] or "ralph"
