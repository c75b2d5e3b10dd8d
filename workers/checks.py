"""Runs an experiment's checks on a clean checkout of one commit: what the agent left lying about has no say.

The checkout, its HOME and its temporary directory are new and are deleted afterwards. All checks of one commit share
them: the visible ones in the order of the file, so that a `test` may use what a `build` made, then the hidden ones.
Hidden files come just before their check. Nothing of a hidden check, its log included, stays in the job's folders.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.check import CheckStatus, PinnedCheck, goes_on, verdict
from orchestrator.domain.hidden import HiddenFile
from workers.check_run import CheckRun, end_reason, judge_run
from workers.command import MAX_LOG_BYTES, CommandEnd, CommandFrame, run_command, shell
from workers.disk import remove_tree
from workers.worktrees.collect import clean_checkout
from workers.worktrees.folders import JobPaths
from workers.worktrees.inside import remove_inside, write_inside
from workers.worktrees.naming import component
from workers.worktrees.worktree import JobTree

log = logging.getLogger("bakeoff.worker")

_SCENE = "checks-"
_MAX_REPLACED = 50
# With the two lines that say that it was cut.
_LARGEST_LOG_BYTES = MAX_LOG_BYTES + 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check's end over all its runs, of which there is none when nothing ran.

    `replaced` are files that the agent wrote and hidden ones replaced, at most 50.
    """

    name: str
    status: CheckStatus
    hidden: bool = False
    reason: str | None = None
    runs: tuple[CheckRun, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def last(self) -> CheckRun | None:
        """The run that decided."""
        return self.runs[-1] if self.runs else None


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What is put into the checkout beside the commit.

    `hidden` are the files of each hidden check. `restored` are paths that go back to what they were at `start`, and
    `written` those that the agent changed.
    """

    hidden: Mapping[str, Sequence[HiddenFile]] = field(default_factory=dict)
    restored: Sequence[str] = ()
    written: frozenset[str] = frozenset()


def run_checks(
    checks: Mapping[str, PinnedCheck],
    *,
    job: JobTree,
    sha: str,
    frame: CommandFrame,
    env: Mapping[str, str],
    keep: Callable[[Path], str],
    brought: Brought | None = None,
    setup: str | None = None,
    setup_timeout_seconds: float = 600.0,
    kind: str = "final",
) -> list[CheckResult]:
    """One result per check, in the order in which they ran, whatever happens to the commands.

    Args:
        checks: Name to command, time limit and rules.
        job: The tree whose commit is checked; it is not touched.
        sha: A commit of `job`, or its base.
        frame: Attempt, lease and inbox: an order in the inbox ends the running command, and the rest is not run.
        env: PATH and what else the user gives; HOME, XDG and TMPDIR are set here.
        keep: Puts a log into the artifact store and returns its hash.
        brought: What comes into the checkout beside the commit.
        setup: Run first, as it was for the agent. When it fails every check is `not_run`.
        setup_timeout_seconds: Its limit.
        kind: Goes into the names of logs and directory: `final`, `baseline`.

    Raises:
        GitError: The checkout could not be made.
        OSError: A log could not be written or a shim not be started.
        StorageError: A log could not be kept.
    """
    if not checks:
        return []
    brought = brought or Brought()
    paths = JobPaths(job.paths.run / f"{_SCENE}{component(kind)}")
    sweep_scenes(job.paths)
    try:
        for folder in (paths.home, paths.tmp, paths.logs):
            folder.mkdir(parents=True, mode=0o700)
        clean_checkout(job, sha, paths.tree, restored=brought.restored)
        scene = _Scene(paths, job.paths.logs, kind, frame, env, keep, brought)
        return scene.all(checks, setup, setup_timeout_seconds)
    finally:
        _remove(paths.run)


def _remove(scene: Path) -> None:
    """Code that makes its checkout last cannot take its verdict away; whoever comes next tries again."""
    try:
        if os.path.lexists(scene):
            remove_tree(scene)
    except OSError as error:
        log.warning("checks_left folder=%s error=%s", scene, error)


def sweep_scenes(paths: JobPaths) -> None:
    """Remove what a worker left that died in here, hidden files perhaps: before any agent goes on in this job."""
    for left in paths.run.glob(f"{_SCENE}*"):
        remove_tree(left)


def sweep_dead_scenes(folders: Iterable[Path]) -> None:
    """The same in all these run directories that nobody holds: other agents of this machine could look there, and a
    tree whose setup or base checks died is never taken up again."""
    for folder in folders:
        if not any(folder.glob(f"{_SCENE}*")):
            continue
        try:
            with (folder / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                sweep_scenes(JobPaths(folder))
        except BlockingIOError:
            continue
        except OSError as error:
            log.warning("checks_left folder=%s error=%s", folder, error)


class _Scene:
    """A checkout in which checks run."""

    def __init__(
        self,
        paths: JobPaths,
        logs: Path,
        kind: str,
        frame: CommandFrame,
        env: Mapping[str, str],
        keep: Callable[[Path], str],
        brought: Brought,
    ) -> None:
        self._paths, self._logs, self._kind, self._frame = paths, logs, kind, frame
        self._env, self._keep, self._brought = {**env, **paths.environment()}, keep, brought
        self._stop: str | None = None

    def all(self, checks: Mapping[str, PinnedCheck], setup: str | None, setup_timeout: float) -> list[CheckResult]:
        if setup is not None:
            end = self._command(setup, setup_timeout, self._logs / f"{component(self._kind)}-setup.log")
            if not end.ok:
                self._stop = f"setup: {end_reason(end, setup_timeout)}"
        ordered = sorted(checks.items(), key=lambda item: item[1].hidden)
        return [self._check(name, check) for name, check in ordered]

    def _check(self, name: str, check: PinnedCheck) -> CheckResult:
        if self._stop is not None:
            return CheckResult(name=name, status=CheckStatus.NOT_RUN, hidden=check.hidden, reason=self._stop)
        replaced: tuple[str, ...] = ()
        runs: list[CheckRun] = []
        while not runs or (self._stop is None and goes_on(check, [run.status for run in runs])):
            brought = self._bring(name)  # each time: the agent's code in the run before may have altered them
            replaced = replaced if runs else brought
            runs.append(self._run(name, check, len(runs) + 1))
        decided = verdict(check, [run.status for run in runs])
        return CheckResult(
            name=name,
            status=decided.status,
            hidden=check.hidden,
            reason=runs[-1].reason if decided.status is not CheckStatus.PASS else None,
            runs=tuple(runs),
            replaced=replaced,
        )

    def _bring(self, name: str) -> tuple[str, ...]:
        """Put the check's hidden files in; those of the agent's that had other content and made way."""
        replaced = []
        for item in self._brought.hidden.get(name, ()):
            before = write_inside(self._paths.tree, item.path, item.content, executable=item.executable)
            if before not in (None, item.content) and item.path in self._brought.written:
                replaced.append(item.path)
        return tuple(replaced[:_MAX_REPLACED])

    def _run(self, name: str, check: PinnedCheck, number: int) -> CheckRun:
        again = f"-run-{number}" if number > 1 else ""
        folder = self._paths.logs if check.hidden else self._logs
        log = folder / f"{component(self._kind)}-check-{component(name)}{again}.log"
        if check.report and check.report.file:  # one of the commit's, or of the run before, tells nothing of this run
            remove_inside(self._paths.tree, check.report.file)
        try:
            end = self._command(check.run, check.timeout, log)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # Perhaps what the check itself wrote, and that goes with the checkout: the attempt's own work is kept.
            return CheckRun(status=CheckStatus.ERROR, reason="no room left on the disk for its output")
        if end.order is not None:
            self._stop = f"{end.order.outcome}: {end.order.detail}"
        # A check may take its own log away, or make it larger than any memory: its verdict stands.
        whole = log.is_file() and not log.is_symlink() and log.stat().st_size <= _LARGEST_LOG_BYTES
        output, kept = (log.read_bytes(), self._keep(log)) if whole else (b"", None)
        return judge_run(check, end, tree=self._paths.tree, output=output, log_sha256=kept)

    def _command(self, command: str, timeout_seconds: float, log: Path) -> CommandEnd:
        launch = shell(command, cwd=self._paths.tree, env=self._env)
        end = run_command(self._frame, launch, timeout_seconds=timeout_seconds, log=log)
        if end.lost:  # that says nothing about the work, and the commit is still there
            end = run_command(self._frame, launch, timeout_seconds=timeout_seconds, log=log)
        return end
