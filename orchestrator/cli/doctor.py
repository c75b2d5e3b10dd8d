"""doctor: what this machine has, what it lacks, and what to do about it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from orchestrator.cli.common import as_json, emit, open_database, unserved_here
from orchestrator.domain.errors import BakeoffError, ExitCode
from orchestrator.domain.fleet import Fleet
from orchestrator.settings import Settings, load_settings

# Below this a run soon ends in full-disk failures.
_FREE_BYTES = 2 * 1024**3


class Finding(NamedTuple):
    """One thing looked at. `ok` None is worth knowing, but stops nothing."""

    name: str
    ok: bool | None
    text: str


@click.command("doctor")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@as_json
def doctor_command(file: Path | None, as_json: bool) -> int:
    """Look at this machine, and with FILE at its repositories, agents and model servers too."""
    settings = load_settings()
    looks: list[Callable[[], Iterable[Finding]]] = [
        lambda: [_program("git"), _program("bash")],
        lambda: [_broker(settings)],
        lambda: [_disk(settings)],
        lambda: _records(settings),
    ]
    if file is not None:
        looks += [lambda: _experiment(file), lambda: _workers(file, settings)]
    findings: list[Finding] = []
    for look in looks:
        try:
            for finding in look():  # what was found before a fault stays
                findings.append(finding)
        except BakeoffError as error:
            findings.append(Finding(error.kind, False, str(error)))
    if as_json:
        emit([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            mark = {True: "ok  ", False: "MISS", None: "note"}[finding.ok]
            click.echo(f"{mark} {finding.name}: {finding.text}")
    return ExitCode.UNAVAILABLE if any(finding.ok is False for finding in findings) else ExitCode.OK


def _program(name: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or f"not found on PATH; install {name}")


def _broker(settings: Settings) -> Finding:
    from orchestrator.embedded import server_binary

    if settings.broker_url is None:
        return Finding("broker", True, f"embedded: {server_binary()}")
    from orchestrator.broker import celery_app

    with celery_app(settings).connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=5)
        except Exception as error:  # noqa: BLE001 - each transport raises errors of its own
            return Finding("broker", False, f"{connection.as_uri()} does not answer: {error}")
        return Finding("broker", True, connection.as_uri())


def _database(settings: Settings) -> Finding:
    database = open_database(settings)
    return Finding("database", True, f"{database!r} is at schema {database.revision()}")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home if settings.home.exists() else Path.cwd()).free
    enough = free >= _FREE_BYTES
    text = f"{free / 1024**3:.1f} GiB free for {settings.home}"
    return Finding("disk", enough, text if enough else f"{text}; at least {_FREE_BYTES // 1024**3} GiB are wanted")


def _records(settings: Settings) -> Iterator[Finding]:
    """The database, and what it can tell: nothing when it is away."""
    yield _database(settings)
    yield from _trees(settings)
    yield from _notices(settings)


def _notices(settings: Settings) -> Iterator[Finding]:
    """The channels of notices, and what could not be sent."""
    from orchestrator.clock import utc_now
    from orchestrator.reports.notices import backlog_words
    from orchestrator.storage.notices import backlog

    for one in backlog(open_database(settings), utc_now()):
        yield Finding(f"notices to {one.channel}", None if one.error else True, backlog_words(one))


def _trees(settings: Settings) -> list[Finding]:
    """Trees of ended jobs that lie here still, by what can become of them."""
    from orchestrator.cli.gc import retention_seconds, size
    from orchestrator.domain.garbage import GarbageQuestion
    from orchestrator.scheduling.garbage import collect

    retention = retention_seconds(settings.gc_after_hours)
    found = collect(GarbageQuestion(remove=False, retention_seconds=retention))
    stale = [item for item in found if item.goes]
    text = f"{len(found)} trees and mirrors take {size(sum(item.disk_bytes for item in found))}"
    if stale:
        total = size(sum(item.disk_bytes for item in stale))
        text += f"; {len(stale)} of them ({total}) are stale: `bakeoff gc` removes them"
    return [Finding("trees", None if stale else True, text)] if found else []


def _experiment(file: Path) -> list[Finding]:
    from orchestrator.files import load_experiment
    from orchestrator.scheduling.submit import ask_machine

    loaded = load_experiment(file)
    answer = ask_machine(loaded)
    found = [Finding(f"target {name}", True, target.sha) for name, target in answer.targets.items()]
    for name, agent in answer.agents.items():
        text = agent.version or "version unknown" if agent.installed else f"not installed: {agent.hint}"
        found.append(Finding(f"agent {name}", agent.installed, text))
    found += [_server(f"account {name}", account.base_url) for name, account in loaded.fleet.accounts.items()]
    return found + _pools(loaded.fleet)


def _pools(fleet: Fleet) -> list[Finding]:
    """What the pools' servers say of themselves; such a look costs nothing."""
    from orchestrator.scheduling.servers import context_warnings, look_at_servers

    reports = look_at_servers(fleet)
    found = [
        Finding(f"pool {name}", report.serves, f"{fleet.pools[name].base_url} is {report.in_words()}")
        for name, report in reports.items()
    ]
    for name, report in reports.items():
        most = fleet.pools[name].slots
        if most is not None and report.slots is not None and report.slots < most:
            text = f"the fleet file says {most} slots, its server has {report.slots}: so many jobs run at a time"
            found.append(Finding(f"pool {name}", None, text))
    return found + [Finding("context", None, text) for text in context_warnings(fleet, reports)]


def _workers(file: Path, settings: Settings) -> list[Finding]:
    """Accounts and pools of the profiles that no live worker of a shared fleet serves."""
    from orchestrator.files import load_experiment
    from orchestrator.scheduling.next_step import nobody_serves, serving

    if settings.broker_url is None:
        return []
    loaded = load_experiment(file)
    profiles = loaded.experiment.profiles.values()
    wanted = {serving([loaded.fleet.resource_of(model) for model in profile.models()]) for profile in profiles}
    missing = unserved_here(settings, open_database(settings), wanted)
    return [Finding(f"worker {resource}", False, nobody_serves(resource)) for resource in missing]


def _server(name: str, url: str) -> Finding:
    """Whether anything listens there. No request is sent: it might cost money."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=5):
            return Finding(name, True, f"{url} accepts connections")
    except OSError as error:
        return Finding(name, False, f"{url} does not accept connections: {error}")
