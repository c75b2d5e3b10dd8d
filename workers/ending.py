"""What an attempt leaves when it ends: its figures, when it may go on, and its result in the database."""

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.domain.errors import StorageError
from orchestrator.domain.states import JobState
from orchestrator.storage.attempts import AttemptResult, Claim
from workers.context import WorkerContext
from workers.judge import DEFAULT_PARK_SECONDS
from workers.stage import StageRun
from workers.worktrees.collect import diff_stat
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
