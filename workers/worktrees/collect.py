"""What is taken out of a job's tree: patch, bundle, figures, and clean checkouts. Nothing here changes the tree."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from workers.owned import create
from workers.worktrees import gitdir
from workers.worktrees.git import OutputLimit, Place
from workers.worktrees.worktree import JobTree

MIB = 1024 * 1024
MAX_PATCH_BYTES = 64 * MIB
# How far a cut patch is counted, so that the record can say how much it was cut.
_COUNTED_BYTES = 1024 * MIB
_BUNDLE_SECONDS = 1800.0
MAX_BUNDLE_BYTES = 2048 * MIB
_DIFF = ("diff-tree", "-r", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


class ChangedFile(NamedTuple):
    """A path and what happened to it: A(dded), M(odified), D(eleted) or T(ype changed)."""

    path: str
    status: str


@dataclass(frozen=True, kw_only=True)
class DiffStat:
    """Size of the agent's change. Lines are counted in text files only."""

    files: int
    added_lines: int
    removed_lines: int
    binary_files: int


class _Counted:
    """Keeps the first bytes of a stream and counts all."""

    def __init__(self, sink: IO[bytes], keep: int) -> None:
        self.seen = 0
        self._sink, self._keep = sink, keep

    def write(self, data: bytes) -> int:
        self._sink.write(data[: max(0, self._keep - self.seen)])
        self.seen += len(data)
        return len(data)


class Written(NamedTuple):
    """Whether a file holds everything, and how many bytes that would be; None when they were too many to count."""

    whole: bool
    full_bytes: int | None


def write_patch(job: JobTree, path: Path, *, max_bytes: int = MAX_PATCH_BYTES) -> Written:
    """Write the agent's whole change as a patch for `git apply`, up to `max_bytes`.

    A cut patch does not apply; the bundle is never cut. Attribute files of the agent cannot hide content from it.
    """
    args = [*_DIFF, "-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", job.start, job.head]
    with create(path) as file:
        sink = _Counted(file, max_bytes)
        try:
            job.git.run(args, job.place, sink=sink, max_output_bytes=max(max_bytes, _COUNTED_BYTES))
        except OutputLimit:
            return Written(False, None)
    return Written(sink.seen <= max_bytes, sink.seen)


def write_bundle(job: JobTree, path: Path, *, max_bytes: int = MAX_BUNDLE_BYTES) -> bool:
    """Write all commits after the base as a bundle; False, and no file, when there are none.

    Whoever has the base can `git fetch <bundle> <branch>`. Raises OutputLimit, and leaves no file, when it would be
    larger than `max_bytes`: a part of a bundle is of no use.
    """
    if job.head == job.base:
        return False
    with create(path) as sink:
        try:
            args = ["bundle", "create", "--quiet", "-", job.branch_ref, f"^{job.base}"]
            job.git.run(args, job.place, sink=sink, max_output_bytes=max_bytes, timeout_seconds=_BUNDLE_SECONDS)
        except OutputLimit:
            path.unlink()
            raise
    return True


def changed_files(job: JobTree) -> tuple[ChangedFile, ...]:
    """The paths that the agent changed, in git's order."""
    fields = job.git.run([*_DIFF, "--name-status", "-z", job.start, job.head], job.place).split(b"\0")[:-1]
    names = zip(fields[::2], fields[1::2], strict=True)
    return tuple(ChangedFile(os.fsdecode(path), status.decode()) for status, path in names)


def diff_stat(job: JobTree) -> DiffStat:
    """The size of the agent's change."""
    entries = job.git.run([*_DIFF, "--numstat", "-z", job.start, job.head], job.place).split(b"\0")[:-1]
    counts = [entry.split(b"\t", 2)[:2] for entry in entries]
    text = [(int(added), int(removed)) for added, removed in counts if added != b"-"]
    return DiffStat(
        files=len(counts),
        added_lines=sum(added for added, _ in text),
        removed_lines=sum(removed for _, removed in text),
        binary_files=len(counts) - len(text),
    )


def clean_checkout(job: JobTree, sha: str, into: Path) -> None:
    """Put a commit of the job's, and nothing else, into a new directory, with a `.git` of its own.

    Raises GitError, FileExistsError.
    """
    into.mkdir(parents=True)
    index = into.with_name(f"{into.name}.index")
    place = job.place
    try:
        here = Place(git_dir=place.git_dir, work_tree=into, index=index, cwd=into)
        job.git.run(["read-tree", "--reset", "-u", sha], here)
        gitdir.create_agents(
            into / ".git",
            branch=job.key.branch,
            sha=sha,
            objects=[job.mirror.objects, job.paths.git / "objects"],
            index=index,
            shallow=job.mirror.shallow,
        )
    finally:
        index.unlink(missing_ok=True)
