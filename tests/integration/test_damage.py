"""What an agent breaks of the git data that it can reach is its own doing; what a sick machine does is not."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from tests.support.lab import Lab
from tests.support.repos import git, make_repo
from tests.support.scripted import scripted_models
from workers.worktrees.damage import damage
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree

AT = 1_700_000_000
GIT = Git(host_env=os.environ)


@pytest.fixture
def job(tmp_path: Path) -> JobTree:
    """A tree in which one stage was committed."""
    mirror = Mirror(tmp_path / "mirrors", parse_source(str(make_repo(tmp_path / "repo")), relative_to=tmp_path), GIT)
    key = JobKey(experiment="e", target="t", profile="p", repeat=1, attempt="1")
    tree = JobTree(tmp_path / "runs", key, mirror, GIT)
    tree.prepare(git(tmp_path / "repo", "rev-parse", "HEAD").strip())
    (tree.paths.tree / "new.txt").write_text("new\n")
    assert tree.commit_stage("one", at_epoch_seconds=AT)
    return tree


def _objects(job: JobTree) -> list[Path]:
    return sorted(path for path in (job.paths.git / "objects").glob("??/*") if path.is_file())


def _garble(paths: list[Path]) -> None:
    for path in paths:
        path.chmod(0o600)
        path.write_bytes(b"garbage" * 9)


def _blob(job: JobTree) -> Path:
    name = GIT.text(["rev-parse", f"{job.head}:new.txt"], job.place)
    return job.paths.git / "objects" / name[:2] / name[2:]


def _point_elsewhere(job: JobTree) -> None:
    (job.paths.git / job.branch_ref).write_text(f"{job.base}\n")


def _own(job: JobTree, *arguments: str) -> object:
    return subprocess.run(["git", f"--git-dir={job.paths.git}", *arguments], check=True, capture_output=True)


def _prune(job: JobTree) -> None:
    shutil.rmtree(job.paths.git / "refs")
    (job.paths.git / "index").unlink()
    _own(job, "init", "-q")
    _own(job, "-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now")


def _make_a_file(job: JobTree) -> None:
    shutil.rmtree(job.paths.tree / ".git")
    (job.paths.tree / ".git").write_text("gitdir: /nowhere\n")


def _empty(job: JobTree) -> None:
    for name in ("tree", "home", "logs"):
        shutil.rmtree(job.paths.run / name)


_BREAKS: dict[str, Callable[[JobTree], object]] = {
    "objects are gone": lambda job: shutil.rmtree(job.paths.git / "objects"),
    "the git directory is gone": lambda job: shutil.rmtree(job.paths.git),
    "the run directory is gone": lambda job: shutil.rmtree(job.paths.run),
    "objects are emptied": lambda job: list(map(os.unlink, _objects(job))),
    "objects are garbage": lambda job: _garble(_objects(job)),
    "one file's content is gone": lambda job: _blob(job).unlink(),
    "one file's content is garbage": lambda job: _garble([_blob(job)]),
    "the index is garbage": lambda job: _garble([job.paths.git / "index"]),
    "the branch was moved": _point_elsewhere,
    "the branch is gone": lambda job: (job.paths.git / job.branch_ref).unlink(),
    "the lock was replaced": lambda job: (job.paths.run / "lock").rename(job.paths.run / "old"),
    "refs are dropped and objects pruned": _prune,
}


@pytest.mark.parametrize("name", _BREAKS)
def test_damage_is_found_and_named(name: str, job: JobTree) -> None:
    assert damage(job) is None
    _BREAKS[name](job)
    found = damage(job)
    assert found
    assert "Traceback" not in found


_BEARS: dict[str, Callable[[JobTree], object]] = {
    "its own .git is gone": lambda job: shutil.rmtree(job.paths.tree / ".git"),
    "its own .git is a file": _make_a_file,
    "its own objects are gone": lambda job: shutil.rmtree(job.paths.tree / ".git" / "objects"),
    "the worktree is gone": lambda job: shutil.rmtree(job.paths.tree),
    "all folders are gone": _empty,
    "ours was packed": lambda job: _own(job, "gc", "-q", "--prune=now"),
    "a lock was left": lambda job: (job.paths.git / "index.lock").touch(),
    "no rights are left": lambda job: job.paths.tree.chmod(0),
}


@pytest.mark.parametrize("name", _BEARS)
def test_what_is_put_right_is_no_damage(name: str, job: JobTree) -> None:
    _BEARS[name](job)
    assert damage(job) is None
    job.commit_stage("two", at_epoch_seconds=AT)
    assert damage(job) is None


@pytest.mark.parametrize(
    "cause", ["Input/output error", "No space left on device", "Too many open files", "Cannot allocate memory"]
)
def test_a_sick_machine_has_damaged_nothing(cause: str, job: JobTree, tmp_path: Path) -> None:
    _BREAKS["objects are emptied"](job)
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho 'fatal: unable to read x: {cause}' >&2\nexit 128\n")
    fake.chmod(0o755)
    job.git = Git(host_env={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    assert damage(job) is None
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    assert damage(job) is None
    fake.unlink()
    job.git = Git(host_env={"PATH": str(fake.parent)})
    assert damage(job) is None, "no git at all"


# Each vandal does its work, breaks something, and says that all is done. What its job's end is.
_VANDALS = {
    "burns-objects": "worktree_broken",
    "burns-run": "worktree_broken",
    "fills-index": "worktree_broken",
    "plants-in-check": "worktree_broken",
    "burns-own-git": "complete",
}


def test_no_agent_gets_another_try_by_breaking_git(tmp_path: Path) -> None:
    (root := tmp_path / "lab").mkdir()
    (models := tmp_path / "models").mkdir()
    with scripted_models(models) as url:
        lab = Lab(root, base_url=url)
        lab.write_fleet(slots=5, models={name: {} for name in _VANDALS})
        check = {"run": "[ ! -e check.sh ] || sh check.sh", "timeout": "20s"}
        lab.write(
            agent="reference",
            targets=[{"repo": "target", "base": "main", "task": "TASK.md", "checks": {"own": check}}],
            profiles={name: name for name in _VANDALS},
        )
        done = lab.run()
        lab.close()
    jobs = {row["profile"]: row for row in lab.results.jobs()}
    details = {name: row["detail"] for name, row in jobs.items()}
    assert {name: row["outcome"] for name, row in jobs.items()} == _VANDALS, (details, done.err)
    assert {row["attempts"] for row in jobs.values()} == {1}
    assert {row["infra_attempts"] for row in jobs.values()} == {0}
    assert all("broke its own git data" in details[name] for name, end in _VANDALS.items() if end != "complete")
    assert outcome_class(Outcome.WORKTREE_BROKEN) is OutcomeClass.RESULT
