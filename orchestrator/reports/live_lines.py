"""The view of a running experiment for pipes and logs: one line per change."""

from collections import Counter

from orchestrator.domain.durations import format_duration
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.reports.live import MAX_LINES, LiveJob, LiveView, count_text
from orchestrator.reports.words import one_line, tokens


def plain_lines(previous: LiveView | None, current: LiveView) -> list[str]:
    """What changed between two views: state, stage or reason of waiting. Nothing changed = no lines.

    The first view is one line of counts and the jobs that are under way. At most `MAX_LINES` changes are spelled
    out, ends first, then what runs; the rest is counted in one more line. Where a job ended, the ETA follows.
    """
    stamp = f"{current.now:%H:%M:%S}"
    if previous is None:
        changed = [job for job in current.jobs if job.state is JobState.RUNNING]
        lines = [f"{stamp} {one_line(current.experiment, 80)}: {count_text(current.jobs)}"]
    else:
        before = {job.job_id: _told(job) for job in previous.jobs}
        changed = [job for job in current.jobs if before.get(job.job_id) != _told(job)]
        lines = []
    ordered = sorted(changed, key=_weight)
    lines.extend(f"{stamp} {_line(job)}" for job in ordered[:MAX_LINES])
    rest = ordered[MAX_LINES:]
    if rest:
        counts = Counter(job.state.value for job in rest)
        told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        lines.append(f"{stamp} and {len(rest)} more changes: {told}")
    if previous is not None and current.eta is not None and _finals(previous) != _finals(current) < len(current.jobs):
        lines.append(f"{stamp} {_finals(current)} of {len(current.jobs)} ended, ETA {current.eta_words}")
    if previous is not None and _ended(current) and not _ended(previous):
        lines.append(f"{stamp} all jobs have ended: {count_text(current.jobs)}")
    return lines


def _finals(view: LiveView) -> int:
    return sum(job.state in FINAL_JOB_STATES for job in view.jobs)


def _told(job: LiveJob) -> tuple[str, str, str]:
    if job.state in (JobState.READY, JobState.QUEUED):
        # Between the two a job goes back and forth, and why it waits changes with every other job: no news.
        return (JobState.READY.value, "", "")
    return (job.state.value, job.stage if job.state is JobState.RUNNING else "", job.waiting_reason)


def _weight(job: LiveJob) -> int:
    if job.state in FINAL_JOB_STATES:
        return 0
    return 1 if job.state is JobState.RUNNING else 2


def _ended(view: LiveView) -> bool:
    return bool(view.jobs) and all(job.state in FINAL_JOB_STATES for job in view.jobs)


def _line(job: LiveJob) -> str:
    parts = [one_line(job.key, 200), job.state.value]
    if job.state is JobState.RUNNING:
        parts.append(job.place)
        if job.tokens is not None:
            parts.append(f"{tokens(job.tokens)} tokens")
        if job.context_fill is not None:
            parts.append(f"ctx {100 * job.context_fill:.0f}%")
    if job.state in FINAL_JOB_STATES:
        parts.append(_end(job))
    if job.waiting_reason and job.state not in FINAL_JOB_STATES:
        parts.append(f"({one_line(job.waiting_reason, 160)})")
    return " ".join(part for part in parts if part)


def _end(job: LiveJob) -> str:
    told = [] if job.outcome in ("", "complete") else [one_line(job.outcome, 40)]
    if job.state is JobState.DONE and job.solved is not None:
        told.append("solved" if job.solved else "not solved")
    if job.tokens is not None:
        told.append(f"{tokens(job.tokens)} tokens")
    if job.elapsed_seconds is not None:
        told.append(f"in {format_duration(job.elapsed_seconds)}")
    return " ".join(told)
