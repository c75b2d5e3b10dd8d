"""The checks of a job: on the final commit in a clean checkout, once per target on the untouched base, and in between
those that a loop may go by."""

from collections.abc import Mapping

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.experiment import Check
from orchestrator.domain.jobspec import JobSpec
from orchestrator.storage.attempts import CheckRecord
from workers.checks import CheckResult, run_checks
from workers.command import CommandFrame
from workers.context import WorkerContext
from workers.worktrees.worktree import JobTree

# Of a failing check's log, for the agent that is to repair it.
_LOG_TAIL_BYTES = 1500


def check_final(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree) -> list[CheckRecord]:
    """Every check on the attempt's last commit."""
    return _check(context, frame, spec, tree, tree.head, "final")


def check_baseline(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree) -> list[CheckRecord]:
    """Every check on the base that no agent has touched."""
    return _check(context, frame, spec, tree, tree.base, "baseline")


def ask_checks(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree, kind: str) -> str:
    """What the visible checks object to at the last commit, with the end of their logs; empty when all pass."""
    results = _run(context, frame, spec, tree, tree.head, kind, spec.target.visible_checks)
    return "\n\n".join(_objection(result) for result in results if result.status is not CheckStatus.PASS)


def _objection(result: CheckResult) -> str:
    said = result.log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip() if result.log else ""
    return f"{result.name}: {result.status}, {result.reason}\n{said}".strip()


def _check(
    context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree, sha: str, kind: str
) -> list[CheckRecord]:
    results = _run(context, frame, spec, tree, sha, kind, spec.target.checks)
    return [_record(context, kind, result) for result in results]


def _run(
    context: WorkerContext,
    frame: CommandFrame,
    spec: JobSpec,
    tree: JobTree,
    sha: str,
    kind: str,
    checks: Mapping[str, Check],
) -> list[CheckResult]:
    return run_checks(
        checks,
        job=tree,
        sha=sha,
        frame=frame,
        env=context.host_env,
        setup=spec.target.setup,
        setup_timeout_seconds=spec.limits.setup_timeout,
        kind=kind,
    )


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
