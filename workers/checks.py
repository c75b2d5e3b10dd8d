"""Runs an experiment's checks on a clean checkout of one commit: what the agent left lying about has no say.

The checkout, its HOME and its temporary directory are new and are deleted afterwards. All checks of one commit share
them, in the order of the file, so that a `test` may use what a `build` made.
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.experiment import Check
from workers.agents.base import Launch
from workers.command import CommandEnd, CommandFrame, run_command, shell
from workers.disk import remove_tree
from workers.worktrees.collect import clean_checkout
from workers.worktrees.folders import JobPaths
from workers.worktrees.naming import component
from workers.worktrees.worktree import JobTree

TIMEOUT = "timeout"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check's end. `exit_code` is negative for a signal; it, `seconds` and `log` are None when nothing ran."""

    name: str
    status: CheckStatus
    exit_code: int | None = None
    seconds: float | None = None
    reason: str | None = None
    log: Path | None = None


def run_checks(
    checks: Mapping[str, Check],
    *,
    job: JobTree,
    sha: str,
    frame: CommandFrame,
    env: Mapping[str, str],
    setup: str | None = None,
    setup_timeout_seconds: float = 600.0,
    kind: str = "final",
) -> list[CheckResult]:
    """One result per check, in order, whatever happens to the commands.

    Args:
        checks: Name to command and time limit.
        job: The tree whose commit is checked; it is not touched.
        sha: A commit of `job`, or its base.
        frame: Attempt, lease and inbox: an order in the inbox ends the running command, and the rest is not run.
        env: PATH and what else the user gives; HOME, XDG and TMPDIR are set here.
        setup: Run first, as it was for the agent. When it fails every check is `not_run`.
        setup_timeout_seconds: Its limit.
        kind: Goes into the names of logs and directory: `final`, `baseline`.

    Raises:
        GitError: The checkout could not be made.
        OSError: A log could not be written or a shim not be started.
    """
    if not checks:
        return []
    scene = JobPaths(job.paths.run / f"checks-{component(kind)}")
    if os.path.lexists(scene.run):  # left by a worker that died here, or put there by the agent
        remove_tree(scene.run)
    try:
        for folder in (scene.home, scene.tmp):
            folder.mkdir(parents=True, mode=0o700)
        clean_checkout(job, sha, scene.tree)

        def run(command: str, timeout_seconds: float, name: str) -> tuple[CommandEnd, Path]:
            log = job.paths.logs / f"{component(kind)}-{name}.log"
            launch: Launch = shell(command, cwd=scene.tree, env={**env, **scene.environment()})
            end = run_command(frame, launch, timeout_seconds=timeout_seconds, log=log)
            if end.lost:  # that says nothing about the work, and the commit is still there
                end = run_command(frame, launch, timeout_seconds=timeout_seconds, log=log)
            return end, log

        return _all(checks, run, setup, setup_timeout_seconds)
    finally:
        if os.path.lexists(scene.run):
            remove_tree(scene.run)


_Run = Callable[[str, float, str], tuple[CommandEnd, Path]]


def _all(checks: Mapping[str, Check], run: _Run, setup: str | None, setup_timeout: float) -> list[CheckResult]:
    stop: str | None = None
    if setup is not None:
        end, _ = run(setup, setup_timeout, "setup")
        if not end.ok:
            stop = f"setup: {_reason(end, setup_timeout)}"
    results: list[CheckResult] = []
    for name, check in checks.items():
        if stop is not None:
            results.append(CheckResult(name=name, status=CheckStatus.NOT_RUN, reason=stop))
            continue
        end, log = run(check.run, check.timeout, f"check-{component(name)}")
        results.append(_result(name, check, end, log))
        if end.order is not None:
            stop = f"{end.order.outcome}: {end.order.detail}"
    return results


def _result(name: str, check: Check, end: CommandEnd, log: Path) -> CheckResult:
    return CheckResult(
        name=name,
        status=_status(end),
        exit_code=end.exit_code,
        seconds=end.seconds,
        reason=TIMEOUT if end.timed_out else _reason(end, check.timeout),
        log=log,
    )


def _status(end: CommandEnd) -> CheckStatus:
    # A check that had come to its own end before the order was seen has a result like any other.
    if end.exit_code is None:
        return CheckStatus.FAIL if end.timed_out else CheckStatus.ERROR
    return CheckStatus.PASS if end.exit_code == 0 and not end.timed_out else CheckStatus.FAIL


def _reason(end: CommandEnd, timeout_seconds: float) -> str | None:
    if end.timed_out:
        return f"longer than {timeout_seconds:g} s"
    if end.exit_code is None:
        return end.fault or (f"{end.order.outcome}: {end.order.detail}" if end.order else "ended from outside")
    if end.exit_code < 0:
        number = -end.exit_code
        name = signal.Signals(number).name if number in signal.valid_signals() else str(number)
        return f"ended by signal {name}"
    return f"exit code {end.exit_code}" if end.exit_code else None
