"""The checks of a job: on the final commit in a clean checkout, and once per target on the untouched base."""

from pathlib import Path

from orchestrator.domain.jobspec import JobSpec
from orchestrator.storage.attempts import CheckRecord
from workers.checks import CheckResult, run_checks
from workers.command import CommandFrame
from workers.context import WorkerContext
from workers.worktrees.worktree import JobTree


def check_final(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree) -> list[CheckRecord]:
    """Every check on the attempt's last commit."""
    return _check(context, frame, spec, tree, tree.head, "final")


def check_baseline(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree) -> list[CheckRecord]:
    """Every check on the base that no agent has touched."""
    return _check(context, frame, spec, tree, tree.base, "baseline")


def _check(
    context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree, sha: str, kind: str
) -> list[CheckRecord]:
    results = run_checks(
        spec.target.checks,
        job=tree,
        sha=sha,
        frame=frame,
        env=context.host_env,
        setup=spec.target.setup,
        setup_timeout_seconds=spec.limits.setup_timeout,
        kind=kind,
    )
    tree.paths.restore()  # checks run the agent's code too
    return [_record(context, kind, result) for result in results]


def _record(context: WorkerContext, kind: str, result: CheckResult) -> CheckRecord:
    return CheckRecord(
        kind=kind,
        name=result.name,
        status=result.status,
        exit_code=result.exit_code,
        seconds=result.seconds,
        reason=result.reason,
        log_sha256=_kept(context, result.log),
    )


def _kept(context: WorkerContext, log: Path | None) -> str | None:
    """The log in the store; None when there is none, also because a check took it away: its verdict stands."""
    if log is None or not log.is_file() or log.is_symlink():
        return None
    return context.artifacts.put(log)
