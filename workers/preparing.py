"""Getting an attempt's tree ready: a new one with setup and checks of the base, or an earlier attempt's."""

import time
from pathlib import Path

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.settings import child_environment
from orchestrator.storage import attempts
from orchestrator.storage.attempts import CellInfo
from workers.checking import check_baseline
from workers.command import run_command, shell
from workers.footing import Ended, Footing
from workers.loops.history import History
from workers.resume import take_up
from workers.work import Work
from workers.worktrees.damage import require_whole
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree


class Preparation:
    """Fills `work` with the tree, and with what an earlier attempt did in it."""

    def __init__(self, footing: Footing, work: Work) -> None:
        self._footing, self._work = footing, work
        self._context, self._claim = footing.context, footing.claim

    def tree(self, cell: CellInfo, spec: JobSpec) -> JobTree:
        """The tree to work in; it is in the work as soon as there is any of it. Raises Ended, GitError, OSError."""
        self._footing.progress("preparing")
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
        self._footing.heed()
        if spec.target.setup:
            self._setup(spec, tree)
        tree.baseline(at_epoch_seconds=int(time.time()))
        if self._footing.ask(lambda: self._owns_baseline(cell, spec)):
            self._footing.progress("checks on the untouched base")
            hidden = self._footing.hidden(spec)
            self._work.checks += check_baseline(self._context, self._footing.commands, spec, tree, hidden)
            require_whole(tree)  # what the base's own code breaks is not the agent's doing
            self._footing.heed()
        return tree

    def _take_up(self, key: JobKey, mirror: Mirror, git: Git) -> JobTree | None:
        """The tree of an earlier attempt to go on in, when it can be had; what is said about it is on record."""
        claim, settings = self._claim, self._context.settings
        if claim.number == 1:
            return None
        # What a dead worker of this machine did last may still be in its spool.
        self._footing.ask(lambda: self._context.shipper.settle(settings.spool))
        earlier = self._footing.ask(lambda: attempts.earlier_work(self._context.database, claim.job_id, claim.number))
        if earlier is None:
            return None
        found = take_up(settings.runs, settings.machine, key, mirror, git, earlier)
        if isinstance(found, str):
            self._footing.recorder.event("StartedClean", {"instead_of": earlier.attempt_id, "reason": found})
            return None
        self._footing.recorder.event("Resumed", {"from": earlier.attempt_id, "stages": len(earlier.stages)})
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
            self._footing.commands,
            shell(spec.target.setup or "", cwd=tree.paths.tree, env=env),
            timeout_seconds=spec.limits.setup_timeout,
            log=tree.paths.logs / "setup.log",
        )
        self._footing.heed()
        if not end.ok:
            why = f"no end after {spec.limits.setup_timeout:g} s" if end.timed_out else f"exit code {end.exit_code}"
            raise Ended(Outcome.SETUP_FAILED, f"setup: {end.fault or why}")
