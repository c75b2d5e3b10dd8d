"""validate, plan, submit, schema: everything before a job runs."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.common import PRIORITY, as_json, emit, experiment_file, open_database, unserved_here
from orchestrator.domain.errors import ExitCode
from orchestrator.files import Loaded, load_experiment
from orchestrator.settings import load_settings


@click.command("validate")
@experiment_file
@as_json
def validate_command(file: Path, as_json: bool) -> int:
    """Check FILE and its fleet file; every fault with its line. Looks at no repository."""
    loaded = load_experiment(file)
    count = _matrix_size(loaded)
    if as_json:
        emit({"valid": True, "experiment": loaded.experiment.experiment, "jobs": count})
    else:
        click.echo(f"{file}: valid. Experiment {loaded.experiment.experiment!r}, {count} jobs.")
    return ExitCode.OK


def _matrix_size(loaded: Loaded) -> int:
    from orchestrator.domain.matrix import combinations

    return sum(1 for _ in combinations(loaded.experiment)) * loaded.experiment.repeats


@click.command("plan")
@experiment_file
@click.option("--by", metavar="TIME", help="Will it end by then? 08:00, '08:00 Europe/Berlin', 2026-07-02T08:00Z.")
@as_json
def plan_command(file: Path, by: str | None, as_json: bool) -> int:
    """Show every job of FILE in its order, with queue, needs and what an earlier submit finished; what they will take
    by what earlier runs took; and when they would end on the fleet at hand. Runs nothing.

    \b
    Examples:
      bakeoff plan experiment.yaml
      bakeoff plan experiment.yaml --by 08:00
    """
    from orchestrator.clock import utc_now
    from orchestrator.reports import plan_estimates as words
    from orchestrator.scheduling.estimates import plan_estimates
    from orchestrator.scheduling.next_step import serving
    from orchestrator.scheduling.outlook import fleet_windows, plan_outlook
    from orchestrator.scheduling.race_plan import race_plan
    from orchestrator.scheduling.servers import context_warnings
    from orchestrator.scheduling.submit import plan
    from orchestrator.storage import forget
    from orchestrator.storage.pools import all_pools

    settings = load_settings()
    now = utc_now()
    deadline = _deadline(by, now)
    database = open_database(settings)
    loaded = load_experiment(file)
    windows = fleet_windows(database, loaded.fleet, now)
    planned, answer = plan(loaded, database, windows=windows)
    estimates = plan_estimates(planned, windows)
    outlook = plan_outlook(planned, estimates, windows, database, now, deadline)
    unserved = unserved_here(settings, database, {serving(job.needs) for job in planned.jobs})
    unneeded = forget.unneeded(database, planned.loaded.fleet)
    last_seen = {view.server.name: one.report for view in all_pools(database) for one in view.seen}
    smaller = context_warnings(planned.loaded.fleet, last_seen)
    missing = {name: agent.hint for name, agent in answer.agents.items() if not agent.installed}
    if as_json:
        took = {job.label: words.job_json(one) for job, one in estimates.jobs}
        emit(
            {
                "experiment": planned.loaded.experiment.experiment,
                "jobs": [_job(job) | {"estimate": took.get(job.label)} for job in planned.jobs],
                "new": len(planned.new),
                "no_longer_in_file": planned.stale,
                "agents": {name: agent.version for name, agent in answer.agents.items()},
                "missing_agents": missing,
                "unserved": unserved,
                "would_forget": unneeded,
                "context_warnings": smaller,
                "race": (race := race_plan(planned)) and vars(race),
                "targets": {name: target.sha for name, target in answer.targets.items()},
                "expected": words.sums_json(estimates),
                "outlook": words.outlook_json(outlook, windows, now),
            }
        )
        return ExitCode.OK
    from orchestrator.reports.plan_table import print_expected, print_plan

    print_plan(planned, answer, unserved, unneeded, smaller)
    print_expected(estimates, [*words.sum_lines(estimates), *words.outlook_lines(outlook, windows, now)])
    return ExitCode.OK


def _deadline(text: str | None, now: datetime) -> datetime | None:
    from orchestrator.domain.deadline import parse_deadline

    try:
        return None if text is None else parse_deadline(text, now)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--by") from None


def _job(job: Any) -> dict[str, Any]:
    return {
        "job": job.label,
        "target": job.cell.spec.target.label,
        "sha": job.cell.spec.target.sha,
        "profile": job.cell.spec.profile,
        "repeat": job.repeat,
        "params": dict(job.cell.spec.params),
        "priority": job.priority,
        "position": job.position,
        "queue": job.queue,
        "needs": list(job.needs),
        "state": job.state or "new",
        "second_part": job.second_part,
        "cell_hash": job.cell.cell_hash,
        "profile_hash": job.cell.profile_hash,
    }


@click.command("submit")
@experiment_file
@click.option("--priority", type=PRIORITY, help="Of the new jobs, instead of FILE's; higher starts first.")
@as_json
def submit_command(file: Path, priority: int | None, as_json: bool) -> int:
    """Store the jobs of FILE that are not there yet. Submitting again adds nothing; a larger FILE extends it."""
    from orchestrator.clock import utc_now
    from orchestrator.scheduling.submit import plan, require_agents, submit

    database = open_database()
    planned, answer = plan(load_experiment(file), database, priority)
    require_agents(answer)
    added, forgotten = submit(planned, database, utc_now())
    name = planned.loaded.experiment.experiment
    if as_json:
        counts = {"added": added, "jobs": len(planned.jobs), "no_longer_in_file": planned.stale}
        emit({"experiment": name, **counts, "forgotten": forgotten})
    else:
        click.echo(f"{name}: {added} jobs added, {len(planned.jobs) - added} were there already.")
        if planned.stale:
            click.echo(f"{planned.stale} stored jobs are no longer in the file; they stay as they are.", err=True)
        for resource in forgotten:
            click.echo(f"{resource} is gone from the fleet file and no open job needs it: forgotten.", err=True)
    return ExitCode.OK


@click.command("schema")
@click.argument("kind", type=click.Choice(["experiment", "fleet"]))
def schema_command(kind: str) -> int:
    """Print the JSON Schema of an experiment or fleet file, for editors."""
    from orchestrator.files.schema import experiment_schema, fleet_schema

    emit(experiment_schema() if kind == "experiment" else fleet_schema())
    return ExitCode.OK
