"""One attempt: prepare, loop, check, collect, and exactly one result whatever happens."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import BakeoffError, StaleAttempt, StorageError
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.settings import child_environment
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult, CellInfo
from orchestrator.storage.hidden import load_hidden
from orchestrator.storage.pools import all_pools
from workers.answers import Answers
from workers.board import TaskBoard
from workers.checking import Hidden, ask_checks, check_baseline, check_final, packs
from workers.collecting import archive
from workers.command import CommandFrame, run_command, shell
from workers.context import WorkerContext
from workers.ending import reset_moment, with_figures
from workers.loops.handover import next_step, settled
from workers.loops.history import History
from workers.loops.ledger import ledger_of
from workers.loops.registry import LOOPS
from workers.loops.steps import CheckOrder, LoopEnd
from workers.models.fitting import fit
from workers.resume import Resumed, take_up
from workers.slots import Claimed, StageSlots
from workers.spool import Recorder
from workers.stage import AttemptFrame, StageRun, perform_stage
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.taking_back import take_back
from workers.tampering import MAX_CHANGES, Tampering, find_tampering
from workers.worktrees.git import Git, GitError
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree

log = logging.getLogger("bakeoff.worker")

T = TypeVar("T")
_RETRY_SECONDS = 1.0


class Ended(Exception):
    """The attempt is over before its loop said so."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        self.outcome, self.detail = outcome, detail
        super().__init__(detail)


@dataclass
class Work:
    """What the attempt has so far; what is in it when it ends is what gets recorded."""

    tree: JobTree | None = None
    resumed: Resumed | None = None
    runs: list[StageRun] = field(default_factory=list)
    history: History = field(default_factory=History)
    # Used by the stages so far, those of an earlier attempt that this one built on included.
    tokens: int = 0
    cost_usd_micros: int = 0
    commits: int = 0
    checks: list[attempts.CheckRecord] = field(default_factory=list)
    tampering: Tampering | None = None
    artifacts: list[attempts.ArtifactRecord] = field(default_factory=list)


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
        self._context, self._claimed = context, claimed
        self._claim, self._started_at = claimed.claim, claimed.asked_at
        self._recorder, self._inbox, self._lease, self._progress = recorder, inbox, lease, progress
        self._work = Work()
        self._slots: StageSlots | None = None
        self._parked: attempts.Parked | None = None
        self._answers = Answers(context.database, claimed.claim)
        self._commands = CommandFrame(attempt_id=claimed.claim.attempt_id, lease=lease, inbox=inbox)

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
            log.warning("attempt_failed attempt=%s error=%s", self._claim.attempt_id, error)
            return LoopEnd(outcome=Outcome.INFRA_ERROR, detail=f"{type(error).__name__}: {error}")
        except Exception as error:
            # A bug of ours. Without an end on record the job would hold its slots until the lease runs out.
            log.exception("attempt_crashed attempt=%s", self._claim.attempt_id)
            return LoopEnd(outcome=Outcome.INFRA_ERROR, detail=f"a bug of ours: {type(error).__name__}: {error}")

    def _perform(self) -> LoopEnd:
        cell = self._patiently(lambda: attempts.cell_info(self._context.database, self._claim.cell_id))
        spec = self._fitted(self._retuned(JobSpec.model_validate(cell.spec)))
        self._advance("prepare")
        tree = self._prepare(cell, spec)
        resumed = self._work.resumed
        self._advance(
            "work",
            run_dir=str(tree.paths.run),
            resumed_from=resumed.earlier.attempt_id if resumed else None,
            resumed_stages=resumed.last_ordinal if resumed else None,
        )
        attempt_id, meter = self._claim.attempt_id, self._context.meter
        meter.watch(attempt_id, lambda: self._retuned(spec).limits, tree.paths.run, self._inbox)
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
            self._progress("checks")
            found = self._work.tampering = find_tampering(tree, spec.target)
            hidden = self._hidden(spec)
            self._work.checks += check_final(self._context, self._commands, spec, tree, hidden, found)
        self._heed()
        return end

    def _hidden(self, spec: JobSpec) -> Hidden:
        """What the hidden checks bring, in memory only: nothing of it is on this machine before the checks run."""
        found = {}
        for name, pack in packs(spec).items():
            found[name] = self._patiently(partial(load_hidden, self._context.database, pack))
        return found

    def _fitted(self, spec: JobSpec) -> JobSpec:
        """The job with the context sizes of the live servers, where those are smaller; said on record."""
        if not any(model.resource.startswith("pool:") for model in spec.models.values()):
            return spec
        views = self._patiently(lambda: all_pools(self._context.database))
        fitted, reduced = fit(spec, views, self._context.settings.machine)
        for one in reduced:
            self._recorder.event("ContextWindowReduced", one._asdict())
        return fitted

    def _retuned(self, spec: JobSpec) -> JobSpec:
        """The job with the limits that people changed so far; the watch of a running stage hears of them itself."""
        changes = self._inbox.retuned
        return spec.model_copy(update={"limits": spec.limits.changed(changes)}) if changes else spec

    def _prepare(self, cell: CellInfo, spec: JobSpec) -> JobTree:
        self._progress("preparing")
        name = f"{spec.experiment} {cell.key} #{self._claim.repeat}"
        log.info("attempt_began job=%d attempt=%s name=%r", self._claim.job_id, self._claim.attempt_id, name)
        git = Git(host_env=child_environment())
        mirror = Mirror(self._context.settings.mirrors, parse_source(spec.target.source, relative_to=Path.cwd()), git)
        key = JobKey(
            experiment=spec.experiment,
            target=spec.target.label,
            profile=spec.profile,
            repeat=self._claim.repeat,
            attempt=f"{self._claim.number}-{self._claim.attempt_id[:8]}",
            params=spec.params,
        )
        if (tree := self._take_up(key, mirror, git)) is not None:
            return tree
        tree = JobTree(self._context.settings.runs, key, mirror, git)
        tree.prepare(spec.target.sha)
        self._work.tree = tree
        self._heed()
        if spec.target.setup:
            self._setup(spec, tree)
        tree.baseline(at_epoch_seconds=int(time.time()))
        if self._patiently(lambda: self._owns_baseline(cell, spec)):
            self._progress("checks on the untouched base")
            hidden = self._hidden(spec)
            self._work.checks += check_baseline(self._context, self._commands, spec, tree, hidden)
            self._heed()
        return tree

    def _take_up(self, key: JobKey, mirror: Mirror, git: Git) -> JobTree | None:
        """The tree of an earlier attempt to go on in, when it can be had; what is said about it is on record."""
        claim, settings = self._claim, self._context.settings
        if claim.number == 1:
            return None
        # What a dead worker of this machine did last may still be in its spool.
        self._patiently(lambda: self._context.shipper.settle(settings.spool))
        earlier = self._patiently(lambda: attempts.earlier_work(self._context.database, claim.job_id, claim.number))
        if earlier is None:
            return None
        found = take_up(settings.runs, settings.machine, key, mirror, git, earlier)
        if isinstance(found, str):
            self._recorder.event("StartedClean", {"instead_of": earlier.attempt_id, "reason": found})
            return None
        self._recorder.event("Resumed", {"from": earlier.attempt_id, "stages": len(earlier.stages)})
        self._work.tree, self._work.resumed = found.tree, found
        self._work.history = History(found.history)
        self._work.tokens = sum(stage.tokens for stage in earlier.stages)
        self._work.cost_usd_micros = sum(stage.spent_usd_micros for stage in earlier.stages)
        self._work.commits = sum(stage.commit_sha is not None for stage in earlier.stages)
        return found.tree

    def _owns_baseline(self, cell: CellInfo, spec: JobSpec) -> bool:
        if not spec.target.checks:
            return False
        return attempts.claim_baseline(self._context.database, cell.target_id, self._claim.attempt_id)

    def _setup(self, spec: JobSpec, tree: JobTree) -> None:
        env = {**self._context.host_env, **tree.paths.environment()}
        end = run_command(
            self._commands,
            shell(spec.target.setup or "", cwd=tree.paths.tree, env=env),
            timeout_seconds=spec.limits.setup_timeout,
            log=tree.paths.logs / "setup.log",
        )
        self._heed()
        if not end.ok:
            why = f"no end after {spec.limits.setup_timeout:g} s" if end.timed_out else f"exit code {end.exit_code}"
            raise Ended(Outcome.SETUP_FAILED, f"setup: {end.fault or why}")

    def _loop(self, spec: JobSpec, tree: JobTree) -> LoopEnd:
        resumed = self._work.resumed
        spent = resumed.earlier.wall_seconds if resumed else 0.0
        frame = AttemptFrame(
            context=self._context,
            attempt_id=self._claim.attempt_id,
            spec=spec,
            paths=tree.paths,
            recorder=self._recorder,
            inbox=self._inbox,
            lease=self._lease,
            started_at=self._started_at,
            progress=self._progress,
            answered=self._answers.saw,
        )
        self._slots = StageSlots(self._context.database, self._context.desk, self._claimed, spec)
        board = TaskBoard(self._recorder, tree.paths)
        while True:
            self._heed()
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
        self._progress("checks between stages")
        ordinal = self._last_ordinal
        said = ask_checks(self._context, self._commands, spec, tree, f"asked-{ordinal:02d}")
        self._heed()
        self._work.history.note_checks(said)
        if self._work.runs:
            self._recorder.stage(ordinal, {"ended_at": utc_now(), "checks": said})

    def _hold(self, model: ModelSpec) -> None:
        slots = self._slots
        assert slots is not None  # made before the loop
        self._progress(f"next stage, on {model.resource}")
        try:
            self._patiently(lambda: slots.hold(model, self._heed))
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

    def _heed(self) -> None:
        """End here when somebody ordered it, or when the lease has run out."""
        order = self._inbox.order
        if order is not None:
            raise Ended(order.outcome, order.detail)
        if boot_seconds() >= self._lease.deadline:
            raise Ended(Outcome.LEASE_LOST, "the lease was not renewed in time")

    def _advance(self, event: str, **values: str | int | None) -> None:
        self._patiently(lambda: attempts.advance(self._context.database, self._claim.attempt_id, event, **values))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the database, again and again while it is away: the lease says how long that may take."""
        pause = threading.Event()
        while True:
            self._heed()
            try:
                return ask()
            except StorageError as error:
                log.warning("attempt_waits attempt=%s error=%s", self._claim.attempt_id, error)
            pause.wait(_RETRY_SECONDS)

    def _result(self, end: LoopEnd) -> AttemptResult:
        work, tree = self._work, self._work.tree
        wait = sum(run.watch.rate_limit_wait_seconds for run in work.runs)
        wall = boot_seconds() - self._started_at - self._lease_wait()
        result = AttemptResult(
            outcome=end.outcome,
            detail=end.detail[:4000],
            wall_seconds=wall,
            lease_wait_seconds=self._lease_wait(),
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
            except GitError as error:
                # A tree that was never made whole, or broke: the record is written without its figures.
                log.warning("figures_unknown attempt=%s error=%s", self._claim.attempt_id, error)
        if self._parked is not None:
            return replace(result, wake_at=self._parked.until)
        if not work.runs:
            return result
        last = work.runs[-1]
        result = replace(result, resource=last.resource, answered=tuple(sorted(self._answers.resources)))
        return replace(result, wake_at=reset_moment(last)) if end.outcome is Outcome.QUOTA_PARKED else result
