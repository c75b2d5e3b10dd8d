"""Writes the pages of docs/reference that are made from the code (`make reference`): commands, outcomes, schemas."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from orchestrator.cli import bakeoff
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.meanings import MEANINGS
from orchestrator.domain.outcome import RESUMABLE, Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import ATTEMPT_MOVES, BREAKER_MOVES, JOB_MOVES, diagram
from orchestrator.files.schema import experiment_schema, fleet_schema, schema_text

FOLDER = Path(__file__).parents[2] / "docs/reference"
_GENERATED = "Generated from the code by `make reference`.\n"
_CLASSES: Mapping[OutcomeClass, str] = {
    OutcomeClass.RESULT: "the profile's own doing: counts for its quality",
    OutcomeClass.INFRA: "the machine, the key or the server: never counts for quality, and the job is tried again",
    OutcomeClass.QUOTA: "a provider's limit: the job is parked with its work, and goes on after the reset",
    OutcomeClass.USER: "the doing of a person, a shutdown or a race: never counts for quality",
    OutcomeClass.INVALID: "the run cannot count, as it is not what the profile says",
}
_CODES: Mapping[ExitCode, str] = {
    ExitCode.OK: "good",
    ExitCode.BUG: "a bug of ours",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.INVALID_INPUT: "a file or an argument is wrong; every fault is named with its place",
    ExitCode.UNAVAILABLE: "something that this machine needs is missing",
    ExitCode.STORAGE: "the results database cannot be read or written",
    ExitCode.NOT_FOUND: "there is no such experiment, job or file",
    ExitCode.CONFLICT: "the thing is in a state that forbids the request",
    ExitCode.STALE: "a write came from an attempt that no longer owns its job",
    ExitCode.UNFINISHED: "jobs are still open",
    ExitCode.INTERRUPTED: "interrupted by a person",
}


def pages() -> dict[str, str]:
    """Every generated page by the name of its file."""
    return {
        "commands.md": commands_page(),
        "outcomes.md": outcomes_page(),
        "experiment.schema.json": schema_text(experiment_schema()),
        "fleet.schema.json": schema_text(fleet_schema()),
    }


def commands_page() -> str:
    """Every command with its arguments and options."""
    root = click.Context(bakeoff, info_name="bakeoff")
    codes = "\n".join(f"| {code.value} | {_CODES[code]} |" for code in ExitCode)
    head = f"# Commands\n\n{_GENERATED}\n| exit code | meaning |\n|---|---|\n{codes}\n"
    return head + "".join(_command(bakeoff, root))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield f"\n## `{context.command_path}`\n\n```\n{usage}\n```\n\n{_prose(command)}\n"
        rows = [record for one in command.get_params(context) if (record := _option(one, context))]
        if rows:
            yield "\n| option | meaning |\n|---|---|\n" + "".join(rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _command(found, click.Context(found, info_name=name, parent=context))


def _prose(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or command.short_help or "").replace("\b\n", "")
    return "\n".join(line.rstrip() for line in text.splitlines())


def _option(option: click.Parameter, context: click.Context) -> str:
    record = option.get_help_record(context) if isinstance(option, click.Option) else None
    if record is None or "--help" in option.opts:  # of every command, and cached as it was first asked for
        return ""
    name, meaning = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{name}` | {meaning} |\n"


def outcomes_page() -> str:
    """How attempts end, and how jobs, attempts and breakers move."""
    lines = ["# Outcomes and states", "", _GENERATED]
    lines.append("An attempt ends in exactly one outcome. Its class decides what the report may conclude from it.\n")
    for kind in OutcomeClass:
        lines += [
            f"## {kind.value.capitalize()}: {_CLASSES[kind]}\n",
            "| outcome | meaning | the work |",
            "|---|---|---|",
        ]
        lines += [_outcome(one) for one in Outcome if outcome_class(one) is kind]
        lines.append("")
    for title, table in (
        ("jobs", diagram(JOB_MOVES)),
        ("attempts", diagram(ATTEMPT_MOVES)),
        ("breakers", diagram(BREAKER_MOVES)),
    ):
        lines += [f"## States of {title}\n", f"```mermaid\n{table}\n```\n"]
    return "\n".join(lines).rstrip() + "\n"


def _outcome(outcome: Outcome) -> str:
    kept = "goes on later from its last commit" if outcome in RESUMABLE else "is archived as it stands"
    return f"| `{outcome.value}` | {MEANINGS[outcome]} | {kept} |"


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
