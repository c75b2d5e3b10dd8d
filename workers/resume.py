"""Going on from where an earlier attempt at the same job stood: in its tree, after its stages, in its session."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.domain.context_guard import RESUMED_PERCENT
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outcome import RESUMABLE
from orchestrator.storage.attempts import Earlier, KeptStage
from workers.checks import sweep_scenes
from workers.loops.prompts import render
from workers.loops.steps import StageDone, StageOrder
from workers.worktrees.git import Git, GitError
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.worktree import JobTree

log = logging.getLogger("bakeoff.worker")


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The tree as the last committed stage left it, and those stages as the loop sees them."""

    tree: JobTree
    earlier: Earlier
    history: tuple[StageDone, ...]

    @property
    def last_ordinal(self) -> int:
        """The ordinal of the last stage that is built on; 0 when none was finished."""
        return self.earlier.stages[-1].ordinal if self.earlier.stages else 0

    def continued(self, order: StageOrder) -> StageOrder:
        """The first order, in the very session that was interrupted when it is that one's stage and has room left."""
        last = self.earlier.stages[-1] if self.earlier.stages else None
        if last is None or not _interrupted(last) or last.session_id is None:
            return order
        if (last.stage, last.role) != (order.stage, order.role):
            return order
        if last.context_percent is not None and last.context_percent > RESUMED_PERCENT:
            return order
        prompt = render("resume", stage=order.stage)
        return replace(order, prompt=prompt, resumed=True, session_id=last.session_id)


def take_up(runs: Path, machine: str, key: JobKey, mirror: Mirror, git: Git, earlier: Earlier) -> Resumed | str:
    """The earlier attempt's tree, at its last committed stage; or why it cannot be had, in words."""
    if earlier.machine != machine:
        return f"its tree is on {earlier.machine}"
    was = Path(earlier.run_dir)
    tree = JobTree(runs, replace(key, attempt=was.name.removeprefix("attempt-")), mirror, git)
    if tree.paths.run != was:
        return f"its tree is not where this machine keeps such trees ({tree.paths.run.parent})"
    try:
        tree.reopen()
        sweep_scenes(tree.paths)
        if not tree.ready:
            raise GitError("its setup had not ended")
        mirror.ensure(tree.base)
        commits = [stage.commit_sha for stage in earlier.stages if stage.commit_sha]
        tree.rewind(commits[-1] if commits else tree.start)
    except (GitError, Conflict, OSError) as error:
        tree.release()
        return str(error)
    return Resumed(tree=tree, earlier=earlier, history=tuple(history_of(earlier.stages)))


def _interrupted(stage: KeptStage) -> bool:
    return stage.outcome in RESUMABLE


def history_of(stages: Sequence[KeptStage]) -> list[StageDone]:
    """The stages that are on record as the loop saw them."""
    return [
        StageDone(
            stage=stage.stage,
            outcome=stage.outcome,
            detail=stage.detail,
            answer=stage.answer,
            changed=stage.changed,
            # An interrupted stage always hands over, or the loop would take it for the attempt's end.
            handover="" if stage.handover is None and _interrupted(stage) else stage.handover,
            commits=(stage.commit_sha,) if stage.commit_sha else (),
            task=stage.task,
            checks=stage.checks,
        )
        for stage in stages
    ]
