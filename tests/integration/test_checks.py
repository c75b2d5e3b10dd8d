"""Checks judge a commit, not what lies about: real commands under the real shim on real checkouts."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from orchestrator.clock import boot_seconds
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.experiment import Check
from orchestrator.domain.outcome import Outcome
from tests.support.processes import children, kill
from tests.support.waiting import until
from workers.checks import CheckResult, run_checks
from workers.command import CommandFrame
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree

GIT = Git(host_env=os.environ)
ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def job(tmp_path: Path) -> JobTree:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "a").write_text("base\n")
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run(
            ["git", "-c", "user.name=u", "-c", "user.email=u@localhost", *args],
            cwd=repo,
            check=True,
            env={**ENV, "HOME": "/nonexistent"},
        )
    mirror = Mirror(tmp_path / "mirrors", parse_source(str(repo), relative_to=tmp_path), GIT)
    sha = mirror.resolve("HEAD")
    assert sha is not None
    key = JobKey(experiment="e", target="t", profile="p", repeat=1, attempt="1")
    tree = JobTree(tmp_path / "runs", key, mirror, GIT)
    tree.prepare(sha)
    return tree


@pytest.fixture
def frame() -> Iterator[CommandFrame]:
    inbox = StageInbox()
    yield CommandFrame(attempt_id="test-checks", lease=LeaseView(boot_seconds() + 60), inbox=inbox)
    inbox.close()


def judge(job: JobTree, frame: CommandFrame, setup: str | None = None, **commands: str | Check) -> list[CheckResult]:
    checks = {name: Check(run=run) if isinstance(run, str) else run for name, run in commands.items()}
    return run_checks(checks, job=job, sha=job.head, frame=frame, env=ENV, setup=setup)


def summary(results: list[CheckResult]) -> list[tuple[str, str, int | None, str | None]]:
    return [(item.name, item.status.value, item.exit_code, item.reason) for item in results]


def test_each_check_has_its_own_result_and_log(job: JobTree, frame: CommandFrame) -> None:
    results = judge(job, frame, good="cat a; echo err >&2", bad="exit 3", gone="no-such-program-here")
    assert summary(results) == [
        ("good", "pass", 0, None),
        ("bad", "fail", 3, "exit code 3"),
        ("gone", "fail", 127, "exit code 127"),
    ]
    logs = [item.log.read_text() for item in results if item.log]
    assert sorted(logs[0].split()) == ["base", "err"]
    assert "not found" in logs[2]
    assert all((item.seconds or 0) > 0 for item in results)


def test_the_commit_is_judged_not_the_tree(job: JobTree, frame: CommandFrame) -> None:
    (job.paths.tree / "a").write_text("worked\n")
    job.commit_stage("s", at_epoch_seconds=0)
    (job.paths.tree / "a").write_text("after the commit\n")
    (job.paths.tree / "stray").write_text("")
    (job.paths.home / ".profile").write_text("")
    results = judge(
        job,
        frame,
        content='test "$(cat a)" = worked',
        clean='test ! -e stray && test -z "$(git status --porcelain)"',
        home='test -z "$(ls -A "$HOME")" && test -d "$TMPDIR"',
    )
    assert [item.status for item in results] == [CheckStatus.PASS] * 3, summary(results)
    assert (job.paths.tree / "a").read_text() == "after the commit\n"
    assert not (job.paths.run / "checks-final").exists()


def test_setup_runs_first_and_later_checks_see_what_earlier_ones_made(job: JobTree, frame: CommandFrame) -> None:
    results = judge(job, frame, "echo dep > dep", build="cat dep && touch built", test="test -e built")
    assert [item.status for item in results] == [CheckStatus.PASS] * 2


def test_after_a_failed_setup_nothing_is_run(job: JobTree, frame: CommandFrame, tmp_path: Path) -> None:
    results = judge(job, frame, "exit 4", one=f"touch {tmp_path}/ran", two="true")
    assert summary(results) == [(name, "not_run", None, "setup: exit code 4") for name in ("one", "two")]
    assert not (tmp_path / "ran").exists()


def test_a_time_out_is_a_fail_and_leaves_no_process(job: JobTree, frame: CommandFrame, tmp_path: Path) -> None:
    hang = f"setsid sleep 300 & echo $! > {tmp_path}/pid; sleep 300"
    results = judge(job, frame, slow=Check(run=hang, timeout=0.5), next="true")
    assert summary(results) == [("slow", "fail", None, "timeout"), ("next", "pass", 0, None)]
    assert 0.5 <= (results[0].seconds or 0) < 10
    _assert_no_sleepers(job)


def test_a_check_that_succeeds_leaves_no_process_either(job: JobTree, frame: CommandFrame) -> None:
    assert summary(judge(job, frame, ok="setsid sleep 300 & disown; true")) == [("ok", "pass", 0, None)]
    _assert_no_sleepers(job)


def _assert_no_sleepers(job: JobTree) -> None:
    """No process works in this job's directories: the tree is gone before the result is."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = (process / "cwd").readlink()
        except OSError:
            continue
        assert not where.is_relative_to(job.paths.run), f"{process.name} in {where}"


def test_a_check_that_is_killed_says_by_what(job: JobTree, frame: CommandFrame) -> None:
    assert summary(judge(job, frame, crash="kill -SEGV $$")) == [("crash", "fail", -11, "ended by signal SIGSEGV")]


def test_a_check_that_cannot_be_started_is_an_error(job: JobTree, frame: CommandFrame) -> None:
    results = run_checks({"x": Check(run="true")}, job=job, sha=job.head, frame=frame, env={"PATH": "/nonexistent"})
    assert results[0].status is CheckStatus.ERROR
    assert "exec_failed" in (results[0].reason or "")


@pytest.mark.parametrize(("kills", "ended"), [(1, ("pass", 0)), (2, ("error", None))])
def test_a_check_whose_shim_is_killed_is_run_once_more(
    job: JobTree, frame: CommandFrame, tmp_path: Path, kills: int, ended: tuple[str, int | None]
) -> None:
    runs = tmp_path / "runs-of-x"

    def kill_shims() -> None:
        for count in range(1, kills + 1):
            until(partial(begun, count), f"run {count}")
            for pid, line in children(os.getpid()).items():
                if "shim.py" in line:
                    kill(pid)

    def begun(count: int) -> bool:
        return runs.exists() and len(runs.read_text().split()) == count

    killer = threading.Thread(target=kill_shims)
    killer.start()
    (result,) = judge(job, frame, x=f"echo run >> {runs}; [ $(wc -l < {runs}) -gt {kills} ] || sleep 300")
    killer.join()
    assert (result.status, result.exit_code) == ended


def test_an_order_to_end_stops_the_running_check_and_the_rest(job: JobTree, frame: CommandFrame) -> None:
    frame.inbox.order_end(Outcome.CANCELLED, "by the user")
    started = time.monotonic()
    results = judge(job, frame, one="sleep 300", two="true")
    assert time.monotonic() - started < 20
    assert [item.status for item in results] == [CheckStatus.ERROR, CheckStatus.NOT_RUN]
    assert results[1].reason == "cancelled: by the user"


def test_a_check_that_its_lease_has_ended_ends_the_attempt_also_when_a_renewal_comes_late(
    job: JobTree, frame: CommandFrame
) -> None:
    short = replace(frame, lease=LeaseView(boot_seconds() + 0.2))
    results = judge(job, short, one="sleep 300", two="true")
    short.lease.renew_until(boot_seconds() + 60)
    assert [item.status for item in results] == [CheckStatus.ERROR, CheckStatus.NOT_RUN]
    assert short.inbox.order is not None
    assert short.inbox.order.outcome is Outcome.LEASE_LOST


def test_a_log_is_bounded(job: JobTree, frame: CommandFrame) -> None:
    (result,) = judge(job, frame, loud="head -c 20000000 /dev/zero")
    assert result.status is CheckStatus.PASS
    assert result.log is not None
    assert result.log.stat().st_size < 5_000_000


def test_the_base_can_be_judged_beside_the_work(job: JobTree, frame: CommandFrame) -> None:
    (job.paths.tree / "a").write_text("worked\n")
    job.commit_stage("s", at_epoch_seconds=0)
    check = {"base": Check(run="grep base a")}
    for sha, status in ((job.base, CheckStatus.PASS), (job.head, CheckStatus.FAIL)):
        (result,) = run_checks(check, job=job, sha=sha, frame=frame, env=ENV, kind="baseline")
        assert result.status is status


def test_no_checks_are_no_work(job: JobTree, frame: CommandFrame) -> None:
    assert judge(job, frame) == []


def test_a_check_that_takes_its_logs_away_is_judged_like_any_other(
    job: JobTree, frame: CommandFrame, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    take_away = 'cd "$TMPDIR/../.." && rm -rf logs && ln -s "$0" logs'
    results = judge(
        job,
        frame,
        removes=f"bash -c '{take_away}' {tmp_path}/outside; exit 3",
        links=f"ln -s {tmp_path}/outside/new ../../logs/final-check-last.log",
        last="echo said",
    )
    assert summary(results) == [
        ("removes", "fail", 3, "exit code 3"),
        ("links", "pass", 0, None),
        ("last", "pass", 0, None),
    ]
    assert not list((tmp_path / "outside").iterdir())
    assert results[2].log is not None
    assert results[2].log.read_text() == "said\n"
