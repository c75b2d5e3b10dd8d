"""import interstat, shadow, findings, tokens: logs that tell what work took, and not how it ended.

The command line loads this module for `import`, and with it all that `interop` has.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from orchestrator.cli.common import as_json, emit, open_database
from orchestrator.cli.interop import import_command, named
from orchestrator.domain.errors import ExitCode
from orchestrator.interop import reading
from orchestrator.interop.reading import Log

_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
_file = click.argument("file", type=click.Path(path_type=Path))


def _store(experiment: str, read: Callable[[ExitStack], Log], *, as_json: bool) -> int:
    """Read, store what is new, and tell both."""
    from orchestrator.clock import utc_now
    from orchestrator.storage.imports import store_imported

    with ExitStack() as opened:
        log = read(opened)
        stored = store_imported(open_database(), name=experiment, source=log.source, runs=log.runs, now=utc_now())
    if as_json:
        emit(reading.as_json(log, experiment, stored))
        return ExitCode.OK
    for line in reading.as_lines(log, experiment, stored):
        click.echo(line)
    return ExitCode.OK


@import_command.command("interstat")
@_file
@named
@as_json
def interstat_command(file: Path, name: str | None, as_json: bool) -> int:
    """Store the runs in FILE, a database of interstat (~/.claude/interstat/metrics.db), as an experiment.

    FILE is copied and read, never opened for writing. Importing again adds only runs that are new.
    """
    from orchestrator.interop import interstat
    from orchestrator.interop.interstat_file import open_database as open_interstat

    chosen = name or "interstat"
    return _store(
        chosen,
        lambda opened: interstat.read_log(file, chosen, opened.enter_context(open_interstat(file))),
        as_json=as_json,
    )


@import_command.command("shadow")
@_files
@named
@as_json
def shadow_command(files: tuple[Path, ...], name: str | None, as_json: bool) -> int:
    """Store what a router in shadow mode would have changed, from its logs FILES, each a target of one experiment.

    Lines that cannot be read are counted and shown. Importing again adds only decisions that are new.
    """
    from orchestrator.interop import foreign, shadow

    if len({file.name for file in files}) < len(files):
        raise click.UsageError("two of the logs have one name, and each becomes a target: rename one")
    chosen = name or (foreign.label(files[0].stem) if len(files) == 1 else "shadow")
    return _store(chosen, lambda _: shadow.read_log(files, chosen), as_json=as_json)


@import_command.command("findings")
@_files
@named
@as_json
def findings_command(files: tuple[Path, ...], name: str | None, as_json: bool) -> int:
    """Store reviews of several agents, FILES named findings.json, as one experiment: each file is a target.

    Importing again adds only reviews that are new.
    """
    from orchestrator.interop import review

    chosen = name or "findings"
    return _store(chosen, lambda _: review.read_log(files, chosen), as_json=as_json)


@import_command.command("tokens")
@_file
@named
@as_json
def tokens_command(file: Path, name: str | None, as_json: bool) -> int:
    """Store a token log, FILE with `entries` of work, phase and tokens, as an experiment.

    Importing again adds only entries that are new.
    """
    from orchestrator.interop import token_log

    chosen = name or "token-log"
    return _store(chosen, lambda _: token_log.read_log(file, chosen), as_json=as_json)
