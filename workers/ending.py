"""What an attempt leaves when it ends: its figures, when it may go on, and its result in the database."""

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.clock import boot_seconds
from orchestrator.domain.errors import StorageError
from orchestrator.domain.states import JobState
from orchestrator.storage.attempts import AttemptResult, Claim
from workers.context import WorkerContext
from workers.judge import DEFAULT_PARK_SECONDS
from workers.loops.steps import LoopEnd
from workers.stage_frame import StageRun
from workers.tampering import MAX_CHANGES
from workers.work import Work
from workers.worktrees.collect import diff_stat
from workers.worktrees.git import GitError
from workers.worktrees.worktree import JobTree

log = logging.getLogger("bakeoff.worker")

_RETRY_SECONDS = 1.0
# No limit resets later than monthly; a provider that says so has its units wrong.
_LONGEST_PARK_SECONDS = 35 * 86400.0


def store(context: WorkerContext, claim: Claim, spool: Path, result: AttemptResult) -> JobState:
    """Ship the telemetry and store the result, waiting for a database that is away for as long as it takes.

    The heartbeats go on meanwhile. Raises StaleAttempt when somebody else owns the job now.
    """
    pause = threading.Event()
    while True:
        try:
            _ship(context, spool)
            return context.desk.finish(claim.attempt_id, result)
        except StorageError as error:
            log.warning("result_waits job=%d attempt=%s error=%s", claim.job_id, claim.attempt_id, error)
            pause.wait(_RETRY_SECONDS)


def _ship(context: WorkerContext, spool: Path) -> None:
    try:
        context.shipper.finish(spool)
    except OSError as error:  # a disk that cannot be read: the result is not lost with the telemetry
        log.warning("telemetry_lost file=%s error=%s", spool, error)


def result_of(
    work: Work, end: LoopEnd, *, attempt_id: str, started_at: float, lease_wait_seconds: float
) -> AttemptResult:
    """What goes on record. `started_at` is boot time; what was waited for slots is nobody's time."""
    tree = work.tree
    wait = sum(run.watch.rate_limit_wait_seconds for run in work.runs)
    wall = boot_seconds() - started_at - lease_wait_seconds
    result = AttemptResult(
        outcome=end.outcome,
        detail=end.detail[:4000],
        wall_seconds=wall,
        lease_wait_seconds=lease_wait_seconds,
        working_seconds=wall - wait,
        rate_limit_wait_seconds=wait,
        commits=work.commits if work.history else None,
        final_text=work.history[-1].answer[:20000] if work.history else None,
        checks=tuple(work.checks),
        artifacts=tuple(work.artifacts),
        changes=work.tampering.changes[:MAX_CHANGES] if work.tampering else (),
        protected_changes=len(work.tampering.changes) if work.tampering else None,
        protected_counted=len(work.tampering.counting) if work.tampering else None,
    )
    if (resumed := work.resumed) is not None:
        earlier = resumed.earlier.attempt_id
        result = replace(result, resumed_from=earlier, resumed_stages=resumed.last_ordinal)
    if tree is not None:
        try:
            result = with_figures(result, tree)
        except (GitError, OSError) as error:
            # A tree that was never made whole, or broke: the record is written without its figures.
            log.warning("figures_unknown attempt=%s error=%s", attempt_id, error)
    return result


def with_figures(result: AttemptResult, tree: JobTree) -> AttemptResult:
    """The result with what the tree tells: commits, files and lines. Raises GitError."""
    stat = diff_stat(tree)
    return replace(
        result,
        branch=tree.key.branch,
        base_sha=tree.base,
        baseline_sha=tree.start,
        final_sha=tree.head,
        files_changed=stat.files,
        lines_added=stat.added_lines,
        lines_removed=stat.removed_lines,
    )


def reset_moment(run: StageRun) -> datetime:
    """When the limit that ended this stage resets, as far as the provider said."""
    error = run.watch.last_error
    now = time.time()
    moment = now + DEFAULT_PARK_SECONDS
    if error is not None and error.resets_at_epoch is not None:
        moment = error.resets_at_epoch
    elif error is not None and error.retry_after_seconds is not None:
        moment = now + error.retry_after_seconds
    return datetime.fromtimestamp(min(max(now, moment), now + _LONGEST_PARK_SECONDS), UTC)
