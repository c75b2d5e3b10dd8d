"""A hostile repository or agent cannot make our git run anything, read elsewhere or write outside the tree."""

import os
import stat
import subprocess
from contextlib import chdir, suppress
from pathlib import Path

import pytest

from workers.worktrees.collect import changed_files, clean_checkout, diff_stat, write_bundle, write_patch
from workers.worktrees.git import Git, GitError
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import BadSource, inspect_source, parse_source
from workers.worktrees.worktree import JobTree

AT = 1_700_000_000
GIT = Git(host_env=os.environ)


def git(cwd: Path, *args: str, ok: bool = True) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    options = ["-c", "user.name=u", "-c", "user.email=u@localhost", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *options, *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0 or not ok, done.stderr
    return done.stdout.strip()


class Trap:
    """A file that exists as soon as anything planted was run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, name: str) -> str:
        return f"echo {name} >> {self.path}; cat"

    def plant(self, git_dir: Path) -> None:
        """Every way known to make git run a program from a repository's own files."""
        config = {
            "core.fsmonitor": f"echo fsmonitor >> {self.path}; false",
            "core.editor": self.command("editor"),
            "core.pager": self.command("pager"),
            "core.sshCommand": self.command("ssh"),
            "core.alternateRefsCommand": self.command("alternateRefs"),
            "diff.external": self.command("external"),
            "diff.evil.command": self.command("driver"),
            "diff.evil.textconv": self.command("textconv"),
            "filter.evil.clean": self.command("clean"),
            "filter.evil.smudge": self.command("smudge"),
            "filter.evil.process": self.command("process"),
            "merge.evil.driver": self.command("merge"),
            "uploadpack.packObjectsHook": self.command("packObjectsHook"),
            "credential.helper": f"!{self.command('credential')}",
            "gpg.program": str(self.path.with_suffix(".gpg")),
            "commit.gpgSign": "true",
            "alias.status": f"!{self.command('alias')}",
        }
        for name, value in config.items():
            git(git_dir, "config", "--file", str(git_dir / "config"), name, value)
        hooks = git_dir / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("pre-commit", "post-checkout", "post-commit", "post-index-change", "reference-transaction"):
            hook = hooks / name
            hook.write_text(f"#!/bin/sh\necho {name} >> {self.path}\n")
            hook.chmod(0o755)

    def assert_silent(self) -> None:
        assert not self.path.exists(), self.path.read_text()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "EXECUTED")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "-q")
    (path / "a.txt").write_text("a\n")
    (path / "d").mkdir()
    (path / "d/passwd").write_text("tracked\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "base")
    return path


def tree_of(repo: Path, tmp_path: Path) -> JobTree:
    mirror = Mirror(tmp_path / "mirrors", parse_source(str(repo), relative_to=tmp_path), GIT)
    sha = mirror.resolve("HEAD")
    assert sha is not None
    key = JobKey(experiment="e", target="t", profile="p", repeat=1, attempt="1")
    job = JobTree(tmp_path / "runs", key, mirror, GIT)
    job.prepare(sha)
    return job


@pytest.fixture
def job(repo: Path, tmp_path: Path) -> JobTree:
    return tree_of(repo, tmp_path)


def everything(job: JobTree, out: Path) -> str:
    """Every call of ours that looks at the tree."""
    job.is_dirty()
    sha = job.commit_stage("stage", at_epoch_seconds=AT)
    assert sha
    write_patch(job, out / "p")
    write_bundle(job, out / "b")
    changed_files(job)
    diff_stat(job)
    clean_checkout(job, sha, out / "clean")
    return sha


def blob(job: JobTree, path: str) -> bytes:
    return GIT.run(["cat-file", "blob", f"{job.head}:{path}"], job.place)


# -- a hostile agent --


def test_the_trap_works_on_an_ordinary_git(job: JobTree, trap: Trap) -> None:
    """The other tests mean something only if the same plants fire where nothing is hardened."""
    trap.plant(job.paths.tree / ".git")
    git(job.paths.tree, "diff", ok=False)
    assert trap.path.exists()


def test_planted_configuration_hooks_filters_and_attributes_stay_dead(
    job: JobTree, trap: Trap, tmp_path: Path
) -> None:
    tree = job.paths.tree
    trap.plant(tree / ".git")
    (tree / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (tree / "a.txt").write_text("changed\n")
    everything(job, tmp_path)
    trap.assert_silent()
    assert blob(job, "a.txt") == b"changed\n"


def test_planting_into_our_own_git_directory_does_not_help_either(job: JobTree, trap: Trap, tmp_path: Path) -> None:
    trap.plant(job.paths.git)
    (job.paths.git / "info/attributes").write_text("* filter=evil diff=evil\n")
    (job.paths.git / "config.worktree").write_text("[core]\n\tfsmonitor = x\n")
    (job.paths.tree / "a.txt").write_text("changed\n")
    everything(job, tmp_path)
    trap.assert_silent()


def test_a_deep_folder_in_our_git_directory_costs_no_work(job: JobTree) -> None:
    (job.paths.git / "hooks").mkdir(exist_ok=True)
    with chdir(job.paths.git / "hooks"):
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
    (job.paths.tree / "work").write_text("mine\n")
    assert job.commit_stage("s", at_epoch_seconds=0)


def test_huge_files_in_our_git_directory_fill_no_memory(job: JobTree) -> None:
    with (job.paths.git / "config").open("wb") as file:
        file.truncate(1 << 42)
    (job.paths.tree / "work").write_text("mine\n")
    assert job.commit_stage("s", at_epoch_seconds=0)
    with (job.paths.git / job.branch_ref).open("wb") as file:
        file.truncate(1 << 42)
    job.release()
    with pytest.raises(GitError, match="was not prepared to the end"):
        job.reopen()


def test_the_hosts_own_git_settings_do_not_count(job: JobTree, trap: Trap, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("")
    git(home, "config", "--file", str(home / ".gitconfig"), "core.excludesFile", str(home / "ignore"))
    git(home, "config", "--file", str(home / ".gitconfig"), "diff.external", trap.command("external"))
    (home / "ignore").write_text("*\n")
    poisoned = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "elsewhere"),
        "GIT_EXTERNAL_DIFF": trap.command("env"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": trap.command("fsmonitor"),
    }
    job.git = Git(host_env={**os.environ, **poisoned})
    (job.paths.tree / "new").write_text("kept\n")
    everything(job, tmp_path)
    assert blob(job, "new") == b"kept\n"
    trap.assert_silent()


def test_work_in_nested_repositories_is_kept_as_files_and_they_run_nothing(
    job: JobTree, trap: Trap, tmp_path: Path
) -> None:
    tree = job.paths.tree
    for name in ("empty", "outer"):
        (tree / name).mkdir()
        git(tree / name, "init", "-q")
    (tree / "outer/f").write_text("f\n")
    (tree / "outer/.gitignore").write_text("skip\n")
    (tree / "outer/skip").write_text("ignored there\n")
    git(tree / "outer", "add", "-A")
    git(tree / "outer", "commit", "-qm", "theirs")
    (tree / "outer/inner").mkdir()
    git(tree / "outer/inner", "init", "-q")
    (tree / "outer/inner/g").write_text("g\n")
    trap.plant(tree / "outer/.git")
    (tree / "d/.git").mkdir()
    (tree / "d/.git/HEAD").write_text("ref: refs/heads/x\n")
    (tree / "d/passwd").write_text("changed\n")
    everything(job, tmp_path)
    paths = {item.path for item in changed_files(job)}
    assert paths == {"outer/f", "outer/.gitignore", "outer/inner/g", "d/passwd"}
    assert {item.path for item in job.skipped} == {"empty/", "outer/", "outer/inner/"}
    trap.assert_silent()
    (tree / "outer/f").write_text("again\n")
    assert job.commit_stage("a second stage", at_epoch_seconds=AT)
    assert blob(job, "outer/f") == b"again\n"
    trap.assert_silent()


def test_links_out_of_the_tree_are_recorded_as_links_and_not_followed(job: JobTree, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "passwd").write_text("SECRET")
    tree = job.paths.tree
    (tree / "d/passwd").unlink()
    (tree / "d").rmdir()
    (tree / "d").symlink_to(secret)
    (tree / "direct").symlink_to(secret / "passwd")
    (tree / "dangling").symlink_to("/nonexistent")
    everything(job, tmp_path)
    assert blob(job, "d") == str(secret).encode()
    assert {item.path: item.status for item in changed_files(job)} == {
        "d": "A",
        "d/passwd": "D",
        "direct": "A",
        "dangling": "A",
    }
    assert b"SECRET" not in (tmp_path / "p").read_bytes()


def test_a_tree_replaced_by_a_link_is_an_emptied_tree(job: JobTree, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text("SECRET")
    job.paths.tree.rename(tmp_path / "moved")
    job.paths.tree.symlink_to(private)
    assert job.commit_stage("s", at_epoch_seconds=AT)
    assert {item.status for item in changed_files(job)} == {"D"}
    assert (private / "key").read_text() == "SECRET"
    job.paths.tree.rmdir()
    assert job.commit_stage("gone altogether", at_epoch_seconds=AT) is None


def test_odd_names_survive(job: JobTree, tmp_path: Path) -> None:
    names = [
        "-rf",
        "--output=x",
        "new\nline",
        "tab\there",
        'quo"te',
        " lead",
        ":(top)x",
        "*",
        "ümlaut",
        "back\\slash",
    ]
    raw = b"not-\xff-utf8"
    for name in names:
        (job.paths.tree / name).write_text(name)
    Path(os.fsdecode(os.fsencode(job.paths.tree) + b"/" + raw)).write_text("raw")
    everything(job, tmp_path)
    assert {item.path for item in changed_files(job)} == {*names, os.fsdecode(raw)}
    (job.paths.tree / "new\nline").unlink()
    (job.paths.tree / "-rf").write_text("changed")
    assert job.commit_stage("again", at_epoch_seconds=AT)
    assert "new\nline" not in {item.path for item in changed_files(job)}
    assert blob(job, "-rf") == b"changed"


def test_files_and_folders_may_change_places_and_kinds(job: JobTree, tmp_path: Path) -> None:
    tree = job.paths.tree
    (tree / "a.txt").unlink()
    (tree / "a.txt").mkdir()
    (tree / "a.txt/in").write_text("x")
    (tree / "d/passwd").unlink()
    (tree / "d").rmdir()
    (tree / "d").write_text("a file now")
    os.mkfifo(tree / "pipe")
    everything(job, tmp_path)
    assert {item.path: item.status for item in changed_files(job)} == {
        "a.txt": "D",
        "a.txt/in": "A",
        "d": "A",
        "d/passwd": "D",
    }
    (tree / "a.txt/in").unlink()
    os.mkfifo(tree / "a.txt/in")
    assert job.commit_stage("a pipe in a file's place", at_epoch_seconds=AT)
    assert "a.txt/in" not in {item.path for item in changed_files(job)}


def test_a_change_that_hides_behind_its_old_time_and_size_is_seen(job: JobTree, tmp_path: Path) -> None:
    file = job.paths.tree / "a.txt"
    before = file.stat()
    file.write_text("b\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    everything(job, tmp_path)
    assert blob(job, "a.txt") == b"b\n"


def test_the_agents_index_tricks_do_not_hide_changes(job: JobTree, tmp_path: Path) -> None:
    tree = job.paths.tree
    git(tree, "update-index", "--assume-unchanged", "a.txt")
    git(tree, "update-index", "--skip-worktree", "d/passwd")
    (tree / ".git/info/exclude").write_text("*\n")
    (tree / "a.txt").write_text("x\n")
    (tree / "d/passwd").write_text("x\n")
    (tree / "new").write_text("x\n")
    everything(job, tmp_path)
    assert {item.path for item in changed_files(job)} == {"a.txt", "d/passwd", "new"}


def test_attributes_cannot_hide_content_from_the_patch(job: JobTree, tmp_path: Path) -> None:
    (job.paths.tree / ".gitattributes").write_text("* -diff -text binary export-ignore\n")
    (job.paths.tree / "a.txt").write_text("visible\n")
    everything(job, tmp_path)
    assert b"+visible\n" in (tmp_path / "p").read_bytes()


def test_a_destroyed_git_directory_of_the_agents_loses_no_work(job: JobTree, tmp_path: Path) -> None:
    dot_git = job.paths.tree / ".git"
    dot_git.rename(tmp_path / "away")
    dot_git.symlink_to("/nonexistent")
    (job.paths.tree / "a.txt").write_text("kept\n")
    everything(job, tmp_path)
    assert blob(job, "a.txt") == b"kept\n"


@pytest.mark.parametrize("part", [".git", ".git/objects", ".git/refs", ".git/refs/heads/bakeoff"])
def test_a_setup_that_links_parts_of_git_elsewhere_makes_us_write_nothing_there(
    job: JobTree, tmp_path: Path, part: str
) -> None:
    outside = tmp_path / "outside"
    (job.paths.tree / part).rename(outside)
    (job.paths.tree / part).symlink_to(outside)
    before = sorted((path, path.lstat().st_mtime_ns) for path in outside.rglob("*"))
    (job.paths.tree / "deps").write_text("x")
    assert job.baseline(at_epoch_seconds=AT) != job.base
    assert sorted((path, path.lstat().st_mtime_ns) for path in outside.rglob("*")) == before


def test_removal_deletes_links_not_what_they_name(job: JobTree, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    (job.paths.home / "link").symlink_to(tmp_path / "precious")
    job.remove(None)
    assert (tmp_path / "precious/file").exists()


def test_the_mirror_is_not_written_by_ordinary_use_of_the_agents_git(job: JobTree) -> None:
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in job.mirror.path.rglob("*") if path.is_file()}

    before, tree = state(), job.paths.tree
    (tree / "a.txt").write_text("x\n")
    git(tree, "commit", "-qam", "mine")
    git(tree, "reset", "-q", "--hard", "HEAD~1")
    git(tree, "reflog", "expire", "--expire=now", "--all")
    git(tree, "gc", "-q", "--prune=now")
    git(tree, "repack", "-qad")
    assert state() == before
    assert job.commit_stage("back at the base", at_epoch_seconds=AT) is None


# -- a hostile repository --


def test_a_source_runs_nothing_when_it_is_inspected_and_mirrored(repo: Path, trap: Trap, tmp_path: Path) -> None:
    (repo / ".gitattributes").write_text("* filter=evil diff=evil\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "attributes")
    trap.plant(repo / ".git")
    (repo / "a.txt").write_text("dirty\n")
    assert inspect_source("repo", relative_to=tmp_path, git=GIT).dirty_paths == ("a.txt",)
    job = tree_of(repo, tmp_path)
    (job.paths.tree / "a.txt").write_text("x\n")
    everything(job, tmp_path)
    trap.assert_silent()


def test_a_partial_clone_does_not_fetch_through_its_own_configuration(repo: Path, trap: Trap, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo}", "partial")
    partial = tmp_path / "partial"
    git(partial, "config", "remote.origin.url", f"ext::sh -c touch% {trap.path}")
    git(partial, "config", "remote.origin.uploadpack", f"touch {trap.path}; false")
    git(partial, "config", "protocol.ext.allow", "always")
    with pytest.raises(GitError):
        tree_of(partial, tmp_path)
    trap.assert_silent()


def test_submodules_are_not_initialised_and_their_content_is_noted(repo: Path, trap: Trap, tmp_path: Path) -> None:
    sha = git(repo, "rev-parse", "HEAD")
    (repo / ".gitmodules").write_text(
        f'[submodule "s"]\n\tpath = sub\n\turl = ext::sh -c touch% {trap.path}\n\tupdate = !touch {trap.path}\n'
    )
    git(repo, "add", ".gitmodules")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{sha},sub")
    git(repo, "commit", "-qm", "submodule")
    job = tree_of(repo, tmp_path)
    assert list((job.paths.tree / "sub").iterdir()) == []
    git(job.paths.tree / "sub", "init", "-q")
    trap.plant(job.paths.tree / "sub/.git")
    (job.paths.tree / "sub/f").write_text("x\n")
    (job.paths.tree / "a.txt").write_text("x\n")
    everything(job, tmp_path)
    assert [item.path for item in job.skipped] == ["sub"]
    assert [item.path for item in changed_files(job)] == ["a.txt"]
    trap.assert_silent()


@pytest.mark.parametrize("name", [".git", ".GIT", "..", "."])
def test_a_tree_object_with_a_forbidden_name_is_not_checked_out(repo: Path, tmp_path: Path, name: str) -> None:
    """Made with raw objects, as no ordinary git would: a hook by way of `.git`, a file by way of `..`."""
    payload = git(repo, "hash-object", "-w", "a.txt")
    inner = _tree_object(repo, [(b"100755", b"evil", payload)])
    outer = _tree_object(repo, [(b"40000", name.encode(), inner)])
    git(repo, "update-ref", "refs/heads/main", git(repo, "commit-tree", outer, "-m", "x"))
    with pytest.raises(GitError):
        tree_of(repo, tmp_path)
    assert not list((tmp_path / "runs").rglob("evil"))


def test_a_link_in_the_base_does_not_lead_the_checkout_out_of_the_tree(repo: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    payload = git(repo, "hash-object", "-w", "a.txt")
    (repo / "target").write_text(str(outside))
    link = git(repo, "hash-object", "-w", "target")
    inner = _tree_object(repo, [(b"100644", b"f", payload)])
    outer = _tree_object(repo, [(b"120000", b"x", link), (b"40000", b"x", inner)])
    git(repo, "update-ref", "refs/heads/main", git(repo, "commit-tree", outer, "-m", "x"))
    # Git may refuse the tree or check it out as two things with one name; both are safe.
    with suppress(GitError):
        tree_of(repo, tmp_path)
    assert list(outside.iterdir()) == []


def _tree_object(repo: Path, entries: list[tuple[bytes, bytes, str]]) -> str:
    data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
    made = subprocess.run(
        ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
        cwd=repo,
        input=data,
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.decode().strip()


@pytest.mark.parametrize("address", ["ext::sh -c touch% {0}", "--upload-pack=touch {0}", "ssh://-oProxyCommand=x/y"])
def test_addresses_that_are_commands_are_refused_before_git_sees_them(
    trap: Trap, tmp_path: Path, address: str
) -> None:
    with pytest.raises(BadSource):
        inspect_source(address.format(trap.path), relative_to=tmp_path, git=GIT)
    trap.assert_silent()


@pytest.mark.parametrize("base", ["--output={0}", "-x", "HEAD^{{/x}}", "a b", "$(touch {0})", "main;touch {0}", ""])
def test_a_base_is_never_an_option_or_a_command(repo: Path, trap: Trap, tmp_path: Path, base: str) -> None:
    mirror = Mirror(tmp_path / "mirrors", parse_source(str(repo), relative_to=tmp_path), GIT)
    assert mirror.resolve(base.format(trap.path)) is None
    trap.assert_silent()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to another user needs root")
def test_a_source_of_another_user_works_because_it_was_named(repo: Path, tmp_path: Path) -> None:
    for path in (repo, *repo.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    info = inspect_source("repo", relative_to=tmp_path, git=GIT)
    assert (info.clean, len(info.head_sha or "")) == (True, 40)
    job = tree_of(repo, tmp_path)
    assert stat.S_IMODE(job.paths.home.stat().st_mode) == 0o700
