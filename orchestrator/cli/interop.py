"""import and export: what people bring along from other programs, and what they take back."""

import re
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.common import as_json, emit
from orchestrator.domain.errors import ExitCode
from orchestrator.interop.findings import Finding
from orchestrator.interop.findings import as_json as findings_json
from orchestrator.interop.findings import as_lines as findings_lines


@click.group("import")
def import_command() -> None:
    """Read experiments and results of other programs. Nothing of them is ever run."""


@click.group("export")
def export_command() -> None:
    """Write results in the form of other programs."""


def _settings(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not (name and sign) for name, sign, _ in pairs):
        raise click.BadParameter("KEY=VALUE, for example MAX_ITERATIONS=5")
    return {name: value for name, _, value in pairs}


@import_command.command("ralph")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the files; default: the name.")
@click.option("--name", help="Of the experiment; default: the name of FILE, or of its folder.")
@click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    help="Ralph's config.toml; default: ~/.config/ralph/config.toml, where it exists.",
)
@click.option("--set", "overrides", multiple=True, callback=_settings, help="KEY=VALUE, instead of what FILE says.")
@click.option("--harness", is_flag=True, help="Run ralph itself as one command, instead of the loop 'tasks'.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@as_json
def ralph_command(file: Path, output: Path | None, as_json: bool, **options: Any) -> int:
    """Write an experiment and a fleet file for FILE, an experiment.conf of ralph's, and say what was unclear."""
    from orchestrator.interop.ralph_import import import_conf, look_at_target, write_files

    name = options["name"] or _name_of(file)
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


def _report(findings: list[Finding]) -> None:
    for line in findings_lines(findings):
        click.echo(line)


def _name_of(file: Path) -> str:
    stem = file.absolute().parent.name if file.stem == "experiment" else file.stem.removeprefix("experiment_")
    return re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", stem).strip("-._")[:64] or "ralph"
