"""One attempt: prepare, loop, check, collect, and exactly one result whatever happens."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from orchestrator.clock import utc_now
from orchestrator.domain.errors import BakeoffError, StaleAttempt
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.pools import all_pools
from workers.answers import Answers
from workers.board import TaskBoard
from workers.checking import ask_checks, check_final, objections
from workers.collecting import archive
from workers.context import WorkerContext
from workers.ending import reset_moment, result_of
from workers.footing import Ended, Footing
from workers.loops.handover import next_step, settled
from workers.loops.ledger import ledger_of
from workers.loops.registry import LOOPS
from workers.loops.steps import CheckOrder, LoopEnd
from workers.models.fitting import fit
from workers.preparing import Preparation
from workers.slots import Claimed, StageSlots
from workers.spool import Recorder
from workers.stage import perform_stage
from workers.stage_frame import AttemptFrame, StageRun
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.taking_back import take_back
from workers.tampering import find_tampering
from workers.work import Work
from workers.worktrees.damage import damage
from workers.worktrees.git import GitError, OutputLimit
from workers.worktrees.worktree import JobTree

log = logging.getLogger("bakeoff.worker")


class Attempt:
    """One try."""

    def __init__(
        self,
        context: WorkerContext,
        claimed: Claimed,
        recorder: Recorder,
        inbox: StageInbox,
        lease: LeaseView,
        progress: Callable[[str], None],
    ) -> None:
        self._context, self._claimed, self._recorder = context, claimed, recorder
        self._claim, self._started_at = claimed.claim, claimed.asked_at
        self._footing = Footing(
            context=context, claim=claimed.claim, recorder=recorder, inbox=inbox, lease=lease, progress=progress
        )
        self._work = Work()
        self._slots: StageSlots | None = None
        self._parked: attempts.Parked | None = None
        self._answers = Answers(context.database, claimed.claim)

    def run(self) -> AttemptResult:
        """Do everything, in order. Raises nothing but StaleAttempt."""
        end = self._guarded(self._perform)
        if self._work.tree is not None:
            # What was done is kept however it ended, also when keeping it is all that is left to do.
            kept = self._guarded(lambda: self._collect(end))
            if kept.outcome is not Outcome.COMPLETE and end.outcome is Outcome.COMPLETE:
                end = kept
        return self._result(end)

    def release(self) -> None:
        """Nothing of it touches the tree any more: a later attempt, which cannot begin before, may take it up."""
        if self._work.tree is not None:
            self._work.tree.release()

    def _guarded(self, step: Callable[[], LoopEnd]) -> LoopEnd:
        try:
            return step()
        except Ended as ended:
            return LoopEnd(outcome=ended.outcome, detail=ended.detail)
        except StaleAttempt:
            raise
        except (BakeoffError, OSError) as error:
            if (broken := self._broken(error)) is not None:
                return LoopEnd(outcome=Outcome.WORKTREE_BROKEN, detail=f"the run broke its own git data: {broken}")
            log.warning("attempt_failed attempt=%s error=%s", self._claim.attempt_id, error)
            return LoopEnd(outcome=Outcome.INFRA_ERROR, detail=f"{type(error).__name__}: {error}")
        except Exception as error:
            # A bug of ours. Without an end on record the job would hold its slots until the lease runs out.
            log.exception("attempt_crashed attempt=%s", self._claim.attempt_id)
            return LoopEnd(outcome=Outcome.INFRA_ERROR, detail=f"a bug of ours: {type(error).__name__}: {error}")

    def _broken(self, error: Exception) -> str | None:
        """What the run broke of its own tree, so that we failed; None where it is whole, and before an agent came."""
        tree = self._work.tree
        if tree is None or not self._work.begun or not isinstance(error, GitError | OSError):
            return None
        # A list of names as long as this is the agent's doing too, and no second try would shorten it.
        return str(error) if isinstance(error, OutputLimit) else damage(tree)

    def _perform(self) -> LoopEnd:
        cell = self._footing.ask(lambda: attempts.cell_info(self._context.database, self._claim.cell_id))
        spec = self._fitted(self._retuned(JobSpec.model_validate(cell.spec)))
        name = f"{spec.experiment} {cell.key} #{self._claim.repeat}"
        log.info("attempt_began job=%d attempt=%s name=%r", self._claim.job_id, self._claim.attempt_id, name)
        self._advance("prepare")
        tree = Preparation(self._footing, self._work).tree(cell, spec)
        resumed = self._work.resumed
        self._advance(
            "work",
            run_dir=str(tree.paths.run),
            resumed_from=resumed.earlier.attempt_id if resumed else None,
            resumed_stages=resumed.last_ordinal if resumed else None,
        )
        attempt_id, meter = self._claim.attempt_id, self._context.meter
        meter.watch(attempt_id, lambda: self._retuned(spec).limits, tree.paths.run, self._footing.inbox)
        try:
            end = self._loop(spec, tree)
        finally:
            # What checks and setup take is not the agent's doing.
            meter.drop(attempt_id)
        if end.outcome is Outcome.QUOTA_PARKED:
            # The work goes on after the reset. Its slot goes back together with the account's parking, not before:
            # the next job would start on a limit that is used up.
            return end
        self._advance("check")
        self._claimed.place.give_back()
        self._context.desk.slots.freed()
        if end.outcome is not Outcome.LEASE_LOST:
            self._footing.progress("checks")
            found = self._work.tampering = find_tampering(tree, spec.target)
            hidden = self._footing.hidden(spec)
            asked = self._work.asked
            self._work.checks += check_final(self._context, self._footing.commands, spec, tree, hidden, found, asked)
        self._footing.heed()
        return end

    def _fitted(self, spec: JobSpec) -> JobSpec:
        """The job with the context sizes of the live servers, where those are smaller; said on record."""
        if not any(model.resource.startswith("pool:") for model in spec.models.values()):
            return spec
        views = self._footing.ask(lambda: all_pools(self._context.database))
        fitted, reduced = fit(spec, views, self._context.settings.machine)
        for one in reduced:
            self._recorder.event("ContextWindowReduced", one._asdict())
        return fitted

    def _retuned(self, spec: JobSpec) -> JobSpec:
        """The job with the limits that people changed so far; the watch of a running stage hears of them itself."""
        changes = self._footing.inbox.retuned
        return spec.model_copy(update={"limits": spec.limits.changed(changes)}) if changes else spec

    def _loop(self, spec: JobSpec, tree: JobTree) -> LoopEnd:
        resumed = self._work.resumed
        spent = resumed.earlier.wall_seconds if resumed else 0.0
        frame = AttemptFrame(
            context=self._context,
            attempt_id=self._claim.attempt_id,
            spec=spec,
            paths=tree.paths,
            recorder=self._recorder,
            inbox=self._footing.inbox,
            lease=self._footing.lease,
            started_at=self._started_at,
            progress=self._footing.progress,
            answered=self._answers.saw,
        )
        self._slots = StageSlots(self._context.database, self._context.desk, self._claimed, spec)
        board = TaskBoard(self._recorder, tree.paths)
        while True:
            self._footing.heed()
            spec = self._retuned(spec)
            if spec.loop == "tasks":
                board.show(ledger_of(spec, settled(self._work.history)))
            step = next_step(LOOPS[spec.loop], spec, self._work.history)
            if isinstance(step, LoopEnd):
                return step
            if isinstance(step, CheckOrder):
                self._ask_checks(spec, tree)
                continue
            runs = self._work.runs
            if resumed and not runs:
                step = resumed.continued(step)
            self._hold(spec.models[step.role])
            # The wall clock of the job stood still between two attempts, and stands while a slot is waited for.
            frame = replace(frame, spec=spec, started_at=self._started_at - spent + self._lease_wait())
            tokens, cost = self._work.tokens, self._work.cost_usd_micros
            self._work.begun = True
            ran = perform_stage(frame, step, self._last_ordinal + 1, tokens, cost)
            runs.append(ran)
            self._work.tokens += ran.watch.usage.total or 0
            self._work.cost_usd_micros += ran.watch.spent_usd_micros or 0
            self._commit(spec, tree, ran)

    @property
    def _last_ordinal(self) -> int:
        resumed = self._work.resumed
        return (resumed.last_ordinal if resumed else 0) + len(self._work.runs)

    def _ask_checks(self, spec: JobSpec, tree: JobTree) -> None:
        """What the visible checks say about the last commit, on record with the last stage: the loop goes by it."""
        self._footing.progress("checks between stages")
        ordinal = self._last_ordinal
        asked, before = (
            ask_checks(self._context, self._footing.commands, spec, tree, f"asked-{ordinal:02d}"),
            self._work.asked,
        )
        self._footing.heed()
        self._work.asked = before.again(asked) if before else asked
        said = objections(self._context, asked.results)
        self._work.history.note_checks(said)
        if self._work.runs:
            self._recorder.stage(ordinal, {"ended_at": utc_now(), "checks": said})

    def _hold(self, model: ModelSpec) -> None:
        slots = self._slots
        assert slots is not None  # made before the loop
        self._footing.progress(f"next stage, on {model.resource}")
        try:
            self._footing.ask(lambda: slots.hold(model, self._footing.heed))
        except attempts.Parked as parked:
            self._parked = parked
            raise Ended(Outcome.QUOTA_PARKED, str(parked)) from None

    def _lease_wait(self) -> float:
        """Waiting for a slot between stages is the fleet's doing: no limit of the run counts it."""
        return self._slots.waited_seconds if self._slots else 0.0

    def _commit(self, spec: JobSpec, tree: JobTree, ran: StageRun) -> None:
        """A commit after every stage, also after one that was killed: work is never lost."""
        message = (
            f"{ran.done.stage}: {ran.done.outcome or 'done'}\n\nstage {ran.ordinal} of attempt {self._claim.number}"
        )
        sha = tree.commit_stage(message, at_epoch_seconds=int(time.time()))
        done = replace(ran.done, changed=sha is not None, commits=(sha,) if sha else ())
        self._work.history.append(done)
        if spec.loop == "tasks":
            for back in take_back(tree, spec, self._work.history, at_epoch_seconds=int(time.time())):
                sha = back.commit or sha
                self._work.commits += back.commit is not None
                self._recorder.event("WorkTakenBack", asdict(back), ran.ordinal)
        self._work.commits += done.changed
        self._recorder.stage(ran.ordinal, {"ended_at": utc_now(), "commit_sha": sha, "changed": done.changed})
        for skipped in tree.skipped:
            self._recorder.event("FileSkipped", skipped._asdict(), ran.ordinal)

    def _collect(self, end: LoopEnd) -> LoopEnd:
        tree = self._work.tree
        assert tree is not None
        if tree.is_dirty():
            sha = tree.commit_stage(f"final: {end.outcome}", at_epoch_seconds=int(time.time()))
            self._work.commits += sha is not None
        kept = archive(self._context.artifacts, tree)
        self._work.artifacts += kept.records
        for note in kept.left_out:
            self._recorder.event("FileSkipped", note._asdict())
        return LoopEnd(outcome=Outcome.COMPLETE, detail="")

    def _advance(self, event: str, **values: str | int | None) -> None:
        self._footing.ask(lambda: attempts.advance(self._context.database, self._claim.attempt_id, event, **values))

    def _result(self, end: LoopEnd) -> AttemptResult:
        work = self._work
        result = result_of(
            work,
            end,
            attempt_id=self._claim.attempt_id,
            started_at=self._started_at,
            lease_wait_seconds=self._lease_wait(),
        )
        if self._parked is not None:
            return replace(result, wake_at=self._parked.until)
        if not work.runs:
            return result
        last = work.runs[-1]
        result = replace(result, resource=last.resource, answered=tuple(sorted(self._answers.resources)))
        return replace(result, wake_at=reset_moment(last)) if end.outcome is Outcome.QUOTA_PARKED else result
