"""What the stages of an attempt share, and what is left of one when it has ended."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.watch import Watch
from workers.context import WorkerContext
from workers.loops.steps import StageDone
from workers.spool import Recorder
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.supervisor import StageEnd
from workers.worktrees.folders import JobPaths


@dataclass(frozen=True, kw_only=True)
class AttemptFrame:
    """What every stage of one attempt shares."""

    context: WorkerContext
    attempt_id: str
    spec: JobSpec
    paths: JobPaths
    recorder: Recorder
    inbox: StageInbox
    lease: LeaseView
    started_at: float
    progress: Callable[[str], None]
    answered: Callable[[str], None]  # told the resource of each model request that was answered


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """A finished stage: what the loop needs, and what the attempt sums up."""

    done: StageDone
    end: StageEnd
    watch: Watch
    session_id: str | None
    ordinal: int
    resource: str
