"""What must happen before a job goes on, in words: the second half of `why`, after the reason."""

from collections.abc import Collection, Mapping, Sequence

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.storage.jobfacts import JobFacts
from orchestrator.storage.machines import WorkerView, closed_words


def next_step(job: JobFacts, workers: Mapping[str, Sequence[WorkerView]], drained: Collection[str]) -> str:
    """One or more sentences; empty for a job that has ended well.

    `workers` are the live ones by the resource that they serve, `drained` the scopes that take no new work.
    """
    if job.state in (JobState.READY, JobState.QUEUED):
        return " ".join(_before_start(job, workers, drained))
    if job.state is JobState.RUNNING:
        return _while_running(job)
    if job.state is JobState.PARKED:
        until = f"{job.wake_at:%Y-%m-%d %H:%M:%S} UTC" if job.wake_at else "an unknown time"
        return f"It is ready again at {until}; the tree and the session of its last attempt are kept."
    if job.state is JobState.PAUSED:
        return f"Somebody has to let it go on: bakeoff resume --job {job.job_id}"
    if job.state is JobState.BLOCKED:
        return "When the first part has ended, it starts or is cancelled, as its target ranks."
    if job.outcome == Outcome.RACED_OUT:
        return "It stays so while its experiment's file has `race`: without it, submit again and requeue the job."
    if job.state in FINAL_JOB_STATES and job.state is not JobState.DONE:
        return f"It stays so, unless somebody asks for another try: bakeoff requeue --job {job.job_id}"
    return ""


def _before_start(job: JobFacts, workers: Mapping[str, Sequence[WorkerView]], drained: Collection[str]) -> list[str]:
    found = []
    if job.ahead:
        found.append(f"{job.ahead} ready {'job' if job.ahead == 1 else 'jobs'} with the same needs go first.")
    for need in job.needs:
        kind, _, name = need.partition(":")
        if need in drained:
            found.append(f"{need} takes no new work until: bakeoff resume --{kind} {name}")
    resource = serving(job.needs)
    if resource not in workers:
        found.append(nobody_serves(resource))
    return found + [f"{words}." for words in closed_words(workers.get(resource, ()))]


def serving(needs: Sequence[str]) -> str:
    """The resource whose worker runs such jobs: the account when there is one, as their queue says."""
    return next((need for need in needs if need.startswith("account:")), needs[0])


def nobody_serves(resource: str) -> str:
    """That an account or a pool has no live worker, and the command that starts one."""
    kind, _, name = resource.partition(":")
    command = f"worker cloud --account {name}" if kind == "account" else f"worker gpu --pool {name}"
    return f"no live worker serves {resource}; start one: bakeoff {command}"


def _while_running(job: JobFacts) -> str:
    if job.cancel_requested:
        return "It was asked to end, and is cancelled then."
    if job.pause_requested:
        return "It was asked to end, its work is committed, and it is paused then."
    waits_for = job.attempts[-1].waits_for if job.attempts else None
    return f"Its next stage waits for a slot of {waits_for}, before any new job." if waits_for else ""
