"""An existing worktree as a target: jobs work on copies of its HEAD, and it is left exactly as it was found."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.processes import send
from tests.support.repos import git
from tests.support.waiting import until
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import inspect_source, parse_source
from workers.worktrees.worktree import JobTree

Found = dict[str, tuple[int, int, int, bytes]]


def everything(*folders: Path) -> Found:
    """Every file, folder and link with mode, time of change and content, the git directory included."""
    found: Found = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            is_file = path.is_file() and not path.is_symlink()
            content = path.read_bytes() if is_file else os.fsencode(path.readlink()) if path.is_symlink() else b""
            found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


@pytest.fixture
def tree(lab: Lab) -> Path:
    """A linked worktree with everything that a person may have in one: stash, ignored files, a detached HEAD."""
    (lab.target / ".gitignore").write_text("build/\n")
    git(lab.target, "add", "-A")
    git(lab.target, "commit", "-q", "-m", "ignore")
    git(lab.target, "worktree", "add", "-q", "--detach", str(lab.root / "tree"))
    tree = lab.root / "tree"
    (tree / "hello.txt").write_text("stashed\n")
    git(tree, "stash")
    (tree / "hello.txt").write_text("of the worktree alone\n")
    git(tree, "commit", "-qam", "detached")
    (tree / "build").mkdir()
    (tree / "build/out.o").write_text("ignored")
    (tree / "link").symlink_to("/nonexistent")
    git(tree, "add", "link")
    git(tree, "commit", "-qm", "link")
    os.utime(tree / "hello.txt", (1, 1))  # its index entry is out of date, and must stay so
    return tree


def test_two_jobs_at_once_work_on_copies_and_leave_it_as_it_was(lab: Lab, tree: Path) -> None:
    before = everything(tree, lab.target)
    lab.write_fleet(slots=2, models={"boxed": {}})
    lab.write(targets=[{"worktree": "tree", "task": "TASK.md"}], profiles={"one": "boxed"}, repeats=2)
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert everything(tree, lab.target) == before
    first, second = lab.results.attempts()
    assert first["base_sha"] == second["base_sha"] == git(tree, "rev-parse", "HEAD").strip()
    assert first["run_dir"] != second["run_dir"]
    copy = Path(first["run_dir"]) / "tree"
    assert (copy / "hello.txt").read_text() == "of the worktree alone\n"
    assert not (copy / "build").exists()


def test_a_kill_in_the_middle_leaves_it_as_it_was_and_people_may_go_on_in_it(lab: Lab, tree: Path) -> None:
    before = everything(tree, lab.target)
    lab.write(agent="wait", targets=[{"worktree": "tree", "task": "TASK.md"}])
    run = lab.start("run", str(lab.file))
    lab.await_start()
    for pid in lab.workers(run).values():
        send(pid, signal.SIGKILL)
    send(run.pid, signal.SIGKILL)
    until(lambda: not lab.leftovers(), "the agent to end")
    assert everything(tree, lab.target) == before
    pinned = git(tree, "rev-parse", "HEAD").strip()
    (tree / "hello.txt").write_text("a person went on\n")
    git(tree, "commit", "-qam", "meanwhile")
    (attempt, *_) = lab.results.attempts()
    assert (Path(attempt["run_dir"]) / "tree/hello.txt").read_text() == "of the worktree alone\n"
    assert pinned in (Path(attempt["run_dir"]) / "git/refs/bakeoff/base").read_text()


def _take(args: tuple[Path, int]) -> str:
    root, number = args
    host = Git(host_env=os.environ)
    mirror = Mirror(root / "mirrors", parse_source("tree", relative_to=root), host)
    sha = mirror.resolve("HEAD")
    assert sha is not None
    tree = JobTree(
        root / "runs", JobKey(experiment="e", target="t", profile="p", repeat=number, attempt="1"), mirror, host
    )
    tree.prepare(sha)
    return tree.base


def test_any_number_may_take_it_at_once_and_a_dirty_one_is_told_with_its_files(lab: Lab, tree: Path) -> None:
    before = everything(tree, lab.target)
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(_take, [(lab.root, number) for number in range(8)]))) == 1
    assert everything(tree, lab.target) == before
    (tree / "hello.txt").write_text("changed\n")
    git(tree, "add", "hello.txt")
    (tree / "hello.txt").write_text("and changed again\n")
    (tree / "untracked").write_text("")
    before = everything(tree, lab.target)
    info = inspect_source("tree", relative_to=lab.root, git=Git(host_env=os.environ))
    assert (info.clean, info.dirty_paths) == (False, ("hello.txt", "untracked"))
    assert everything(tree, lab.target) == before
