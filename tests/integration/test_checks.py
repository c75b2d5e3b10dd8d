"""Checks judge a commit, not what lies about: real commands under the real shim on real checkouts."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from orchestrator.clock import boot_seconds
from orchestrator.domain.check import CheckStatus, PinnedCheck, Report, ReportFormat
from orchestrator.domain.hidden import HiddenFile
from orchestrator.domain.jobspec import TargetSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.tampering import Weakening
from orchestrator.storage.artifacts import ArtifactStore
from tests.faults.harness import disk
from tests.support.processes import children, kill
from tests.support.waiting import until
from workers.check_run import CheckRun
from workers.checks import Brought, CheckResult, run_checks, sweep_dead_scenes, sweep_scenes
from workers.command import CommandFrame
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.tampering import find_tampering
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree

GIT = Git(host_env=os.environ)
ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def job(make_job: Callable[[Path], JobTree], tmp_path: Path) -> JobTree:
    return make_job(tmp_path)


@pytest.fixture
def make_job() -> Callable[[Path], JobTree]:
    return _make_job


def _make_job(tmp_path: Path) -> JobTree:
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


def judge(
    job: JobTree, frame: CommandFrame, setup: str | None = None, **commands: str | PinnedCheck
) -> list[CheckResult]:
    checks = {name: PinnedCheck(run=run) if isinstance(run, str) else run for name, run in commands.items()}
    return run_checks(checks, job=job, sha=job.head, frame=frame, env=ENV, keep=store(job).put, setup=setup)


def store(job: JobTree) -> ArtifactStore:
    return ArtifactStore(job.paths.run.parents[5] / "artifacts")


def log_of(job: JobTree, result: CheckResult) -> str:
    assert result.last is not None
    return read(job, result.last)


def read(job: JobTree, run: CheckRun) -> str:
    assert run.log_sha256 is not None
    return store(job).read(run.log_sha256).decode()


def summary(results: list[CheckResult]) -> list[tuple[str, str, int | None, str | None]]:
    return [
        (item.name, item.status.value, item.last.exit_code if item.last else None, item.reason) for item in results
    ]


def test_each_check_has_its_own_result_and_log(job: JobTree, frame: CommandFrame) -> None:
    results = judge(job, frame, good="cat a; echo err >&2", bad="exit 3", gone="no-such-program-here")
    assert summary(results) == [
        ("good", "pass", 0, None),
        ("bad", "fail", 3, "exit code 3"),
        ("gone", "fail", 127, "exit code 127"),
    ]
    logs = [log_of(job, item) for item in results]
    assert sorted(logs[0].split()) == ["base", "err"]
    assert "not found" in logs[2]
    assert all(item.last is not None and (item.last.seconds or 0) > 0 for item in results)


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
    results = judge(job, frame, slow=PinnedCheck(run=hang, timeout=0.5), next="true")
    assert summary(results) == [("slow", "fail", None, "timeout"), ("next", "pass", 0, None)]
    assert results[0].last is not None
    assert (results[0].last.seconds or 0) >= 0.5
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
    checks = {"x": PinnedCheck(run="true")}
    env = {"PATH": "/nonexistent"}
    results = run_checks(checks, job=job, sha=job.head, frame=frame, env=env, keep=store(job).put)
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
    assert result.last is not None
    assert (result.status.value, result.last.exit_code) == ended


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
    assert len(log_of(job, result)) < 5_000_000


def test_the_base_can_be_judged_beside_the_work(job: JobTree, frame: CommandFrame) -> None:
    (job.paths.tree / "a").write_text("worked\n")
    job.commit_stage("s", at_epoch_seconds=0)
    check = {"base": PinnedCheck(run="grep base a")}
    for sha, status in ((job.base, CheckStatus.PASS), (job.head, CheckStatus.FAIL)):
        (result,) = run_checks(check, job=job, sha=sha, frame=frame, env=ENV, keep=store(job).put, kind="baseline")
        assert result.status is status


def test_no_checks_are_no_work(job: JobTree, frame: CommandFrame) -> None:
    assert judge(job, frame) == []


# -- hidden files --


def hidden(name: str, *files: HiddenFile) -> Brought:
    return Brought(hidden={name: files})


def run(job: JobTree, frame: CommandFrame, checks: dict[str, PinnedCheck], brought: Brought) -> list[CheckResult]:
    return run_checks(checks, job=job, sha=job.head, frame=frame, env=ENV, keep=store(job).put, brought=brought)


def test_hidden_files_come_just_before_their_check_and_leave_nothing(job: JobTree, frame: CommandFrame) -> None:
    secret = HiddenFile("deep/er/secret.sh", b"echo canary; exit 3", True)
    checks = {
        "secret": PinnedCheck(run="deep/er/secret.sh", hidden=True),
        "before": PinnedCheck(run="test ! -e deep"),
    }
    results = run(job, frame, checks, hidden("secret", secret))
    assert summary(results) == [("before", "pass", 0, None), ("secret", "fail", 3, "exit code 3")]
    assert [item.hidden for item in results] == [False, True]
    assert log_of(job, results[1]) == "canary\n"
    assert [path.name for path in job.paths.logs.iterdir()] == ["final-check-before.log"]
    files = [path for path in job.paths.run.rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary" in path.read_bytes()]


def test_hidden_files_win_over_whatever_the_agent_put_in_their_place(
    job: JobTree, frame: CommandFrame, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = job.paths.tree
    (tree / "linked").symlink_to(outside)
    (tree / "file").write_text("in the way of a folder")
    (tree / "same").write_text("right")
    (tree / "mine").write_text("wrong")
    (tree / "arrow").symlink_to(outside / "target")
    (tree / "folder").mkdir()
    (tree / "folder/x").write_text("")
    job.commit_stage("s", at_epoch_seconds=0)
    names = ("linked/a", "file/a", "same", "mine", "arrow", "folder", "a")
    written = frozenset({"linked", "file", "same", "mine", "arrow", "folder/x"})
    brought = Brought(hidden={"x": [HiddenFile(name, b"right") for name in names]}, written=written)
    (result,) = run(job, frame, {"x": PinnedCheck(run=f"cat {' '.join(names)}", hidden=True)}, brought)
    assert log_of(job, result) == "right" * len(names)
    assert result.replaced == ("mine", "arrow")
    assert list(outside.iterdir()) == []


def test_a_repeated_run_gets_the_hidden_files_anew(job: JobTree, frame: CommandFrame) -> None:
    """What a run executes is the agent's code too: it could make the next one pass."""
    check = PinnedCheck(run="sh secret.sh", hidden=True, reruns=2)
    content = b"echo 'exit 0' > secret.sh; exit 1"
    (result,) = run(job, frame, {"x": check}, hidden("x", HiddenFile("secret.sh", content)))
    assert [one.status.value for one in result.runs] == ["fail", "fail", "fail"]
    assert result.replaced == ()


def test_what_a_dead_worker_left_of_a_hidden_check_is_gone_before_an_agent_goes_on(job: JobTree) -> None:
    left = job.paths.run / "checks-final" / "tree"
    left.mkdir(parents=True)
    (left / "secret").write_text("canary")
    sweep_scenes(job.paths)
    assert not left.parent.exists()


def test_in_trees_that_nobody_holds_it_is_gone_too(job: JobTree) -> None:
    left = job.paths.run / "checks-final"
    left.mkdir()
    sweep_dead_scenes([job.paths.run, job.paths.run.parent])
    assert left.exists(), "its attempt lives and is checking"
    job.release()
    sweep_dead_scenes([job.paths.run, job.paths.run.parent])
    assert not left.exists()


# -- protected files --


def test_restored_files_are_as_setup_left_them(job: JobTree, frame: CommandFrame, tmp_path: Path) -> None:
    tree = job.paths.tree
    for name in ("tests/kept", "tests/changed", "tests/gone", "tests/swapped", "moved/file"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("from setup")
    job.baseline(at_epoch_seconds=0)
    (tree / "tests/changed").write_text("by the agent")
    (tree / "tests/gone").unlink()
    (tree / "tests/swapped").unlink()
    (tree / "tests/swapped").symlink_to(tmp_path)
    (tree / "moved/file").unlink()
    (tree / "moved").rmdir()
    (tree / "moved").symlink_to(tmp_path)
    (tree / "conftest.py").write_text("")
    (tree / "work").write_text("by the agent")
    job.commit_stage("s", at_epoch_seconds=0)
    target = TargetSpec(label="t", source="x", base="main", sha=job.base, task_text="", protected=("moved/**",))
    found = find_tampering(job, target)
    assert [(change.path, change.status.value, change.counts) for change in found.changes] == [
        ("conftest.py", "A", True),
        ("moved", "A", True),
        ("moved/file", "D", True),
        ("tests/changed", "M", True),
        ("tests/gone", "D", True),
        ("tests/swapped", "T", True),
    ]
    names = ["tests/kept", "tests/changed", "tests/gone", "tests/swapped", "moved/file"]
    command = f"cat {' '.join(names)}; test ! -e conftest.py && test ! -L moved && cat work"
    restored = [change.path for change in found.counting]
    (result,) = run(job, frame, {"x": PinnedCheck(run=command)}, Brought(restored=restored))
    assert log_of(job, result) == "from setup" * len(names) + "by the agent"
    assert result.status is CheckStatus.PASS


def test_names_and_content_that_no_table_expects_are_read_right(job: JobTree) -> None:
    tree = job.paths.tree
    (tree / "tests").mkdir()
    (tree / 'tests/a\nb "q".py').write_text("def test_a():\n    assert a\n-- not a header\n")
    (tree / "tests/bin.dat").write_bytes(b"\0" * 100)
    os.mkfifo(tree / "tests/pipe")
    job.baseline(at_epoch_seconds=0)
    (tree / 'tests/a\nb "q".py').write_text("++ nor this\ndiff --git a/x b/x\n")
    (tree / "tests/bin.dat").write_bytes(b"\0" * 101)
    (tree / "TESTS").symlink_to("tests")
    job.commit_stage("s", at_epoch_seconds=0)
    found = find_tampering(job, TargetSpec(label="t", source="x", base="main", sha=job.base, task_text=""))
    assert [(one.path, one.status.value, one.lines_added, one.lines_removed) for one in found.changes] == [
        ('tests/a\nb "q".py', "M", 2, 3),
        ("tests/bin.dat", "M", None, None),
        ("TESTS", "A", 1, 0),
    ]
    assert found.changes[0].weakening == Weakening(tests_removed=1, asserts_removed=1)


_PYTEST = '[tool.pytest.ini_options]\naddopts = "--collect-only"\n'


@pytest.mark.parametrize(
    ("files", "links", "counting"),
    [
        ({"pyproject.toml": '[project]\nname = "x"\n', "package.json": '{"name": "x"}'}, {}, []),
        ({"pyproject.toml": ""}, {}, []),
        ({"pyproject.toml": _PYTEST, "src/x.py": ""}, {}, ["pyproject.toml"]),
        ({"a=1": _PYTEST}, {"pyproject.toml": "a=1"}, ["pyproject.toml"]),
        # So many changed tests that not all are looked into: a manifest still is.
        ({f"tests/test_{number}.py": "" for number in range(250)} | {"web/package.json": "{}"}, {}, []),
        ({"pyproject.toml": "# " + "x" * 9_000_000}, {}, ["pyproject.toml"]),
    ],
    ids=["manifests", "empty", "settings", "link", "many", "huge"],
)
def test_new_settings_of_judges_count_and_new_manifests_do_not(
    files: dict[str, str], links: dict[str, str], counting: list[str], job: JobTree
) -> None:
    tree = job.paths.tree
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name, aim in links.items():
        (tree / name).symlink_to(aim)
    job.commit_stage("s", at_epoch_seconds=0)
    found = find_tampering(job, TargetSpec(label="t", source="x", base="main", sha=job.base, task_text=""))
    assert [change.path for change in found.counting] == counting
    manifests = {name for name in {**files, **links} if name.endswith((".toml", ".json"))}
    assert manifests <= {change.path for change in found.changes}


def test_a_check_that_new_settings_turned_off_is_run_without_them(job: JobTree, frame: CommandFrame) -> None:
    tree = job.paths.tree
    (tree / "tests").mkdir()
    (tree / "tests/test_a.py").write_text("def test_a():\n    assert False\n")
    job.baseline(at_epoch_seconds=0)
    (tree / "pyproject.toml").write_text(_PYTEST)
    job.commit_stage("s", at_epoch_seconds=0)
    found = find_tampering(job, TargetSpec(label="t", source="x", base="main", sha=job.base, task_text=""))
    check = {
        "x": PinnedCheck(
            run=f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q -p no:cacheprovider tests"
        )
    }
    restored = Brought(restored=[change.path for change in found.counting])
    assert [run(job, frame, check, brought)[0].status for brought in (Brought(), restored)] == [
        CheckStatus.PASS,
        CheckStatus.FAIL,
    ]


def test_what_setup_runs_and_modes_are_seen(job: JobTree) -> None:
    tree = job.paths.tree
    for name in ("tests/run", "tools/prepare.sh", "tools/other.sh"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("as it was\n")
    job.baseline(at_epoch_seconds=0)
    (tree / "tests/run").chmod(0o755)
    for name in ("tools/prepare.sh", "tools/other.sh"):
        (tree / name).write_text("touch tests/run\n")
    job.commit_stage("s", at_epoch_seconds=0)
    setup = "sh tools/prepare.sh"  # it runs before the checks too
    target = TargetSpec(label="t", source="x", base="main", sha=job.base, task_text="", setup=setup)
    assert [(one.path, one.kind.value, one.status.value) for one in find_tampering(job, target).counting] == [
        ("tests/run", "test", "M"),
        ("tools/prepare.sh", "check", "M"),
    ]


# -- runs and cases --


def test_a_failed_check_is_run_again_and_every_run_is_kept(job: JobTree, frame: CommandFrame) -> None:
    third = 'echo run >> "$TMPDIR/runs-$0"; wc -l < "$TMPDIR/runs-$0"; test "$(wc -l < "$TMPDIR/runs-$0")" -ge'
    checks = {
        "luck": PinnedCheck(run=f"bash -c '{third} 3' luck", reruns=3),
        "strict": PinnedCheck(run=f"bash -c '{third} 2' strict", reruns=3, flaky="fail"),
        "never": PinnedCheck(run="echo no; false", reruns=1),
        "once": PinnedCheck(run="false"),
    }
    results = run(job, frame, checks, Brought())
    assert [(item.name, item.status.value, [one.status.value for one in item.runs]) for item in results] == [
        ("luck", "pass", ["fail", "fail", "pass"]),
        ("strict", "fail", ["fail", "pass"]),
        ("never", "fail", ["fail", "fail"]),
        ("once", "fail", ["fail"]),
    ]
    assert [read(job, one) for one in results[0].runs] == ["1\n", "2\n", "3\n"]


def test_cases_come_from_this_run_and_not_from_what_lay_there(job: JobTree, frame: CommandFrame) -> None:
    stale = '<testsuite><testcase name="from the commit"/></testsuite>'
    (job.paths.tree / "report.xml").write_text(stale)
    job.commit_stage("s", at_epoch_seconds=0)
    junit = Report(format=ReportFormat.JUNIT, file="report.xml")
    fresh = stale.replace("from the commit", "fresh")
    checks = {
        "writes": PinnedCheck(run=f"echo '{fresh}' > report.xml", report=junit),
        "dies": PinnedCheck(run="false", report=junit),
        "tap": PinnedCheck(run="echo 1..1; echo ok 1 - told"),
        "silent": PinnedCheck(run="true"),
    }
    readings = [item.runs[0].reading for item in run(job, frame, checks, Brought())]
    assert [[case.name for case in one.cases.cases] if one.cases else None for one in readings] == [
        ["fresh"],
        None,
        ["told"],
        None,
    ]
    assert [one.fault for one in readings] == [
        None,
        "report.xml: cannot be read: No such file or directory",
        None,
        None,
    ]


def test_a_check_gets_no_input_to_wait_for(job: JobTree, frame: CommandFrame) -> None:
    assert summary(judge(job, frame, reads="cat; read x || exit 7")) == [("reads", "fail", 7, "exit code 7")]


@pytest.mark.parametrize("wait", ["sleep 300", "sleep 300 & wait"])
def test_a_daemon_that_keeps_the_output_open_holds_nobody_up(job: JobTree, frame: CommandFrame, wait: str) -> None:
    """It left the check's session with standard output in its hands, and outlives nothing all the same."""
    results = judge(job, frame, daemon=f"(setsid bash -c 'trap \"\" TERM HUP; {wait}' &) ; echo done", next="true")
    assert [item.status for item in results] == [CheckStatus.PASS] * 2
    assert log_of(job, results[0]) == "done\n"
    _assert_no_sleepers(job)


@pytest.mark.skipif(not disk.can_be_made(), reason="only root may mount a small disk")
def test_a_check_that_fills_the_disk_fails_and_gives_the_room_back(
    tmp_path: Path, frame: CommandFrame, make_job: Callable[[Path], JobTree]
) -> None:
    small = disk.Disk(tmp_path / "small")
    try:
        job = make_job(tmp_path / "small")
        fill = "head -c 100M /dev/zero > big"
        checks = {
            "fills": PinnedCheck(run=f"{fill} 2>/dev/null || {{ rm big; exit 5; }}"),
            "next": PinnedCheck(run="echo fine"),
            "stays": PinnedCheck(run=f"{fill}; cat /proc/self/status"),
        }
        kept = ArtifactStore(tmp_path / "artifacts").put
        results = run_checks(checks, job=job, sha=job.head, frame=frame, env=ENV, keep=kept)
        assert summary(results) == [
            ("fills", "fail", 5, "exit code 5"),
            ("next", "pass", 0, None),
            ("stays", "error", None, "no room left on the disk for its output"),
        ]
        assert not (job.paths.run / "checks-final").exists()
    finally:
        small.close()


@pytest.mark.parametrize("hidden_too", [False, True])
def test_a_check_that_blows_its_log_up_is_judged_without_it(
    job: JobTree, frame: CommandFrame, hidden_too: bool
) -> None:
    log = "$TMPDIR/../logs/*.log" if hidden_too else "../../logs/*.log"
    check = PinnedCheck(run=f"echo it; truncate -s 100G {log}; exit 3", hidden=hidden_too)
    (result,) = run(job, frame, {"x": check}, Brought())
    assert summary([result]) == [("x", "fail", 3, "exit code 3")]
    assert result.last is not None
    assert result.last.log_sha256 is None


def test_a_checkout_that_cannot_be_removed_takes_no_verdict_away(
    job: JobTree, frame: CommandFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(f"immutable: {path}")

    monkeypatch.setattr("workers.checks.remove_tree", refuse)
    assert summary(judge(job, frame, x="exit 3")) == [("x", "fail", 3, "exit code 3")]


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
    assert log_of(job, results[2]) == "said\n"
