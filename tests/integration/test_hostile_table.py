"""Every hostile thing that an agent or an author can leave, against every operation of ours that meets it.

Two canaries tell after each operation: a file that exists as soon as anything planted was run, and a folder outside
that must stay as it is to the byte and the nanosecond.
"""

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.storage.artifacts import ArtifactStore
from workers.collecting import ArchiveLimits, archive
from workers.disk import disk_use, remove_tree
from workers.owned import put
from workers.supervision.transcript import BoundedFile
from workers.worktrees.collect import changed_files, clean_checkout, diff_stat, write_bundle, write_patch
from workers.worktrees.git import Git, GitError
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import inspect_source, parse_source
from workers.worktrees.staging import StagingLimits
from workers.worktrees.worktree import JobTree

AT = 1_700_000_000
GIT = Git(host_env=os.environ)
KEY = JobKey(experiment="e", target="t", profile="p", repeat=1, attempt="1")
GIB = 1024**3
SPARSE_BYTES = 10 * GIB
DEEP = 1500  # levels: past the longest path that a system call takes, and past Python's recursion


def git(cwd: Path, *args: str, stdin: bytes = b"") -> str:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": os.devnull}
    options = ["-c", "user.name=u", "-c", "user.email=u@localhost", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *options, *args], cwd=cwd, env=env, capture_output=True, input=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


@dataclass
class Scene:
    """A job's tree and the canaries."""

    root: Path
    repo: Path
    job: JobTree
    expected: dict[str, bytes | None] = field(default_factory=dict)  # after the commit; None: not in it

    @property
    def tree(self) -> Path:
        return self.job.paths.tree

    @property
    def logs(self) -> Path:
        return self.job.paths.logs

    @property
    def canary(self) -> Path:
        return self.root / "EXECUTED"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def victim(self) -> Path:
        return self.outside / "victim"

    def bait(self) -> str:
        """A configuration in which everything that git can be told to run leaves the canary."""
        run = f"touch {self.canary}; cat"
        keys = {
            "core": ("fsmonitor", "sshCommand", "gitProxy", "askPass", "editor", "pager", "alternateRefsCommand"),
            'filter "evil"': ("clean", "smudge", "process"),
            'diff "evil"': ("command", "textconv"),
            'merge "evil"': ("driver",),
            "diff": ("external",),
            "credential": ("helper",),
            "uploadpack": ("packObjectsHook",),
            "gpg": ("program",),
            "sequence": ("editor",),
        }
        return "".join(
            f"[{part}]\n" + "".join(f'\t{key} = "{run}"\n' for key in names) for part, names in keys.items()
        )

    def state(self) -> object:
        paths = sorted((self.outside, *self.outside.rglob("*")))
        there = [(str(path), (found := path.lstat()).st_mode, found.st_mtime_ns, found.st_size) for path in paths]
        return there, self.victim.read_bytes(), sorted(path.name for path in self.root.iterdir())

    def blob(self, path: str) -> bytes | None:
        entry = GIT.run(["ls-tree", "-z", self.job.head, "--", path], self.job.place)
        return GIT.run(["cat-file", "blob", entry.split()[2].decode()], self.job.place) if entry else None


def make_repo(path: Path) -> Path:
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "a.txt").write_text("a\n")
    (path / "d").mkdir()
    (path / "d/f").write_text("f\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "base")
    return path


def prepared(root: Path, repo: Path, limits: StagingLimits | None = None) -> JobTree:
    mirror = Mirror(root / "mirrors", parse_source(str(repo), relative_to=root), GIT)
    sha = mirror.resolve("HEAD")
    assert sha is not None
    job = JobTree(root / "runs", KEY, mirror, GIT, limits=limits)
    job.prepare(sha)
    return job


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    for name in ("outside", "out", "artifacts"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside/victim").write_text("precious\n")
    repo = make_repo(tmp_path / "repo")
    made = Scene(tmp_path, repo, prepared(tmp_path, repo))
    yield made
    made.job.release()
    if made.job.paths.run.is_dir():
        remove_tree(made.job.paths.run)  # the deep folders are too deep for pytest


# -- what an agent leaves in its tree, its logs and its run directory --

AgentPlant = Callable[[Scene], None]


def configuration_in_its_git(scene: Scene) -> None:
    (scene.tree / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (scene.tree / ".git/config").open("a").write(scene.bait())
    scene.expected["a.txt"] = b"changed\n"


def configuration_by_include(scene: Scene) -> None:
    (scene.outside / "evil.config").write_text(scene.bait())
    path = f"\tpath = {scene.outside}/evil.config\n"
    text = f'[include]\n{path}[includeIf "gitdir:/"]\n{path}'
    for config in (scene.tree / ".git/config", scene.job.paths.git / "config"):
        config.open("a").write(text)
    (scene.tree / ".gitattributes").write_text("* filter=evil diff=evil\n")


def worktree_elsewhere(scene: Scene) -> None:
    for config in (scene.tree / ".git/config", scene.job.paths.git / "config"):
        config.open("a").write(f"[core]\n\tworktree = {scene.outside}\n[extensions]\n\tworktreeConfig = true\n")
    (scene.job.paths.git / "config.worktree").write_text(scene.bait())


def alternates_elsewhere(scene: Scene) -> None:
    for git_dir in (scene.tree / ".git", scene.job.paths.git):
        (git_dir / "objects/info/alternates").write_text(f"{scene.outside}\n")


def git_as_a_file(scene: Scene) -> None:
    remove_tree(scene.tree / ".git")
    git(scene.outside, "init", "-q", "--bare", "evil.git")
    (scene.outside / "evil.git/config").open("a").write(scene.bait())
    (scene.tree / ".git").write_text(f"gitdir: {scene.outside}/evil.git\n")


def attributes_of_every_kind(scene: Scene) -> None:
    kinds = "ident eol=crlf text=auto working-tree-encoding=UTF-16 export-subst filter=lfs"
    (scene.tree / ".gitattributes").write_text(f"* {kinds}\n")
    odd = b"$Id$ $Format:%H$\r\n\xff\xfe\n"
    (scene.tree / "odd").write_bytes(odd)
    scene.expected["odd"] = odd


def links_in_the_place_of_gits_files(scene: Scene) -> None:
    for name in (".gitattributes", ".gitmodules", ".gitignore", ".mailmap"):
        (scene.tree / name).symlink_to(scene.victim)
    scene.expected |= {".gitmodules": None, ".gitignore": str(scene.victim).encode()}


def links_out_of_the_tree(scene: Scene) -> None:
    (scene.tree / "link").symlink_to(scene.victim)
    remove_tree(scene.tree / "d")
    (scene.tree / "d").symlink_to(scene.outside)
    scene.expected |= {"link": str(scene.victim).encode(), "d": str(scene.outside).encode()}


def names_like_git(scene: Scene) -> None:
    for name in (".GIT", "GIT~1", ".git ", ".git.", ".g\u200cit"):
        (scene.tree / name).mkdir()
        (scene.tree / name / "config").write_text(scene.bait())
        scene.expected[f"{name}/config"] = None
    scene.expected[".g\u200cit/config"] = scene.bait().encode()  # such names mean `.git` on other systems only
    (scene.tree / "a\\.git\\x").write_text("x")
    (scene.tree / "back\\slash").write_text("x")
    scene.expected |= {"a\\.git\\x": None, "back\\slash": b"x"}


def names_of_every_kind(scene: Scene) -> None:
    names = [
        *(b"-rf", b"--output=new", b"new\nline", b"\x1b[31mred\x07", b"\r", b"q\"uo'te"),
        *(b"not-\xff-utf8", b" ", b":(top)x", b"*", b"$(touch x)", b";id", b"n" * 255, "\u202egnp.exe".encode()),
        *("u\u0308".encode(), "\u00fc".encode(), b"Case", b"case"),
    ]
    for name in names:
        Path(os.fsdecode(bytes(scene.tree) + b"/" + name)).write_bytes(name)
        scene.expected[os.fsdecode(name)] = name


def a_path_deeper_than_paths_go(scene: Scene) -> None:
    _dig(scene.tree)
    _dig(scene.job.paths.home)
    _dig(scene.logs)


def _dig(folder: Path) -> None:
    with chdir(folder):
        for _ in range(DEEP):
            Path("dddd").mkdir()
            os.chdir("dddd")
        Path("bottom").write_text("x")


def things_that_are_no_files(scene: Scene) -> None:
    for folder in (scene.tree, scene.logs):
        os.mkfifo(folder / "pipe.log")
        with socket.socket(socket.AF_UNIX) as made, chdir(folder):
            made.bind("socket.log")
        if os.geteuid() == 0:
            with suppress(PermissionError):
                os.mknod(folder / "device.log", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    scene.expected |= {"pipe.log": None, "socket.log": None, "device.log": None}


def a_file_of_ten_gigabytes(scene: Scene) -> None:
    for path in (scene.tree / "huge", scene.logs / "huge.log"):
        with path.open("wb") as file:
            file.truncate(SPARSE_BYTES)
    scene.expected["huge"] = None


def second_names_of_a_file_outside(scene: Scene) -> None:
    (scene.tree / "second").hardlink_to(scene.victim)
    for path in (
        scene.logs / "01-run.prompt.md",
        scene.logs / "01-run.transcript",
        scene.job.paths.run / "changes.patch",
    ):
        path.hardlink_to(scene.victim)
    scene.expected["second"] = b"precious\n"


def links_in_the_place_of_our_files(scene: Scene) -> None:
    for path in (scene.logs / "01-run.prompt.md", scene.logs / "01-run.transcript"):
        path.symlink_to(scene.victim)
    (scene.job.paths.run / "changes.patch").symlink_to(scene.outside / "new")
    (scene.job.paths.run / "commits.bundle").symlink_to(scene.victim)


def folders_in_the_place_of_our_files(scene: Scene) -> None:
    for name in ("logs/01-run.prompt.md", "logs/01-run.transcript", "changes.patch", "commits.bundle"):
        (scene.job.paths.run / name / "full").mkdir(parents=True)


def folders_of_ours_that_lead_outside(scene: Scene) -> None:
    for folder in (scene.logs, scene.job.paths.home, scene.job.paths.tmp):
        remove_tree(folder)
        folder.symlink_to(scene.outside)


def folders_without_rights(scene: Scene) -> None:
    (scene.tree / "locked/inner").mkdir(parents=True)
    (scene.tree / "locked/inner/f").write_text("f")
    (scene.tree / "secret").write_text("s")
    (scene.tree / "setuid").write_text("#!/bin/sh\n")
    (scene.tree / "setuid").chmod(0o6755)
    for path, mode in ((scene.tree / "secret", 0), (scene.tree / "locked", 0), (scene.logs, 0), (scene.tree, 0o500)):
        path.chmod(mode)


def a_nested_bare_repository(scene: Scene) -> None:
    git(scene.tree, "init", "-q", "--bare", "bare")
    (scene.tree / "bare/config").open("a").write(scene.bait())
    scene.expected["bare/HEAD"] = b"ref: refs/heads/master\n"


def a_submodule_of_its_own(scene: Scene) -> None:
    (scene.tree / ".gitmodules").write_text(
        f'[submodule "../../evil"]\n\tpath = sub\n\turl = ext::touch% {scene.canary}\n\tupdate = !touch x\n'
    )
    git(scene.tree, "init", "-q", "sub")
    (scene.tree / "sub/.git/config").open("a").write(scene.bait())
    (scene.tree / "sub/f").write_text("f")
    scene.expected["sub/f"] = b"f"


def logs_that_share_a_name(scene: Scene) -> None:
    for folder in ("one", "two"):
        (scene.logs / folder).mkdir()
        (scene.logs / folder / ("n" * 200)).write_text(folder)
    Path(os.fsdecode(bytes(scene.logs) + b"/\xff.log")).write_text("x")


PLANTS: list[AgentPlant] = [
    configuration_in_its_git,
    configuration_by_include,
    worktree_elsewhere,
    alternates_elsewhere,
    git_as_a_file,
    attributes_of_every_kind,
    links_in_the_place_of_gits_files,
    links_out_of_the_tree,
    names_like_git,
    names_of_every_kind,
    a_path_deeper_than_paths_go,
    things_that_are_no_files,
    a_file_of_ten_gigabytes,
    second_names_of_a_file_outside,
    links_in_the_place_of_our_files,
    folders_in_the_place_of_our_files,
    folders_of_ours_that_lead_outside,
    folders_without_rights,
    a_nested_bare_repository,
    a_submodule_of_its_own,
    logs_that_share_a_name,
]


def _commit(scene: Scene) -> None:
    assert scene.job.commit_stage("stage", at_epoch_seconds=AT)
    assert {path: scene.blob(path) for path in scene.expected} == scene.expected
    assert not scene.job.is_dirty(), "what no commit can take must not look like work that is left"


def _prompt(scene: Scene) -> None:
    put(scene.logs / "01-run.prompt.md", "do it")
    assert (scene.logs / "01-run.prompt.md").read_text() == "do it"


def _transcript(scene: Scene) -> None:
    with BoundedFile(scene.logs / "01-run.transcript", 1000) as file:
        file.write(b"said")


def _archive(scene: Scene) -> None:
    store = ArtifactStore(scene.root / "artifacts")
    kept = archive(store, scene.job, ArchiveLimits(max_file_bytes=1_000_000, max_total_bytes=3_000_000))
    names = [record.name for record in kept.records]
    assert len(set(names)) == len(names)
    assert all(name.encode() and len(name) <= 128 for name in names)
    assert {"changes.patch", "commits.bundle", "01-run.prompt.md", "01-run.transcript"} <= set(names)
    assert sum(record.size_bytes for record in kept.records) < 4_000_000
    assert b"precious" not in store.read(next(r.sha256 for r in kept.records if r.name == "01-run.transcript"))


def _checkout(scene: Scene) -> None:
    into = scene.root / "out/clean"
    clean_checkout(scene.job, scene.job.head, into)
    git(into, "status", "--porcelain")


def _revert(scene: Scene) -> None:
    assert scene.job.revert(scene.job.head, at_epoch_seconds=AT)
    assert scene.blob("a.txt") == b"a\n"


OPERATIONS: dict[str, Callable[[Scene], object]] = {
    "disk": lambda scene: disk_use(scene.job.paths.run),
    "status": lambda scene: scene.job.is_dirty(),
    "commit": _commit,
    "prompt": _prompt,
    "transcript": _transcript,
    "patch": lambda scene: write_patch(scene.job, scene.root / "out/p"),
    "bundle": lambda scene: write_bundle(scene.job, scene.root / "out/b"),
    "diff": lambda scene: (changed_files(scene.job), diff_stat(scene.job)),
    "archive": _archive,
    "checkout": _checkout,
    "revert": _revert,
    "rewind": lambda scene: scene.job.rewind(scene.job.base),
    "remove": lambda scene: remove_tree(scene.job.paths.run),
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_an_agent_leaves_runs_nothing_and_nothing_is_written_outside(plant: AgentPlant, scene: Scene) -> None:
    (scene.tree / "a.txt").write_text("changed\n")
    plant(scene)
    before = scene.state()
    for name, operation in OPERATIONS.items():
        operation(scene)
        assert not scene.canary.exists(), f"{name} ran what was planted"
        assert scene.state() == before, f"{name} wrote outside"
    assert not scene.job.paths.run.exists()


# -- what an agent does to our own git directory: nothing is written through it, and that is an error of its own --


def _replace_by_link(part: str) -> AgentPlant:
    def plant(scene: Scene) -> None:
        there = scene.job.paths.run / part
        if there.is_dir():
            remove_tree(there)
        else:
            there.unlink()
        there.symlink_to(scene.outside if "index" not in part else scene.outside / "new")

    return plant


@pytest.mark.parametrize(
    "part", ["git", "git/objects", "git/refs", "git/refs/heads", "git/info", "git/index", "git/objects/info"]
)
def test_a_part_of_our_git_directory_that_leads_outside_is_not_used(part: str, scene: Scene) -> None:
    (scene.tree / "a.txt").write_text("changed\n")
    _replace_by_link(part)(scene)
    before = scene.state()
    with pytest.raises(GitError, match=r"replaced by somebody|is gone"):
        scene.job.commit_stage("stage", at_epoch_seconds=AT)
    assert scene.state() == before


def test_a_run_directory_that_was_moved_away_is_not_followed(scene: Scene) -> None:
    run = scene.job.paths.run
    run.rename(run.with_name("moved"))
    for name in ("git", "tree"):
        (scene.outside / name).mkdir()
    (scene.outside / "lock").touch()
    run.symlink_to(scene.outside)
    before = scene.state()
    with pytest.raises(GitError, match="another folder"):
        scene.job.commit_stage("stage", at_epoch_seconds=AT)
    assert scene.state() == before
    run.unlink()
    remove_tree(run.with_name("moved"))


def test_a_tracked_file_of_gits_that_became_a_link_stays_as_it_was_recorded(scene: Scene) -> None:
    (scene.tree / ".gitmodules").write_text("")
    assert scene.job.commit_stage("one", at_epoch_seconds=AT)
    (scene.tree / ".gitmodules").unlink()
    (scene.tree / ".gitmodules").symlink_to(scene.victim)
    assert scene.job.commit_stage("two", at_epoch_seconds=AT) is None
    assert [(note.path, note.reason) for note in scene.job.skipped] == [
        (".gitmodules", "git takes no file of this name")
    ]
    assert scene.blob(".gitmodules") == b""
    assert not scene.job.is_dirty()


# -- floods --


def test_a_flood_of_files_is_bounded_in_number_and_in_notes(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    job = prepared(tmp_path, repo, StagingLimits(max_new_files=20, max_notes=5))
    for number in range(60):
        (job.paths.tree / f"n{number:02}").touch()
    (job.paths.tree / "a.txt").write_text("changed\n")
    assert job.commit_stage("stage", at_epoch_seconds=AT)
    assert len(changed_files(job)) == 21
    assert [note.path for note in job.skipped] == ["n20", "n21", "n22", "n23", "n24", ""]
    assert job.skipped[-1].reason == "35 more paths were left out"


def test_a_flood_of_names_is_cut_before_it_fills_the_memory(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    job = prepared(tmp_path, repo, StagingLimits(max_listing_bytes=100))
    for number in range(60):
        (job.paths.tree / f"n{number:02}").touch()
    assert job.commit_stage("stage", at_epoch_seconds=AT)
    assert 10 < len(changed_files(job)) < 30
    assert [note.reason for note in job.skipped] == ["more than 100 bytes of names"]


# -- what the author of a repository leaves --

AuthorPlant = Callable[[Scene], None]


def _tree(scene: Scene, *entries: tuple[str, bytes, str]) -> str:
    data = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
    return git(scene.repo, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=data)


def _commit_tree(scene: Scene, tree: str) -> None:
    git(scene.repo, "update-ref", "refs/heads/main", git(scene.repo, "commit-tree", tree, "-m", "x"))


def source_configuration(scene: Scene) -> None:
    (scene.outside / "evil.config").write_text(scene.bait())
    config = scene.repo / ".git/config"
    config.open("a").write(f"{scene.bait()}[include]\n\tpath = {scene.outside}/evil.config\n")
    config.open("a").write(
        f'[core]\n\tworktree = {scene.outside}\n[url "ext::touch {scene.canary}"]\n\tinsteadOf = /\n'
    )
    for name in ("post-checkout", "pre-auto-gc", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        hook = scene.repo / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {scene.canary}\n")
        hook.chmod(0o755)


def source_alternates(scene: Scene) -> None:
    (scene.repo / ".git/objects/info").mkdir(exist_ok=True)
    (scene.repo / ".git/objects/info/alternates").write_text(f"{scene.outside}\n/nonexistent\n")


def source_references_with_odd_names(scene: Scene) -> None:
    head = git(scene.repo, "rev-parse", "HEAD")
    names = ("-upload-pack=x", "a;id", "$(id)", "\u202ex", "`id`", "!x", '"')
    lines = "".join(f"{head} refs/heads/{name}\n" for name in sorted(names))
    (scene.repo / ".git/packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted\n{lines}")


def source_submodules(scene: Scene) -> None:
    sha = git(scene.repo, "rev-parse", "HEAD")
    urls = ("ext::touch {c}", "fd::3", "../../../outside", "{o}", "-u./x", "file:///etc")
    text = "".join(
        f'[submodule "../m{number}"]\n\tpath = s{number}\n\turl = {url.format(c=scene.canary, o=scene.outside)}\n'
        for number, url in enumerate(urls)
    )
    (scene.repo / ".gitmodules").write_text(text)
    git(scene.repo, "add", ".gitmodules")
    for number in range(len(urls) + 1):  # the last has no entry
        git(scene.repo, "update-index", "--add", "--cacheinfo", f"160000,{sha},s{number}")
    git(scene.repo, "commit", "-qm", "submodules")


def source_links(scene: Scene) -> None:
    for name in ("TASK.md", ".gitignore", ".gitattributes", "out"):
        (scene.repo / name).symlink_to(scene.victim)
    git(scene.repo, "add", "-A")
    git(scene.repo, "commit", "-qm", "links")


def source_names(scene: Scene) -> None:
    blob = git(scene.repo, "hash-object", "-w", "a.txt")
    names = (b"-rf", b"new\nline", b"\x1b[31m", b"\xff", b"n" * 255, b"Case", b"case", "\u202e".encode(), b"$(x)")
    tree = _tree(scene, *(("100644", name, blob) for name in sorted(names)), ("100755", b"z", blob))
    for _ in range(300):
        tree = _tree(scene, ("100644", b"a.txt", blob), ("40000", b"deep", tree))
    _commit_tree(scene, tree)


def source_attributes(scene: Scene) -> None:
    kinds = "ident eol=crlf text=auto working-tree-encoding=UTF-16 export-subst filter=evil diff=evil merge=evil"
    (scene.repo / "a.txt").write_bytes(b"$Id$\n\xff\r\n")
    git(scene.repo, "add", "-A")
    (scene.repo / ".gitattributes").write_text(f"* {kinds}\n[attr]binary text\n")
    blob = git(scene.repo, "hash-object", "-w", "--no-filters", ".gitattributes")
    git(scene.repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},.gitattributes")
    git(scene.repo, "commit", "-qm", "attributes")


def source_that_unpacks_to_much(scene: Scene) -> None:
    (scene.repo / "zeros").write_bytes(bytes(20_000_000))
    git(scene.repo, "add", "-A")
    git(scene.repo, "commit", "-qm", "zeros")


AUTHORS: list[AuthorPlant] = [
    source_configuration,
    source_alternates,
    source_references_with_odd_names,
    source_submodules,
    source_links,
    source_names,
    source_attributes,
    source_that_unpacks_to_much,
]


@pytest.mark.parametrize("plant", AUTHORS, ids=lambda plant: plant.__name__)
def test_what_an_author_leaves_runs_nothing_and_nothing_is_written_outside(
    plant: AuthorPlant, tmp_path: Path
) -> None:
    for name in ("outside", "out", "artifacts", "mirrors", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside/victim").write_text("precious\n")
    repo = make_repo(tmp_path / "repo")
    mirror = Mirror(tmp_path / "mirrors", parse_source(str(repo), relative_to=tmp_path), GIT)
    scene = Scene(tmp_path, repo, JobTree(tmp_path / "runs", KEY, mirror, GIT))
    plant(scene)
    before = scene.state()
    inspect_source(str(repo), relative_to=tmp_path, git=GIT)
    scene.job = prepared(tmp_path, repo)
    sha = scene.job.base
    assert scene.job.mirror.read_file(sha, "TASK.md", max_bytes=1000) is None
    assert not scene.job.is_dirty(), "a checkout is no change, whatever attributes and names it has"
    assert scene.state() == before
    (scene.tree / "a.txt").write_text("changed\n")
    for name, operation in OPERATIONS.items():
        if name == "revert" and plant is source_attributes:
            continue  # its a.txt is another one
        operation(scene)
        assert not scene.canary.exists(), f"{name} ran what was planted"
        assert scene.state() == before, f"{name} wrote outside"


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".git ", "..", ".", "d/../../x"])
def test_a_tree_with_a_forbidden_name_is_refused_whole(name: str, scene: Scene) -> None:
    blob = git(scene.repo, "hash-object", "-w", "a.txt")
    _commit_tree(scene, _tree(scene, ("40000", name.encode(), _tree(scene, ("100755", b"evil", blob)))))
    job = JobTree(scene.root / "runs2", KEY, scene.job.mirror, GIT)
    sha = scene.job.mirror.resolve("HEAD")
    assert sha is not None
    with pytest.raises(GitError):
        job.prepare(sha)
    assert not list((scene.root / "runs2").rglob("evil"))
