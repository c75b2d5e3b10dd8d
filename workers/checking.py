"""The checks of a job: on the final commit in a clean checkout, and once per target on the untouched base."""

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
    return [_record(context, kind, result) for result in results]


def _record(context: WorkerContext, kind: str, result: CheckResult) -> CheckRecord:
    return CheckRecord(
        kind=kind,
        name=result.name,
        status=result.status,
        exit_code=result.exit_code,
        seconds=result.seconds,
        reason=result.reason,
        log_sha256=context.artifacts.put(result.log) if result.log is not None else None,
    )
