"""A job's tree from checkout to removal: two git directories over the same files.

The agent gets a `.git` of its own in the tree and may do with it what it likes. Every status, commit and diff of
ours goes through `run_dir/git`, which holds its own index and objects and takes no configuration from the tree. Both
borrow the base's objects from the mirror. The price is one `git read-tree`; the rest is files written by hand.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.domain.errors import Conflict
from workers.disk import remove_tree
from workers.worktrees import gitdir, staging
from workers.worktrees.folders import JobPaths, make_folder
from workers.worktrees.git import Git, GitError, Place
from workers.worktrees.mirror import GONE, Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.staging import Skipped, StagingLimits

IDENTITY = "Bakeoff <bakeoff@localhost>"
_BASE, _BASELINE = "refs/bakeoff/base", "refs/bakeoff/baseline"
# Two files at once pays from about a hundred files on; more workers than cores do not.
_CHECKOUT = ("checkout.workers=2", "checkout.thresholdForParallelism=100")


class NotArchived(Conflict):
    """The tree holds work that is in no artifact yet, so it is not removed."""

    kind = "not_archived"


@dataclass(frozen=True, kw_only=True)
class Archived:
    """Proof that a job's work is kept: the commit that was archived and the artifacts' SHA-256.

    `bundle_sha256` is None only when there is no commit after the base.
    """

    head: str
    patch_sha256: str
    bundle_sha256: str | None


class JobTree:
    """The tree of one attempt. `prepare` makes it; a later process takes it up with `reopen`.

    `skipped` tells what the last commit left out.
    """

    def __init__(
        self, runs: Path, key: JobKey, mirror: Mirror, git: Git, *, limits: StagingLimits | None = None
    ) -> None:
        self.key = key
        self.paths = JobPaths(key.run_dir(runs.resolve()))
        self.mirror = mirror
        self.git = git
        self.skipped: tuple[Skipped, ...] = ()
        self._limits = limits or StagingLimits()
        self._base: str | None = None
        self._baseline: str | None = None
        self._head: str | None = None
        self._lock: BinaryIO | None = None

    @property
    def base(self) -> str:
        """The commit that the job started from."""
        return _known(self._base)

    @property
    def ready(self) -> bool:
        """Whether setup had ended and its baseline was recorded."""
        return self._baseline is not None

    @property
    def start(self) -> str:
        """The commit against which the agent's work is measured: what setup left, or the base."""
        return self._baseline or self.base

    @property
    def head(self) -> str:
        """Our last commit."""
        return _known(self._head)

    @property
    def branch_ref(self) -> str:
        """The full name of the job's branch."""
        return f"refs/heads/{self.key.branch}"

    def prepare(self, sha: str) -> None:
        """Make the tree at a commit of the source. Raises GitError, and Conflict when the directory is in use."""
        self.mirror.ensure(sha)
        try:
            make_folder(self.paths.run)
        except FileExistsError:
            raise Conflict(f"{self.paths.run} exists already; an attempt's directory is never used again") from None
        self._hold()
        for folder in (self.paths.tree, self.paths.home, self.paths.tmp, self.paths.logs):
            folder.mkdir(mode=0o700)
        own = self.paths.git
        gitdir.create(own, head=self.branch_ref, objects=[self.mirror.objects], bare=False)
        gitdir.copy_shallow(self.mirror.shallow, own)
        self.git.run(["read-tree", "--reset", "-u", sha], self.place, config=_CHECKOUT)
        gitdir.create_agents(
            self.paths.tree / ".git",
            branch=self.key.branch,
            sha=sha,
            objects=[self.mirror.objects],
            index=own / "index",
            shallow=self.mirror.shallow,
        )
        gitdir.write_ref(own, _BASE, sha)
        self._base = self._head = sha
        gitdir.write_ref(own, self.branch_ref, sha)

    def reopen(self) -> None:
        """Take up a tree that an earlier process prepared, as it stands.

        Raises GitError when it is not whole, and Conflict while another process holds it.
        """
        own = self.paths.git
        self._hold()
        self._base = gitdir.read_ref(own, _BASE)
        self._baseline = gitdir.read_ref(own, _BASELINE)
        self._head = gitdir.read_ref(own, self.branch_ref)
        if self._base is None or self._head is None:
            raise GitError(f"{self.paths.run} was not prepared to the end")
        self._unlock()

    def _hold(self) -> None:
        """Nobody else takes the tree up while this process lives and has not released it."""
        try:
            lock = (self.paths.run / "lock").open("ab")
        except FileNotFoundError:
            raise GitError(f"{self.paths.run} is gone") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise Conflict(f"{self.paths.run} is held by another process") from None
        self._lock = lock

    def release(self) -> None:
        """Others may take the tree up. Idempotent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def rewind(self, sha: str) -> None:
        """Back to a commit of the branch, without what came after it but for ignored files. Raises GitError.

        A tree that is there already stays as it is, with what its commit had to leave out.
        """
        self.restore()
        if self._is_at(sha):
            return
        gitdir.write_ref(self.paths.git, self.branch_ref, sha)
        self._head = sha
        self.git.run(["read-tree", "--reset", "-u", sha], self.place, config=_CHECKOUT)
        staging.clean(self.git, self.place)

    @property
    def place(self) -> Place:
        """Our git directory over the job's tree, sealed."""
        gitdir.seal(self.paths.git, head=self.branch_ref, objects=[self.mirror.objects], bare=False)
        # A git that outlives its worker still has the tree.
        holds = () if self._lock is None else (self._lock.fileno(),)
        return Place(git_dir=self.paths.git, work_tree=self.paths.tree, cwd=self.paths.tree, holds=holds)

    def baseline(self, *, at_epoch_seconds: int) -> str:
        """Commit what setup left: the agent's work is measured from there, and its own `git status` starts clean."""
        self.commit_stage("baseline: the state after setup", at_epoch_seconds=at_epoch_seconds)
        self._baseline = self.head
        gitdir.write_ref(self.paths.git, _BASELINE, self.head)
        if self.head != self.base:
            gitdir.adopt(self.paths.tree / ".git", branch=self.key.branch, sha=self.head, own=self.paths.git)
        return self.head

    def commit_stage(self, message: str, *, at_epoch_seconds: int) -> str | None:
        """Commit everything that changed in the tree; None when nothing did. Call when no process of the job lives.

        The commit's name depends on content, parent, message and time only. Raises GitError.
        """
        self.restore()
        self.skipped = self._stage()
        tree = self.git.text(["write-tree"], self.place)
        if tree == self._tree_of(self.head):
            return None
        date = f"{at_epoch_seconds} +0000"
        text = (
            f"tree {tree}\nparent {self.head}\nauthor {IDENTITY} {date}\ncommitter {IDENTITY} {date}\n\n{message}\n"
        )
        given = text.encode("utf-8", "replace").replace(b"\0", b"")
        sha = self.git.run(["hash-object", "-t", "commit", "-w", "--stdin"], self.place, stdin=given).decode().strip()
        gitdir.write_ref(self.paths.git, self.branch_ref, sha)
        self._head = sha
        return sha

    def revert(self, sha: str, *, at_epoch_seconds: int) -> str | None:
        """Commit the undoing of one of our commits; None, and nothing changed, when later work stands on it.

        Files that the commit's ignore rules had hidden go too: they are what was refused, or next to it. Call right
        after `commit_stage`. Raises GitError.
        """
        before = self.head
        seen, known = staging.untracked(self.git, self.place)
        try:
            self.git.run(["revert", "--no-commit", sha], self.place)
        except GitError as error:
            self.rewind(before)
            if error.returncode != 1:
                raise
            return None
        finally:
            for name in ("REVERT_HEAD", "MERGE_MSG", "AUTO_MERGE"):
                (self.paths.git / name).unlink(missing_ok=True)
        # Of a flood that was not read to its end nobody knows what was there before.
        for name in set(staging.untracked(self.git, self.place)[0]).difference(seen) if known else ():
            self._discard(self.paths.tree / name)
            self._drop_empty_folders((self.paths.tree / name).parent)
        return self.commit_stage(f"revert {sha[:12]}: refused", at_epoch_seconds=at_epoch_seconds)

    def is_dirty(self) -> bool:
        """Whether the tree holds changes that a commit would take."""
        found = staging.scan(self.git, self.place, self._limits)
        return bool(found.take or found.drop)

    def remove(self, archived: Archived | None) -> None:
        """Delete the run directory. Raises NotArchived while it holds work that `archived` lacks.

        None is enough only for a tree in which nothing happened. Ignored files go with the directory.
        """
        self.require_archived(archived)
        # With another name first: who dies in the middle leaves no half tree that somebody could take up.
        gone = self.paths.run.with_name(f"{GONE}{self.paths.run.name}")
        self.paths.run.rename(gone)
        remove_tree(gone)

    def require_archived(self, archived: Archived | None) -> None:
        """Raises NotArchived when the tree holds work that `archived` lacks, as `remove` does."""
        if self._head is not None:
            # A tree that the agent deleted or linked elsewhere holds nothing that could still be committed.
            there = not self.paths.tree.is_symlink() and self.paths.tree.is_dir()
            if there and self.is_dirty() and self._is_changed():
                raise NotArchived(f"{self.paths.tree} has changes after the last commit")
            self._check_archived(archived)

    def _check_archived(self, archived: Archived | None) -> None:
        if archived is None:
            if self.head != self.base or not self._is_at(self.head):
                raise NotArchived(f"the commits of {self.paths.run} are in no artifact")
            return
        if archived.head != self.head or (archived.bundle_sha256 is None and self.head != self.base):
            raise NotArchived(f"what was archived is not the last commit of {self.paths.run}")

    def _is_changed(self) -> bool:
        """As `is_dirty`, but files that were only touched, or put back from a backup, are not changed."""
        self.git.run(["update-index", "-q", "--refresh"], self.place, ok=(0, 1))
        return self.is_dirty()

    def _stage(self) -> tuple[Skipped, ...]:
        return staging.stage(self.git, self.place, self._limits).skipped

    def _discard(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()

    def _drop_empty_folders(self, folder: Path) -> None:
        while folder != self.paths.tree and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def restore(self) -> None:
        """The job's folders and our git directory as we need them, however an agent left them. Raises GitError."""
        if self._lock is not None:
            held, found = os.fstat(self._lock.fileno()), (self.paths.run / "lock").stat()
            if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino):
                raise GitError(f"{self.paths.run} is another folder than the one that was prepared")
        self.paths.restore()
        self._unlock()

    def _unlock(self) -> None:
        """Who holds the tree is alone with it: these are of a git that was killed, or the agent's doing."""
        for leftover in self.paths.git.glob("*.lock"):
            self._discard(leftover)

    def _is_at(self, sha: str) -> bool:
        """Whether branch, index and every file that a commit would take are as in this commit."""
        if sha != self.head:
            return False
        try:
            staged = self.git.text(["write-tree"], self.place)
        except GitError:
            return False  # a merge that stopped half way
        return staged == self._tree_of(sha) and not self.is_dirty()

    def _tree_of(self, sha: str) -> str:
        return self.git.text(["rev-parse", "--verify", f"{sha}^{{tree}}"], self.place)


def _known(sha: str | None) -> str:
    if sha is None:
        raise GitError("the tree was neither prepared nor reopened")
    return sha
