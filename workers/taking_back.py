"""Refused work is taken out of the job's tree for real: a revert commit for each commit of the refused try."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from orchestrator.domain.jobspec import JobSpec
from workers.loops.handover import settled
from workers.loops.ledger import ledger_of, rejected_commits
from workers.loops.steps import StageDone
from workers.owned import put
from workers.worktrees.worktree import JobTree


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """A refused commit and the commit that reverts it; without one later work stands on it, and it stays."""

    refused: str
    commit: str | None


def take_back(
    tree: JobTree, spec: JobSpec, history: Sequence[StageDone], *, at_epoch_seconds: int
) -> list[TakenBack]:
    """Revert what the last stage refused, newest first, and write the ledger down beside the logs. Raises GitError.

    Call after the stage's own commit, when no process of the job lives.
    """
    stages = settled(history)
    tasks = [asdict(task) for task in ledger_of(spec, stages).tasks]
    put(tree.paths.logs / "tasks.json", json.dumps(tasks, indent=1) + "\n")
    if not history or history[-1].handover is not None:
        return []
    return [
        TakenBack(refused=sha, commit=tree.revert(sha, at_epoch_seconds=at_epoch_seconds))
        for sha in rejected_commits(spec, stages)
    ]
