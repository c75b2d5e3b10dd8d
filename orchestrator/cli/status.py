"""status: where every job stands, and why it waits."""

from dataclasses import replace

import click

from orchestrator.cli.common import as_json, chosen_experiment, emit, experiment_name, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode

# Of the breakers' latest openings; `--json` has more.
_OPENINGS_SHOWN = 5


@click.command("status")
@experiment_name
@as_json
def status_command(experiment: str | None, as_json: bool) -> int:
    """Show every job of EXPERIMENT (default: the newest), the slots, the quota windows, and the workers."""
    from orchestrator.domain.breaker import describe
    from orchestrator.reports.eta import Foreteller
    from orchestrator.reports.live_rows import live_view
    from orchestrator.reports.notices import backlog_words
    from orchestrator.reports.quota_table import quota_json, quota_view
    from orchestrator.storage.breakers import all_breakers, history
    from orchestrator.storage.drains import drained
    from orchestrator.storage.machines import SILENT_AFTER, workers
    from orchestrator.storage.notices import backlog
    from orchestrator.storage.pools import all_pools
    from orchestrator.storage.quota import quotas

    database = open_database()
    name = chosen_experiment(database, experiment)
    now = utc_now()
    view = live_view(database, name, now, Foreteller(database, name))
    known = workers(database)
    accounts = quotas(database, now)
    breakers = all_breakers(database)
    moves = history(database)
    drains = drained(database)
    told = backlog(database, now)
    servers = [(pool.server, one) for pool in all_pools(database) for one in pool.seen]
    if as_json:
        emit(
            {
                "experiment": name,
                "at": now,
                "eta_seconds": view.eta.middle if view.eta else None,
                "eta": vars(view.eta) if view.eta else None,
                "jobs": [vars(job) for job in view.jobs],
                "resources": [vars(resource) for resource in view.resources],
                "accounts": quota_json(accounts),
                "pool_servers": [
                    {"pool": server.name, "base_url": server.base_url}
                    | {"machine": one.machine, "since": one.since, "seen_at": one.seen_at}
                    | one.report.model_dump(mode="json")
                    for server, one in servers
                ],
                "breakers": [
                    vars(breaker) | {"scope": scope, "keys": sorted(breaker.keys)}
                    for scope, breaker in breakers.items()
                ],
                "breaker_events": [move._asdict() for move in moves],
                "drains": [drain._asdict() for drain in drains.values()],
                "notices": [one._asdict() for one in told],
                "workers": [worker._asdict() | {"silent": now - worker.seen_at > SILENT_AFTER} for worker in known],
            }
        )
        return ExitCode.OK
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from orchestrator.reports.live import render

    console = Console()
    # The windows have a table of their own below.
    console.print(render(replace(view, gauges=()), height=console.height))
    table = Table("id", "job", "state", "outcome", "waits for", box=None, pad_edge=False, header_style="bold")
    for job in view.jobs:
        table.add_row(
            str(job.job_id), Text(job.key), Text(job.state), Text(job.outcome or "-"), Text(job.waiting_reason)
        )
    console.print(table)
    console.print(quota_view(accounts, now))
    for server, one in servers:
        seen = f"seen by {one.machine} at {one.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        says = f"pool {server.name}: {server.base_url} is {one.report.in_words()}; {seen}"
        console.print(Text(says, style="" if one.report.serves else "red"))
    for scope, breaker in breakers.items():
        if text := describe(scope, breaker):
            console.print(Text(text))
    for opened in [move for move in moves if move.until is not None][:_OPENINGS_SHOWN]:
        when, until = f"{opened.at:%Y-%m-%d %H:%M:%S}", f"{opened.until:%H:%M:%S} UTC"
        console.print(Text(f"{when} {opened.scope} was stopped until {until}: {opened.cause}"))
    for drain in drains.values():
        console.print(Text(f"{drain.scope} is drained since {drain.since:%Y-%m-%d %H:%M:%S} UTC: {drain.reason}"))
    for channel in [channel for channel in told if channel.error]:
        console.print(Text(f"notices to {channel.channel}: {backlog_words(channel)}", style="red"))
    for worker in known:
        closed = worker.capabilities.get("closed_for")
        words = "silent" if now - worker.seen_at > SILENT_AFTER else f"takes no new jobs: {closed}" if closed else ""
        line = Text(f"worker {worker.worker} on {worker.machine}, version {worker.version}")
        console.print(line.append(f" ({words})", style="red") if words else line)
    return ExitCode.OK
