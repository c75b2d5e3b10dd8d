"""From a hint to a stored result: claim the job, run the attempt under its lease, hand in what it leaves."""

import logging
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.outcome import Outcome
from orchestrator.storage.attempts import AttemptResult
from workers.attempt import Attempt
from workers.context import WorkerContext
from workers.ending import store
from workers.heartbeat import Held
from workers.slots import Claimed
from workers.spool import Recorder
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView

log = logging.getLogger("bakeoff.worker")


# What `run_job` returns for a hint that names no job to be started now.
STALE_HINT = "stale hint"


def run_job(context: WorkerContext, job_id: int, order_token: str, progress: Callable[[str], None]) -> str:
    """Claim the job and bring it to an outcome. Returns the outcome's name, or why nothing was done."""
    claimed = context.desk.claim(job_id, order_token, patience_seconds=context.settings.rehint_seconds / 2)
    if claimed is None:
        return STALE_HINT
    claim, asked_at = claimed.claim, claimed.asked_at
    inbox = StageInbox()
    inbox.retune(claim.retuned or {})
    lease = LeaseView(context.heartbeats.deadline(asked_at))
    context.heartbeats.hold(claim.attempt_id, Held(lease, inbox))
    spool = context.settings.spool / f"{claim.attempt_id}.jsonl"
    try:
        recorder = Recorder(claim.attempt_id, spool)
    except OSError as error:
        return _unrecorded(context, claimed, inbox, spool, error)
    context.shipper.add(spool)
    attempt = Attempt(context, claimed, recorder, inbox, lease, progress)
    try:
        result = attempt.run()
        recorder.close()
        attempt.release()
        state = store(context, claim, spool, result)
        log.info(
            "attempt_ended job=%d attempt=%s outcome=%s job_state=%s", job_id, claim.attempt_id, result.outcome, state
        )
        return result.outcome.value
    except StaleAttempt:
        log.warning("result_refused job=%d attempt=%s fence=%d", job_id, claim.attempt_id, claim.fence)
        return Outcome.LEASE_LOST.value
    finally:
        attempt.release()
        claimed.place.give_back()
        context.desk.slots.freed()
        context.heartbeats.drop(claim.attempt_id)
        recorder.close()
        context.shipper.leave(spool)
        inbox.close()


def _unrecorded(context: WorkerContext, claimed: Claimed, inbox: StageInbox, spool: Path, error: OSError) -> str:
    """End an attempt of which nothing can be written down here: its disk is full, or cannot be written to."""
    claim = claimed.claim
    log.warning("attempt_failed attempt=%s error=%s", claim.attempt_id, error)
    try:
        store(context, claim, spool, AttemptResult(outcome=Outcome.INFRA_ERROR, detail=f"telemetry: {error}"))
    except StaleAttempt:
        log.warning("result_refused job=%d attempt=%s fence=%d", claim.job_id, claim.attempt_id, claim.fence)
    finally:
        claimed.place.give_back()
        context.heartbeats.drop(claim.attempt_id)
        inbox.close()
    return Outcome.INFRA_ERROR.value
