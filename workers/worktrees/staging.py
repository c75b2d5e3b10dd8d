"""Bring an index up to date with a tree that an agent wrote, without trusting anything in that tree.

`git add -A` is not used: it records a nested repository as a mere link (its files would be lost), fails on an empty
one, and looks into it with that repository's own configuration. Here git only lists; what is taken is decided below,
path by path. Ignore files count as they stand in the tree, as they would for a person; lists outside it do not.
"""

import io
import os
import re
import stat
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from workers.disk import remove_tree
from workers.worktrees.git import Git, GitError, OutputLimit, Place

MIB = 1024 * 1024
# Adding so many files takes minutes on a slow disk.
_ADD_SECONDS = 1800.0
# Names of which git may refuse some, because some file system takes them for `.git`, or for a way out of the tree.
_DUBIOUS = re.compile(r"(?:^|[/\\])[^a-z/\\]*g[^a-z/\\]*i[^a-z/\\]*t|\\", re.IGNORECASE)
REFUSED_NAME = "git takes no file of this name"


@dataclass(frozen=True, kw_only=True)
class StagingLimits:
    """What one commit may take up, so that a run-away agent cannot fill the disk with copies of its files."""

    max_file_bytes: int = 100 * MIB
    max_total_bytes: int = 1024 * MIB
    max_new_files: int = 100_000
    max_listing_bytes: int = 64 * MIB
    max_nested_repositories: int = 50
    max_notes: int = 100


class Skipped(NamedTuple):
    """A path that was left out of a commit, and why."""

    path: str
    reason: str


class Staged(NamedTuple):
    """What is to be taken, dropped, and left out with a note."""

    take: tuple[str, ...]
    drop: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def stage(git: Git, place: Place, limits: StagingLimits) -> Staged:
    """Make the index of `place` equal to its tree, within `limits`. Raises GitError."""
    found = scan(git, place, limits)
    if found.drop:
        git.run(["update-index", "-z", "--force-remove", "--stdin"], place, stdin=_nul(found.drop))
    if found.take:
        args = ["update-index", "-z", "--add", "--replace", "--stdin"]
        git.run(args, place, stdin=_nul(found.take), timeout_seconds=_ADD_SECONDS)
    return found


def scan(git: Git, place: Place, limits: StagingLimits) -> Staged:
    """What `stage` would do. Tracked paths come first, so that a flood of new files cannot crowd them out."""
    tree = _tree(place)
    changed = paths(git.run(["diff-files", "--name-only", "-z", "--ignore-submodules=all"], place))
    fresh, skipped = _new_files(git, place, limits)
    folders = _RealFolders(tree)
    kinds = {path: folders.kind(path) for path in (*changed, *fresh)}
    # Of tracked ones git refuses only links, in the place of files that it reads itself.
    asked = [*fresh, *(path for path in changed if (found := kinds[path]) and stat.S_ISLNK(found.st_mode))]
    small = [path for path in asked if (found := kinds[path]) and found.st_size <= limits.max_file_bytes]
    refused = _refused_names(git, place, [path for path in small if _readable(tree / path, kinds[path])])
    take: list[str] = []
    total = 0
    for path, found in kinds.items():
        if found is None:
            continue
        reason = REFUSED_NAME if path in refused else _refusal(tree / path, found, total, limits)
        if reason:
            skipped.append(Skipped(path, reason))
        else:
            total += found.st_size
            take.append(path)
    gone = tuple(path for path in changed if kinds[path] is None)
    notes = (*_submodules(git, place), *skipped)
    return Staged(tuple(take), gone, _few(notes, limits.max_notes))


def clean(git: Git, place: Place) -> None:
    """Delete what is neither tracked nor ignored. Raises GitError, OSError.

    Where git cannot, as in folders deeper than a path may be long, the whole folder goes, ignored files included.
    """
    try:
        git.run(["clean", "-ffdq"], place)
    except GitError as error:
        if error.returncode != 1:
            raise
        left = paths(git.run(["ls-files", "-z", "--others", "--exclude-standard", "--directory"], place))
        folders = _RealFolders(_tree(place))
        for path in left:
            if folders.is_real(path.rstrip("/").rpartition("/")[0]):
                remove_tree(_tree(place) / path.rstrip("/"))


def untracked(git: Git, place: Place, *, max_bytes: int = StagingLimits.max_listing_bytes) -> tuple[list[str], bool]:
    """Untracked paths that are not ignored, and whether those are all: names past `max_bytes` are not read.

    A nested repository is one entry that ends with a slash.
    """
    listing = io.BytesIO()
    args = ["ls-files", "-z", "--others", "--exclude-standard"]
    try:
        git.run(args, place, sink=listing, max_output_bytes=max_bytes)
    except OutputLimit:
        return paths(listing.getvalue().rpartition(b"\0")[0]), False
    return paths(listing.getvalue()), True


def paths(output: bytes) -> list[str]:
    """The names in NUL-separated output."""
    return [os.fsdecode(name) for name in output.split(b"\0") if name]


class _RealFolders:
    """Looks at paths without following a link in any part of them: an agent may have linked a folder elsewhere."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._known: dict[str, bool] = {"": True}

    def kind(self, path: str) -> os.stat_result | None:
        """The status of a regular file or link; None for anything else, and for what lies behind a link."""
        if not self.is_real(path.rpartition("/")[0]):
            return None
        found = self._status(path)
        return found if found and (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)) else None

    def is_real(self, folder: str) -> bool:
        """Whether this is a folder of the tree, and so is everything above it."""
        if folder not in self._known:
            found = self._status(folder) if self.is_real(folder.rpartition("/")[0]) else None
            self._known[folder] = found is not None and stat.S_ISDIR(found.st_mode)
        return self._known[folder]

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(self._tree / path)
        except OSError:
            return None


def _new_files(git: Git, place: Place, limits: StagingLimits) -> tuple[list[str], list[Skipped]]:
    """Every untracked file, those in nested repositories included: each is listed as a tree of its own."""
    found: list[str] = []
    notes: list[Skipped] = []
    nested = 0
    waiting = [("", place)]
    while waiting:
        prefix, here = waiting.pop(0)
        names, whole = untracked(git, here, max_bytes=limits.max_listing_bytes)
        if not whole:
            notes.append(Skipped(prefix or ".", f"more than {limits.max_listing_bytes} bytes of names"))
        for name in names:
            path = prefix + name
            if not name.endswith("/") and len(found) >= limits.max_new_files:
                notes.append(Skipped(path, f"more than {limits.max_new_files} new files in one commit"))
            elif not name.endswith("/"):
                found.append(path)
            elif nested >= limits.max_nested_repositories:
                notes.append(Skipped(path, "too many nested repositories"))
            else:
                nested += 1
                notes.append(Skipped(path, "nested repository: its files are recorded, its history is not"))
                waiting.append((path, _nested(place, path)))
    return found, notes


def _nested(place: Place, path: str) -> Place:
    folder = _tree(place) / path
    # An index that does not exist is an empty one: everything in the nested tree counts as new.
    return Place(git_dir=place.git_dir, work_tree=folder, index=Path("/nonexistent/index"), cwd=folder)


def _refused_names(git: Git, place: Place, names: Sequence[str]) -> Collection[str]:
    """Those that no index takes, such as `.GIT/x` and `git~1`. Git itself is asked, with an index of its own."""
    dubious = [name for name in names if _DUBIOUS.search(name)]
    if not dubious:
        return ()
    with tempfile.TemporaryDirectory(prefix="bakeoff-names-") as scratch:
        trial = replace(place, index=Path(scratch) / "index")
        args = ["update-index", "-z", "--add", "--info-only", "--stdin"]
        git.run(args, trial, stdin=_nul(dubious), timeout_seconds=_ADD_SECONDS)
        taken = paths(git.run(["ls-files", "-z"], trial))
    return frozenset(dubious).difference(taken)


def _few(notes: Sequence[Skipped], most: int) -> tuple[Skipped, ...]:
    """The first ones, and how many more there are: each becomes a row of the database."""
    if len(notes) <= most:
        return tuple(notes)
    return (*notes[:most], Skipped("", f"{len(notes) - most} more paths were left out"))


def _submodules(git: Git, place: Place) -> list[Skipped]:
    """Submodules with something in them. They are never initialised by us, and what agents do inside is not kept."""
    tree = _tree(place)
    if not os.path.lexists(tree / ".gitmodules"):
        return []
    entries = paths(git.run(["ls-files", "-z", "--stage"], place))
    links = [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
    return [Skipped(path, "submodule: its content is not recorded") for path in links if _has_entries(tree / path)]


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _refusal(path: Path, found: os.stat_result, total: int, limits: StagingLimits) -> str | None:
    if found.st_size > limits.max_file_bytes:
        return f"{found.st_size} bytes, more than {limits.max_file_bytes} for one file"
    if total + found.st_size > limits.max_total_bytes:
        return f"more than {limits.max_total_bytes} bytes in one commit"
    return None if _readable(path, found) else "not readable"


def _readable(path: Path, found: os.stat_result | None) -> bool:
    return found is not None and (stat.S_ISLNK(found.st_mode) or os.access(path, os.R_OK))


def _tree(place: Place) -> Path:
    if place.work_tree is None:
        raise ValueError("staging needs a place with a tree")
    return place.work_tree


def _nul(names: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(name) + b"\0" for name in names)
