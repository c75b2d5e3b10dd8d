"""Refused work is taken out of the job's tree for real: a revert commit for each commit of the refused try."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.jobspec import JobSpec
from workers.loops.handover import settled
from workers.loops.ledger import rejected_commits
from workers.loops.steps import StageDone
from workers.worktrees.worktree import JobTree


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """A refused commit and the commit that reverts it; without one later work stands on it, and it stays."""

    refused: str
    commit: str | None


def take_back(
    tree: JobTree, spec: JobSpec, history: Sequence[StageDone], *, at_epoch_seconds: int
) -> list[TakenBack]:
    """Revert what the last stage refused, newest first. Raises GitError.

    Call after the stage's own commit, when no process of the job lives.
    """
    if not history or history[-1].handover is not None:
        return []
    return [
        TakenBack(refused=sha, commit=tree.revert(sha, at_epoch_seconds=at_epoch_seconds))
        for sha in rejected_commits(spec, settled(history))
    ]
