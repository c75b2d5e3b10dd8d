"""The checks of a job: on the final commit in a clean checkout, once per target on the untouched base, and in between
those that a loop may go by."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.domain.check import CheckStatus, HiddenPack, PinnedCheck, Verdict, verdict
from orchestrator.domain.hidden import HiddenFile
from orchestrator.domain.jobspec import JobSpec, TargetSpec
from orchestrator.domain.tampering import TamperPolicy
from orchestrator.storage.attempts import CheckRecord, CheckRunRecord
from workers.asked import Asked
from workers.check_run import CheckRun
from workers.checks import Brought, CheckResult, run_checks
from workers.command import CommandFrame
from workers.context import WorkerContext
from workers.tampering import Tampering
from workers.worktrees.worktree import JobTree

# Of a failing check's log, for the agent that is to repair it.
_LOG_TAIL_BYTES = 1500
# The check that the policy `fail` adds. No user's check can have this name.
TAMPERING_CHECK = "(tampering)"

Hidden = Mapping[str, Sequence[HiddenFile]]


def packs(spec: JobSpec) -> dict[str, HiddenPack]:
    """The hidden files that the job's checks bring, by check."""
    return {name: check.pack for name, check in spec.target.checks.items() if check.pack}


def check_final(
    context: WorkerContext,
    frame: CommandFrame,
    spec: JobSpec,
    tree: JobTree,
    hidden: Hidden,
    found: Tampering,
    asked: Asked | None,
) -> list[CheckRecord]:
    """Every check on the attempt's last commit; `asked` is what the loop was told last, used where it is the same."""
    restored = [change.path for change in found.counting] if spec.target.tampering is TamperPolicy.RESTORE else []
    results: Sequence[CheckResult] | None = asked.final(spec, tree.head, restored) if asked else None
    if results is None:
        brought = Brought(hidden=hidden, restored=restored, written=found.written - set(restored))
        results = _run(context, frame, spec, tree, tree.head, "final", spec.target.checks, brought)
    return [
        *(_record(spec, "final", result) for result in results),
        *_tampering_check(spec.target, "final", found),
    ]


def check_baseline(
    context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree, hidden: Hidden
) -> list[CheckRecord]:
    """Every check on the base that no agent has touched."""
    brought = Brought(hidden=hidden)
    results = _run(context, frame, spec, tree, tree.base, "baseline", spec.target.checks, brought)
    return [
        *(_record(spec, "baseline", result) for result in results),
        *_tampering_check(spec.target, "baseline", Tampering((), frozenset())),
    ]


def ask_checks(context: WorkerContext, frame: CommandFrame, spec: JobSpec, tree: JobTree, kind: str) -> Asked:
    """The visible checks on the last commit, as they would run at the end."""
    results = _run(context, frame, spec, tree, tree.head, kind, spec.target.visible_checks, Brought())
    return Asked(sha=tree.head, setup_timeout_seconds=spec.limits.setup_timeout, results=tuple(results))


def objections(context: WorkerContext, results: Sequence[CheckResult]) -> str:
    """What checks object to, with the end of their logs; empty when all pass."""
    return "\n\n".join(_objection(context, result) for result in results if result.status is not CheckStatus.PASS)


def _objection(context: WorkerContext, result: CheckResult) -> str:
    log = context.artifacts.read(result.last.log_sha256) if result.last and result.last.log_sha256 else b""
    said = log[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return f"{result.name}: {result.status}, {result.reason}\n{said}".strip()


def _run(
    context: WorkerContext,
    frame: CommandFrame,
    spec: JobSpec,
    tree: JobTree,
    sha: str,
    kind: str,
    checks: Mapping[str, PinnedCheck],
    brought: Brought,
) -> Sequence[CheckResult]:
    results = run_checks(
        checks,
        job=tree,
        sha=sha,
        frame=frame,
        env=context.host_env,
        keep=context.artifacts.put,
        brought=brought,
        setup=spec.target.setup,
        setup_timeout_seconds=spec.limits.setup_timeout,
        kind=kind,
    )
    tree.paths.restore()  # checks run the agent's code too
    return results


def _tampering_check(target: TargetSpec, kind: str, found: Tampering) -> list[CheckRecord]:
    """With the policy `fail` the changes that count are a check like any other: failed, and named."""
    if target.tampering is not TamperPolicy.FAIL:
        return []
    count = len(found.counting)
    first = found.counting[0].path if count else ""
    more = f" and {count - 1} more" if count > 1 else ""
    return [
        CheckRecord(
            kind=kind,
            name=TAMPERING_CHECK,
            status=CheckStatus.FAIL if count else CheckStatus.PASS,
            exit_code=None,
            seconds=None,
            reason=f"the agent changed {first!r}{more}" if count else None,
            log_sha256=None,
        )
    ]


def _record(spec: JobSpec, kind: str, result: CheckResult) -> CheckRecord:
    last = result.last
    told: Verdict = verdict(spec.target.checks[result.name], [run.status for run in result.runs])
    return CheckRecord(
        kind=kind,
        name=result.name,
        status=result.status,
        exit_code=last.exit_code if last else None,
        seconds=_total(run.seconds for run in result.runs),
        reason=result.reason,
        log_sha256=last.log_sha256 if last else None,
        hidden=result.hidden,
        runs=told.runs,
        passed_runs=told.passed_runs,
        replaced=result.replaced,
        all_runs=tuple(map(_run_record, result.runs)),
    )


def _total(seconds: Iterable[float | None]) -> float | None:
    """What all runs took; None when nothing ran, or nobody knows of one."""
    found = list(seconds)
    known = [one for one in found if one is not None]
    return sum(known) if known and len(known) == len(found) else None


def _run_record(run: CheckRun) -> CheckRunRecord:
    return CheckRunRecord(
        status=run.status,
        exit_code=run.exit_code,
        seconds=run.seconds,
        reason=run.reason,
        log_sha256=run.log_sha256,
        case_format=run.reading.format.value if run.reading.format else None,
        report_fault=run.reading.fault,
        cases=run.reading.cases,
    )
