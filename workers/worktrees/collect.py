"""What is taken out of a job's tree: patch, bundle, figures, and clean checkouts. Nothing here changes the tree."""

import os
from collections.abc import Iterator, Sequence
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
# Of a change that is searched for signs: more than that is no change to tests that anybody wrote.
MAX_LOOKED_BYTES = 8 * MIB
_BUNDLE_SECONDS = 1800.0
MAX_BUNDLE_BYTES = 2048 * MIB
_DIFF = ("diff-tree", "-r", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


class ChangedFile(NamedTuple):
    """A path and what happened to it: A(dded), M(odified), D(eleted) or T(ype changed)."""

    path: str
    status: str


class LineCount(NamedTuple):
    """Lines of one path's change; None for binary files."""

    added: int | None
    removed: int | None


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


def is_regular(job: JobTree, path: str) -> bool:
    """Whether the last commit has an ordinary file here: no link, no submodule, no folder."""
    return job.git.run(["ls-tree", "-z", job.head, "--", path], job.place).startswith(b"100")


def line_counts(job: JobTree) -> dict[str, LineCount]:
    """Lines added and removed in each path that the agent changed."""
    entries = job.git.run([*_DIFF, "--numstat", "-z", job.start, job.head], job.place).split(b"\0")[:-1]
    found = {}
    for entry in entries:
        added, removed, path = entry.split(b"\t", 2)
        binary = added == b"-"
        found[os.fsdecode(path)] = LineCount(None if binary else int(added), None if binary else int(removed))
    return found


def diff_stat(job: JobTree) -> DiffStat:
    """The size of the agent's change."""
    counts = line_counts(job).values()
    return DiffStat(
        files=len(counts),
        added_lines=sum(count.added or 0 for count in counts),
        removed_lines=sum(count.removed or 0 for count in counts),
        binary_files=sum(count.added is None for count in counts),
    )


def zero_context_diffs(
    job: JobTree, paths: Sequence[str], *, max_bytes: int = MAX_LOOKED_BYTES
) -> dict[str, list[str]]:
    """The added and removed lines of these paths, each with its sign. Raises OutputLimit, GitError."""
    if not paths:
        return {}
    args = [*_DIFF, "-p", "-U0", job.start, job.head, "--", *paths]
    found: dict[str, list[str]] = {}
    here: list[str] = []
    content = False
    # Sections come in the order of the names, and no line of content begins with `d`. A path that became a link, or
    # the reverse, has two sections: the names are in their headers too, but quoted and ambiguous.
    names = iter(_sections(job, paths))
    output = job.git.run(args, job.place, max_output_bytes=max_bytes)
    for line in output.decode("utf-8", "replace").split("\n"):
        if line.startswith("diff --git "):
            here, content = found.setdefault(next(names, ""), []), False
        elif line.startswith("@@ "):
            content = True
        elif content and line.startswith(("+", "-")):
            here.append(line)
    return found


def _sections(job: JobTree, paths: Sequence[str]) -> Iterator[str]:
    fields = job.git.run([*_DIFF, "--name-status", "-z", job.start, job.head, "--", *paths], job.place)
    parts = fields.split(b"\0")[:-1]
    for status, path in zip(parts[::2], parts[1::2], strict=True):
        yield from [os.fsdecode(path)] * (2 if status == b"T" else 1)


def clean_checkout(job: JobTree, sha: str, into: Path, *, restored: Sequence[str] = ()) -> None:
    """Put a commit of the job's, and nothing else, into a new directory, with a `.git` of its own.

    `restored` paths come from where the agent started instead: they are there as they were, or not at all.
    Raises GitError, FileExistsError.
    """
    into.mkdir(parents=True)
    index = into.with_name(f"{into.name}.index")
    place = job.place
    try:
        here = Place(git_dir=place.git_dir, work_tree=into, index=index, cwd=into)
        if restored:
            job.git.run(["read-tree", "--reset", sha], here)
            job.git.run(["update-index", "-z", "--replace", "--index-info"], here, stdin=_as_before(job, restored))
            job.git.run(["checkout-index", "--all", "--quiet"], here)
        else:
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


def _as_before(job: JobTree, paths: Sequence[str]) -> bytes:
    """What git's index has to be told so that these paths are as they were before the agent came."""
    before: dict[bytes, bytes] = {}
    for entry in job.git.run(["ls-tree", "-r", "-z", "--full-tree", job.start], job.place).split(b"\0")[:-1]:
        before[entry.partition(b"\t")[2]] = entry
    names = [os.fsencode(path) for path in paths]
    gone = [b"0 " + b"0" * 40 + b"\t" + name for name in names if name not in before]
    # Removals first: a link may stand where a folder has to be.
    return b"".join(entry + b"\0" for entry in (*gone, *(before[name] for name in names if name in before)))
