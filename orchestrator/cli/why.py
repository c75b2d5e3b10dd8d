"""why: what a job waits for and until when; where it is; how it ended."""

import difflib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click

from orchestrator.cli.common import as_json, chosen_experiment, emit, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import ExitCode, NotFound
from orchestrator.domain.experiment import show_limit
from orchestrator.domain.meanings import MEANINGS
from orchestrator.domain.outcome import Outcome
from orchestrator.reports.live import LiveJob
from orchestrator.reports.words import one_line
from orchestrator.storage.engine import Database
from orchestrator.storage.jobfacts import AttemptFacts, JobFacts
from orchestrator.storage.tasks import TaskRecord

_MOST_SHOWN = 400


@click.command("why")
@click.argument("job")
@click.option("--experiment", help="The experiment of a label; default: the newest.")
@as_json
def why_command(job: str, experiment: str | None, as_json: bool) -> int:
    """Say why JOB stands where it stands: what it waits for, until when, and what must happen; where it is; how it
    ended. JOB is its id, or its label `target/profile#repeat` as `bakeoff status` shows it.
    """
    from orchestrator.reports.live_rows import live_view
    from orchestrator.scheduling.next_step import next_step
    from orchestrator.storage.drains import drained
    from orchestrator.storage.jobfacts import job_facts
    from orchestrator.storage.machines import live_workers
    from orchestrator.storage.tasks import tasks_of

    database = open_database()
    now = utc_now()
    facts = job_facts(database, job_id_of(database, job, experiment, now))
    # The very words of `status`.
    [live] = [row for row in live_view(database, facts.experiment, now).jobs if row.job_id == facts.job_id]
    ledger = tasks_of(database, facts.job_id)
    step = next_step(facts, live_workers(database, now), drained(database))
    if as_json:
        emit(
            {
                "job": facts.label,
                **{name: value for name, value in asdict(facts).items() if name not in ("key", "attempts")},
                "reason": live.waiting_reason or None,
                "next_step": step or None,
                "stage": live.stage or None,
                "elapsed_seconds": live.elapsed_seconds,
                "tokens": live.tokens,
                "context_fill": live.context_fill,
                "attempts": [asdict(one) for one in facts.attempts],
                "tasks_accepted": live.tasks_accepted,
                "tasks_planned": live.tasks_planned,
                "tasks": [asdict(one) for one in ledger],
            }
        )
        return ExitCode.OK
    for line in [*_lines(facts, live, step, now), *_tasks(live, ledger)]:
        click.echo(line)
    return ExitCode.OK


def job_id_of(database: Database, job: str, experiment: str | None, now: datetime) -> int:
    """The id behind an id or a label as `bakeoff status` shows it. Raises NotFound with what comes near."""
    if job.isascii() and job.isdigit() and len(job) < 10:
        return int(job)
    from orchestrator.reports.live_rows import live_view
    from orchestrator.storage.jobfacts import job_labels

    name = chosen_experiment(database, experiment)
    known = job_labels(database, name)
    known |= {row.key: row.job_id for row in live_view(database, name, now).jobs}
    label = job.replace(" #", "#")
    if label in known:
        return known[label]
    near = difflib.get_close_matches(label, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`bakeoff status` lists them"
    raise NotFound(f"no job {job!r} in experiment {name!r}; {hint}")


def _lines(facts: JobFacts, live: LiveJob, step: str, now: datetime) -> list[str]:
    lines = [f"job {facts.job_id}, {facts.label} of {facts.experiment}: {facts.state}"]
    if live.waiting_reason:
        lines.append(f"because: {one_line(live.waiting_reason, _MOST_SHOWN)}")
    if live.stage:
        lines.append(f"now: {_where(live)}")
    if facts.outcome:
        detail = f": {one_line(facts.detail, _MOST_SHOWN)}" if facts.detail else ""
        lines += [f"ended as: {facts.outcome}{detail}", f"which means: {MEANINGS[Outcome(facts.outcome)]}"]
    if step:
        lines.append(f"next: {step}")
    if facts.retuned:
        changed = ", ".join(f"{name}={show_limit(name, value)}" for name, value in sorted(facts.retuned.items()))
        lines.append(f"limits changed: {changed}")
    order = f"priority {facts.priority}, position {facts.position}, queue {facts.queue}"
    lines.append(f"needs: {' + '.join(facts.needs)} ({order})")
    return lines + [_attempt(one, now) for one in facts.attempts]


def _where(live: LiveJob) -> str:
    fill = "unknown" if live.context_fill is None else f"{100 * live.context_fill:.0f} %"
    tokens = "unknown" if live.tokens is None else str(live.tokens)
    return f"{live.stage}, {format_duration(live.elapsed_seconds)} so far, {tokens} tokens, context {fill}"


def _tasks(live: LiveJob, ledger: Sequence[TaskRecord]) -> list[str]:
    """How far the plan came, and each task that is not accepted."""
    if not ledger:
        return []
    lines = [f"tasks: {live.tasks_accepted} of {live.tasks_planned} accepted"]
    for one in ledger:
        if not one.done:
            cause = f"; refused last: {one_line(one.cause, _MOST_SHOWN)}" if one.cause else ""
            lines.append(f"  {one.task_id} ({one.state}): {one_line(one.text.partition(chr(10))[0], 120)}{cause}")
    return lines


def _attempt(one: AttemptFacts, now: datetime) -> str:
    lasted = format_duration(((one.ended_at or now) - one.started_at).total_seconds())
    place = f"attempt {one.number} on {one.machine}, from {one.started_at:%Y-%m-%d %H:%M:%S} UTC"
    stages = f"{one.stages} stage{'' if one.stages == 1 else 's'}"
    if one.ended_at is None:
        return f"{place}: {one.state} for {lasted}, {stages}, worker pid {one.worker_pid}"
    detail = f": {one_line(one.detail, _MOST_SHOWN)}" if one.detail else ""
    return f"{place}: {one.outcome} after {lasted}, {stages}{detail}"
