"""A job's tree from mirror to removal, with real git and nothing else."""

import multiprocessing
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import Conflict
from tests.support.waiting import until
from workers.worktrees.collect import (
    ChangedFile,
    DiffStat,
    changed_files,
    clean_checkout,
    diff_stat,
    write_bundle,
    write_patch,
)
from workers.worktrees.folders import remove_tree
from workers.worktrees.git import Git, GitError, Place
from workers.worktrees.gitdir import leave_note
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey, component
from workers.worktrees.sources import BadSource, SourceKind, inspect_source, parse_source
from workers.worktrees.staging import StagingLimits
from workers.worktrees.worktree import Archived, JobTree, NotArchived

AT = 1_700_000_000
GIT = Git(host_env=os.environ)


def git(cwd: Path, *args: str) -> str:
    """Git as a person would use it, without this machine's configuration."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_DATE": f"{AT} +0000",
        "GIT_COMMITTER_DATE": f"{AT} +0000",
    }
    options = ["-c", "user.name=u", "-c", "user.email=u@localhost", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *options, *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(repo: Path, **files: str) -> str:
    for name, text in files.items():
        path = repo / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "c")
    return git(repo, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "-q")
    (path / ".gitignore").write_text("*.log\n")
    commit(path, a="one\n", src__b="two\n", task="do it\n")
    return path


def mirror_of(repo: Path, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirrors", parse_source(str(repo), relative_to=tmp_path), GIT)


def key(**changed: object) -> JobKey:
    known: dict[str, object] = {"experiment": "exp", "target": "repo", "profile": "fast", "repeat": 1, "attempt": "1"}
    return JobKey(**(known | changed))  # type: ignore[arg-type]


@pytest.fixture
def job(repo: Path, tmp_path: Path) -> JobTree:
    tree = JobTree(tmp_path / "runs", key(), mirror_of(repo, tmp_path), GIT)
    tree.prepare(git(repo, "rev-parse", "HEAD"))
    return tree


# -- sources and mirrors --


def test_a_base_is_pinned_as_it_stands_at_the_source_and_the_source_is_left_alone(repo: Path, tmp_path: Path) -> None:
    before = git(repo, "for-each-ref"), (repo / ".git/config").read_text()
    first = git(repo, "rev-parse", "HEAD")
    mirror = mirror_of(repo, tmp_path)
    assert mirror.resolve("HEAD") == mirror.resolve("main") == first
    assert (git(repo, "for-each-ref"), (repo / ".git/config").read_text()) == before
    second = commit(repo, a="changed\n")
    assert (mirror.resolve("main"), mirror.resolve("main~1"), mirror.resolve("absent")) == (second, first, None)
    assert mirror.resolve("0" * 40) is None


def test_the_task_is_read_at_the_pinned_commit(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    sha = mirror.resolve("main")
    assert sha is not None
    commit(repo, task="later\n")
    assert mirror.read_file(sha, "task") == b"do it\n"
    assert mirror.read_file(sha, "./src/b") == b"two\n"
    for absent in ("nope", "src", "../task", "/etc/passwd", ""):
        assert mirror.read_file(sha, absent) is None


def test_a_commit_on_no_branch_is_fetched_by_its_name(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    mirror.resolve("main")
    git(repo, "checkout", "-q", "--detach")
    lonely = commit(repo, a="detached\n")
    git(repo, "checkout", "-q", "main")
    mirror.ensure(lonely)
    assert mirror.read_file(lonely, "a") == b"detached\n"


def test_a_remote_address_resolves_through_the_mirror(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    # Over file:// as if it were far away: only the mirror is asked.
    remote = Mirror(tmp_path / "m2", type(mirror.source)(location=f"file://{repo}", is_local=False), GIT)
    head = git(repo, "rev-parse", "HEAD")
    assert (remote.resolve("HEAD"), remote.resolve("main"), remote.resolve("nope")) == (head, head, None)
    assert remote.resolve(commit(repo, a="newer\n")) == git(repo, "rev-parse", "HEAD")


def test_a_branch_that_became_a_folder_of_branches_can_still_be_fetched(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    git(repo, "branch", "topic")
    mirror.resolve("topic")
    git(repo, "branch", "-D", "topic")
    git(repo, "checkout", "-q", "-b", "topic/part")
    assert mirror.resolve("topic/part") == git(repo, "rev-parse", "HEAD")
    sha = commit(repo, a="more\n")
    assert mirror.resolve("topic/part") == sha


def test_a_shallow_source_can_be_a_target(repo: Path, tmp_path: Path) -> None:
    commit(repo, a="second\n")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    tree = JobTree(tmp_path / "runs", key(), mirror_of(tmp_path / "shallow", tmp_path), GIT)
    tree.prepare(git(repo, "rev-parse", "HEAD"))
    (tree.paths.tree / "a").write_text("third\n")
    assert tree.commit_stage("s", at_epoch_seconds=AT)
    assert write_bundle(tree, tmp_path / "b")
    assert git(tree.paths.tree, "log", "--format=%s") == "c"


def _ensure(args: tuple[Path, Path, str]) -> bool:
    mirror = mirror_of(args[0], args[1])
    mirror.ensure(args[2])
    return mirror.has(args[2])


def test_many_workers_make_one_mirror_at_once(repo: Path, tmp_path: Path) -> None:
    sha = git(repo, "rev-parse", "HEAD")
    with multiprocessing.get_context("fork").Pool(6) as pool:
        assert pool.map(_ensure, [(repo, tmp_path, sha)] * 12) == [True] * 12


def test_a_fetch_that_was_killed_does_not_block_the_next(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    mirror.resolve("main")
    (mirror.path / "packed-refs.lock").touch()
    (mirror.path / "refs/heads/main.lock").touch()
    (mirror.path / "shallow.lock").touch()
    (mirror.path / "objects/pack/tmp_pack_x").touch()
    sha = commit(repo, a="next\n")
    assert mirror.resolve("main") == sha
    assert not list(mirror.path.rglob("tmp_*"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        "--upload-pack=touch x",
        "ext::sh -c id",
        "fd::17",
        "transport::x",
        "ftp://host/x",
        "git://host/x",
        "https://user:secret@host/x",
        "https://token@host/x",
        "ssh://-oProxyCommand=id/x",
        "a\nb",
    ],
)
def test_sources_that_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadSource):
        parse_source(text, relative_to=tmp_path)


def test_sources_have_one_canonical_name(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo)
    names = {parse_source(text, relative_to=tmp_path).key for text in ("repo", "./repo/", "link", f"file://{repo}")}
    assert len(names) == 1
    for address in ("https://host/x.git", "git@host:team/x.git", "ssh://git@host/x"):
        assert not parse_source(address, relative_to=tmp_path).is_local


def test_a_worktree_is_inspected_without_touching_it(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", "../wt", "-b", "side")
    tree = tmp_path / "wt"
    head = git(tree, "rev-parse", "HEAD")
    (tree / "x.log").write_text("ignored")
    before = {path: path.stat().st_mtime_ns for path in (repo / ".git").rglob("*")}
    info = inspect_source("wt", relative_to=tmp_path, git=GIT)
    assert (info.kind, info.clean, info.head_sha, info.dirty_paths) == (SourceKind.WORKTREE, True, head, ())
    (tree / "a").write_text("changed\n")
    (tree / "new\nline").write_text("")
    info = inspect_source("wt", relative_to=tmp_path, git=GIT)
    assert (info.clean, info.dirty_paths) == (False, ("a", "new\nline"))
    for number in range(20):
        (tree / f"n{number}").write_text("")
    assert len(inspect_source("wt", relative_to=tmp_path, git=GIT).dirty_paths) == 10
    assert {path: path.stat().st_mtime_ns for path in (repo / ".git").rglob("*")} == before


def test_what_is_no_repository_is_told_apart(repo: Path, tmp_path: Path) -> None:
    for place in ("absent", "repo/src", "."):
        with pytest.raises(BadSource):
            inspect_source(place, relative_to=tmp_path, git=GIT)
    git(tmp_path, "clone", "-q", "--bare", "repo", "bare.git")
    assert inspect_source("bare.git", relative_to=tmp_path, git=GIT).kind is SourceKind.BARE
    assert inspect_source("https://host/x", relative_to=tmp_path, git=GIT).kind is SourceKind.URL
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert inspect_source("empty", relative_to=tmp_path, git=GIT).head_sha is None
    (tmp_path / "sha256").mkdir()
    git(tmp_path / "sha256", "init", "-q", "--object-format=sha256")
    with pytest.raises(BadSource, match="sha256"):
        inspect_source("sha256", relative_to=tmp_path, git=GIT)


# -- the tree --


def test_the_agent_gets_an_ordinary_repository_of_its_own(job: JobTree) -> None:
    tree = job.paths.tree
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "branch", "--show-current") == "bakeoff/exp/repo/fast/1"
    assert git(tree, "remote") == ""
    git(tree, "fsck", "--strict")
    (tree / "a").write_text("mine\n")
    git(tree, "commit", "-qam", "agents may commit")
    assert git(tree, "log", "--format=%s") == "agents may commit\nc"


def test_stages_become_commits_of_ours_and_nothing_is_no_commit(job: JobTree, repo: Path) -> None:
    assert job.commit_stage("nothing", at_epoch_seconds=AT) is None
    (job.paths.tree / "src/b").unlink()
    (job.paths.tree / "new").write_text("n\n")
    (job.paths.tree / "debug.log").write_text("ignored")
    first = job.commit_stage("stage 1: build", at_epoch_seconds=AT)
    assert first
    assert job.commit_stage("again", at_epoch_seconds=AT + 1) is None
    shown = GIT.text(["log", "-1", "--format=%an <%ae> %cn %at %ct %s", first], job.place)
    assert shown == f"Bakeoff <bakeoff@localhost> Bakeoff {AT} {AT} stage 1: build"
    assert changed_files(job) == (ChangedFile("new", "A"), ChangedFile("src/b", "D"))
    assert diff_stat(job) == DiffStat(files=2, added_lines=1, removed_lines=1, binary_files=0)
    assert git(repo, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_commits_of_the_agent_count_by_their_content(job: JobTree) -> None:
    (job.paths.tree / "a").write_text("x\n")
    git(job.paths.tree, "commit", "-qam", "by the agent")
    git(job.paths.tree, "checkout", "-q", "-b", "elsewhere")
    assert job.commit_stage("s", at_epoch_seconds=AT)
    assert changed_files(job) == (ChangedFile("a", "M"),)


def test_the_same_work_has_the_same_name_everywhere(repo: Path, tmp_path: Path) -> None:
    shas = set()
    for attempt in ("1", "2"):
        tree = JobTree(tmp_path / "runs", key(attempt=attempt), mirror_of(repo, tmp_path), GIT)
        tree.prepare(git(repo, "rev-parse", "HEAD"))
        (tree.paths.tree / "n").write_text("n")
        shas.add(tree.commit_stage("s", at_epoch_seconds=AT))
    assert len(shas) == 1


def test_what_setup_left_is_not_the_agents_work(job: JobTree) -> None:
    (job.paths.tree / "deps").mkdir()
    (job.paths.tree / "deps/x").write_text("lib\n")
    (job.paths.tree / "a").write_text("by setup\n")
    baseline = job.baseline(at_epoch_seconds=AT)
    assert baseline != job.base
    assert git(job.paths.tree, "status", "--porcelain") == ""
    assert git(job.paths.tree, "rev-parse", "HEAD") == baseline
    git(job.paths.tree, "fsck", "--strict")
    assert changed_files(job) == ()
    (job.paths.tree / "b").write_text("by the agent\n")
    job.commit_stage("s", at_epoch_seconds=AT)
    assert changed_files(job) == (ChangedFile("b", "A"),)


def test_a_setup_that_changes_nothing_leaves_the_base_as_baseline(job: JobTree) -> None:
    assert job.baseline(at_epoch_seconds=AT) == job.base == job.start


def test_patch_and_bundle_carry_the_work_to_a_clone(job: JobTree, repo: Path, tmp_path: Path) -> None:
    assert not write_bundle(job, tmp_path / "none.bundle")
    assert not (tmp_path / "none.bundle").exists()
    tree = job.paths.tree
    (tree / "a").write_text("changed\n")
    (tree / "binary").write_bytes(bytes(range(256)))
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("a")
    job.commit_stage("one", at_epoch_seconds=AT)
    (tree / "c").write_text("c\n")
    job.commit_stage("two", at_epoch_seconds=AT + 1)
    assert write_patch(job, tmp_path / "work.patch")
    assert write_bundle(job, tmp_path / "work.bundle")

    git(tmp_path, "clone", "-q", "repo", "patched")
    git(tmp_path / "patched", "apply", "--index", str(tmp_path / "work.patch"))
    assert git(tmp_path / "patched", "write-tree") == GIT.text(["rev-parse", f"{job.head}^{{tree}}"], job.place)

    git(repo, "fetch", "-q", str(tmp_path / "work.bundle"), f"{job.key.branch}:{job.key.branch}")
    assert git(repo, "log", "--format=%s", job.key.branch) == "two\none\nc"


def test_a_patch_past_its_limit_is_cut_and_says_so(job: JobTree, tmp_path: Path) -> None:
    (job.paths.tree / "big").write_text("line\n" * 100_000)
    job.commit_stage("s", at_epoch_seconds=AT)
    assert not write_patch(job, tmp_path / "p", max_bytes=1000)
    assert (tmp_path / "p").stat().st_size == 1000


def test_a_later_worker_takes_up_where_the_first_stopped(job: JobTree) -> None:
    job.baseline(at_epoch_seconds=AT)
    (job.paths.tree / "n").write_text("1")
    sha = job.commit_stage("one", at_epoch_seconds=AT)
    assert sha is not None
    (job.paths.git / "index.lock").touch()  # the first worker was killed in the middle of a commit
    again = JobTree(job.paths.run.parents[4], job.key, job.mirror, GIT)
    with pytest.raises(Conflict, match="held"):
        again.reopen()
    job.release()
    again.reopen()
    assert (again.base, again.start, again.head) == (job.base, job.start, sha)
    (job.paths.tree / "n").write_text("2")
    (job.paths.tree / "kept").mkdir()
    git(job.paths.tree / "kept", "init", "-q")
    assert again.commit_stage("two", at_epoch_seconds=AT) != sha
    (job.paths.tree / "m").write_text("not committed")
    again.rewind(sha)
    assert {path.name for path in job.paths.tree.iterdir()} == {".git", ".gitignore", "a", "src", "task", "n"}
    assert (job.paths.tree / "n").read_text() == "1"
    assert not again.is_dirty()
    assert again.head == sha


def _works_on(repo: Path, tmp_path: Path, pid_file: Path) -> None:
    tree = JobTree(tmp_path / "runs", key(), mirror_of(repo, tmp_path), GIT)
    tree.reopen()
    line = f"alias.long=!echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 600"
    GIT.run(["long"], tree.place, config=(line,))


def test_a_git_that_outlives_its_worker_keeps_the_tree(job: JobTree, repo: Path, tmp_path: Path) -> None:
    job.release()
    pid_file = tmp_path / "pid"
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=_works_on, args=(repo, tmp_path, pid_file))
    worker.start()
    until(pid_file.exists, "its git")
    worker.kill()
    worker.join()
    later = JobTree(tmp_path / "runs", job.key, job.mirror, GIT)
    with pytest.raises(Conflict, match="held by another process"):
        later.reopen()
    os.killpg(os.getpgid(int(pid_file.read_text())), signal.SIGKILL)
    until(lambda: _reopens(later), "the tree to be free")


def test_taking_up_a_tree_as_it_was_left_keeps_what_no_commit_could_take(repo: Path, tmp_path: Path) -> None:
    limits = StagingLimits(max_file_bytes=10)
    tree = JobTree(tmp_path / "runs", key(), mirror_of(repo, tmp_path), GIT, limits=limits)
    tree.prepare(git(repo, "rev-parse", "HEAD"))
    (tree.paths.tree / "a").write_text("changed\n")
    (tree.paths.tree / "data").write_text("more than ten bytes")
    sha = tree.commit_stage("stage", at_epoch_seconds=AT)
    assert sha is not None
    tree.rewind(sha)
    assert (tree.paths.tree / "data").exists()
    (tree.paths.tree / "a").write_text("later\n")
    tree.rewind(sha)
    assert not (tree.paths.tree / "data").exists()
    assert (tree.paths.tree / "a").read_text() == "changed\n"


def _reopens(tree: JobTree) -> bool:
    try:
        tree.reopen()
    except Conflict:
        return False
    return True


def test_what_an_agent_took_away_is_there_again_for_the_next_stage(job: JobTree, tmp_path: Path) -> None:
    shutil.rmtree(job.paths.home)
    job.paths.tmp.rename(tmp_path / "away")
    job.paths.tmp.symlink_to(tmp_path / "away")
    job.paths.logs.rmdir()
    job.paths.logs.write_text("no folder")
    (job.paths.tree / "a").unlink()
    os.mkfifo(job.paths.tree / "a")
    (job.paths.git / "index.lock").touch()
    job.paths.tree.chmod(0)
    job.commit_stage("stage", at_epoch_seconds=AT)
    assert job.paths.tree.stat().st_mode & 0o700 == 0o700
    assert all(f.is_dir() and not f.is_symlink() for f in (job.paths.home, job.paths.tmp, job.paths.logs))
    job.rewind(job.start)
    assert (job.paths.tree / "a").read_text() == "one\n"
    assert not job.is_dirty()


def test_a_directory_is_never_used_for_two_attempts(job: JobTree, repo: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        JobTree(tmp_path / "runs", job.key, job.mirror, GIT).prepare(job.base)
    half = JobTree(tmp_path / "runs", key(attempt="7"), job.mirror, GIT)
    half.paths.run.mkdir(parents=True)
    with pytest.raises(GitError, match="not prepared"):
        half.reopen()


def test_work_that_is_not_archived_is_not_removed(job: JobTree) -> None:
    sha = "0" * 64
    (job.paths.tree / "n").write_text("1")
    with pytest.raises(NotArchived):
        job.remove(None)
    first = job.commit_stage("one", at_epoch_seconds=AT)
    assert first
    for wrong in (
        None,
        Archived(head=job.base, patch_sha256=sha, bundle_sha256=sha),
        Archived(head=first, patch_sha256=sha, bundle_sha256=None),
    ):
        with pytest.raises(NotArchived):
            job.remove(wrong)
    (job.paths.tree / "n").write_text("2")
    with pytest.raises(NotArchived):
        job.remove(Archived(head=first, patch_sha256=sha, bundle_sha256=sha))
    last = job.commit_stage("two", at_epoch_seconds=AT)
    assert last
    job.paths.tree.rename(job.paths.run / "moved")
    with pytest.raises(NotArchived):
        job.remove(None)
    (job.paths.run / "moved").rename(job.paths.tree)
    job.remove(Archived(head=last, patch_sha256=sha, bundle_sha256=sha))
    assert not job.paths.run.exists()


def test_a_tree_in_which_nothing_happened_may_go_also_when_rights_were_taken_away(job: JobTree) -> None:
    (job.paths.tmp / "d/e").mkdir(parents=True)
    (job.paths.tmp / "d/e").chmod(0)
    (job.paths.tmp / "d").chmod(0)
    job.remove(None)
    assert not job.paths.run.exists()


def test_files_past_the_limits_are_left_out_with_a_note(repo: Path, tmp_path: Path) -> None:
    limits = StagingLimits(max_file_bytes=1000, max_total_bytes=1500)
    tree = JobTree(tmp_path / "runs", key(), mirror_of(repo, tmp_path), GIT, limits=limits)
    tree.prepare(git(repo, "rev-parse", "HEAD"))
    (tree.paths.tree / "huge").write_bytes(b"x" * 1001)
    for name in ("m1", "m2"):
        (tree.paths.tree / name).write_bytes(b"x" * 900)
    tree.commit_stage("s", at_epoch_seconds=AT)
    assert [item.path for item in tree.skipped] == ["huge", "m2"]
    assert changed_files(tree) == (ChangedFile("m1", "A"),)


def test_a_clean_checkout_has_the_commit_and_nothing_else(job: JobTree, tmp_path: Path) -> None:
    (job.paths.tree / "x.log").write_text("left behind, ignored")
    (job.paths.tree / "n").write_text("1")
    sha = job.commit_stage("s", at_epoch_seconds=AT)
    assert sha
    (job.paths.tree / "n").write_text("after")
    into = tmp_path / "clean"
    clean_checkout(job, sha, into)
    assert sorted(path.name for path in into.iterdir()) == [".git", ".gitignore", "a", "n", "src", "task"]
    assert git(into, "status", "--porcelain") == ""
    assert (into / "n").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "mirrors", "repo", "runs"]


def test_line_endings_pass_unchanged_whatever_attributes_say(repo: Path, tmp_path: Path) -> None:
    commit(repo, **{"x.bat": "one\ntwo\n", "utf": "text\n"})
    (repo / ".gitattributes").write_text("* text=auto\n*.bat eol=crlf\nutf working-tree-encoding=UTF-16\n")
    git(repo, "add", ".gitattributes")
    git(repo, "commit", "-qm", "attributes")
    sha = git(repo, "rev-parse", "HEAD")
    tree = JobTree(tmp_path / "runs", key(), mirror_of(repo, tmp_path), GIT)
    tree.prepare(sha)
    assert tree.commit_stage("checkout alone is no change", at_epoch_seconds=AT) is None
    (tree.paths.tree / "crlf").write_bytes(b"a\r\nb\r\n")
    tree.commit_stage("s", at_epoch_seconds=AT)
    assert GIT.run(["cat-file", "blob", f"{tree.head}:crlf"], tree.place) == b"a\r\nb\r\n"


def test_a_vanished_source_is_a_git_error_with_its_cause(repo: Path, tmp_path: Path) -> None:
    mirror = mirror_of(repo, tmp_path)
    shutil.rmtree(repo)
    with pytest.raises(GitError) as caught:
        mirror.ensure("1" * 40)
    assert "does not appear to be a git repository" in caught.value.stderr


def test_a_command_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 60 & echo $! > pid; wait\n")
    (tmp_path / "git").chmod(0o755)
    hanging = Git(host_env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with pytest.raises(GitError, match=r"longer than 0\.5 s"):
        hanging.run(["status"], Place(cwd=tmp_path), timeout_seconds=0.5)
    assert _ends(int((tmp_path / "pid").read_text()))


def _ends(pid: int) -> bool:
    """Whether a process that was killed is gone; on a busy machine a kill takes a moment to arrive."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 10)[0])
    finally:
        os.close(watched)


# -- names --


@given(st.text(min_size=0, max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_name_becomes_a_valid_branch_and_folder(name: str) -> None:
    branch = key(target=name, profile=name).branch
    subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=True)
    assert "/" not in component(name)
    assert component(name) not in (".", "..", "")


@given(st.text(max_size=12), st.text(max_size=12))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (component(one) == component(other)) == (one == other)


def test_swept_values_have_branches_of_their_own() -> None:
    branches = {key(params=params).branch for params in ({}, {"max_turns": 1}, {"max_turns": 2})}
    assert len(branches) == 3
    assert key(attempt="1").branch == key(attempt="2").branch


# -- taking back --


def test_a_commit_is_reverted_where_nothing_stands_on_it(job: JobTree) -> None:
    tree = job.paths.tree
    (tree / "new.txt").write_text("bad\n")
    refused = job.commit_stage("build", at_epoch_seconds=1)
    assert refused is not None
    (tree / "other.txt").write_text("good\n")
    job.commit_stage("build", at_epoch_seconds=2)
    back = job.revert(refused, at_epoch_seconds=3)
    assert back == job.head is not None
    assert not (tree / "new.txt").exists()
    assert [change.path for change in changed_files(job)] == ["other.txt"]
    assert not job.is_dirty()


def test_a_commit_on_which_later_work_stands_is_left_and_so_is_everything_else(job: JobTree) -> None:
    file = job.paths.tree / "new.txt"
    file.write_text("one\n")
    refused = job.commit_stage("build", at_epoch_seconds=1)
    assert refused is not None
    file.write_text("one and more\n")
    later = job.commit_stage("build", at_epoch_seconds=2)
    assert job.revert(refused, at_epoch_seconds=3) is None
    assert job.head == later
    assert file.read_text() == "one and more\n"
    assert not job.is_dirty()
    assert not (job.paths.git / "REVERT_HEAD").exists()
    file.unlink()
    assert job.commit_stage("build", at_epoch_seconds=4) == job.head, "the tree can be worked on"


def _everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path of a tree but `.git`, with its mode and content; what a link names is its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != ".git":
            content = (
                os.fsencode(path.readlink()) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
            )
            found[str(name)] = (path.lstat().st_mode, content)
    return found


def test_a_revert_leaves_nothing_of_what_was_refused(job: JobTree) -> None:
    """Whatever a try did: half files, new and deleted ones, moves, modes, links, and what it hid by ignoring it."""
    tree = job.paths.tree
    (tree / "kept").mkdir()
    for name in ("edited", "deleted", "moved", "tool", "becomes-link", "becomes-folder"):
        (tree / "kept" / name).write_text("one\ntwo\nthree\n")
    (tree / ".gitignore").write_text("*.tmp\n")
    (tree / "mine.tmp").write_text("ignored before, and none of its business")
    assert job.commit_stage("accepted", at_epoch_seconds=1)
    before = _everything(tree)

    (tree / "kept/edited").write_text("one\nhalf of tw")
    (tree / "kept/deleted").unlink()
    (tree / "kept/moved").rename(tree / "elsewhere")
    (tree / "kept/tool").chmod(0o755)
    (tree / "kept/becomes-link").unlink()
    (tree / "kept/becomes-link").symlink_to("/etc/passwd")
    (tree / "kept/becomes-folder").unlink()
    (tree / "kept/becomes-folder").mkdir()
    (tree / "kept/becomes-folder/new").write_text("new")
    (tree / "added").mkdir()
    (tree / "added/ new\n-name").write_bytes(b"\0\xff")
    (tree / ".gitignore").write_text("*.tmp\nhidden\nsecrets/\n")
    (tree / "hidden").write_text("refused work that nobody was to see")
    (tree / "secrets").mkdir()
    (tree / "secrets/deep").write_text("as well")
    refused = job.commit_stage("refused", at_epoch_seconds=2)
    assert refused
    assert job.revert(refused, at_epoch_seconds=3)

    assert _everything(tree) == before
    assert not job.is_dirty()
    assert git(tree, "--git-dir", str(job.paths.git), "diff", "--stat", f"{refused}^", job.head) == ""


def test_a_note_for_the_agent_is_in_no_diff_and_follows_nothing_that_the_agent_made(
    job: JobTree, tmp_path: Path
) -> None:
    git_dir, note = job.paths.tree / ".git", job.paths.tree / ".git/bakeoff/tasks.json"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tasks.json").write_text("somebody's")

    def fresh(text: str) -> bool:
        return leave_note(git_dir, "tasks.json", text) and note.read_text() == text

    assert fresh("one")
    assert git(job.paths.tree, "status", "--porcelain") == ""
    assert not job.is_dirty()
    note.unlink()
    note.symlink_to(outside / "tasks.json")
    assert fresh("two")
    remove_tree(note.parent)
    note.parent.symlink_to(outside)
    assert fresh("three")
    remove_tree(note.parent)
    note.parent.write_text("a file")
    assert fresh("four")
    note.parent.chmod(0)
    git_dir.chmod(0)
    assert fresh("five")
    remove_tree(git_dir)
    assert not leave_note(git_dir, "tasks.json", "six")
    git_dir.symlink_to(outside)
    assert not leave_note(git_dir, "tasks.json", "seven")
    assert [path.name for path in outside.iterdir()] == ["tasks.json"]
    assert (outside / "tasks.json").read_text() == "somebody's"
