"""What a target names: a local repository, an existing worktree or an address. Looked at, never touched, never run.

A source's own configuration, hooks and filters must not run on this machine just because somebody listed it in an
experiment. Questions to it are `rev-parse` only; whether it is clean is asked through a git directory of ours.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from workers.worktrees import gitdir, staging
from workers.worktrees.git import Git, GitError, Place

_SCHEMES = ("https", "http", "ssh", "file")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!/?/)[^:].*")
# A person can fix these; more would hide the message.
MAX_LISTED_PATHS = 10


class SourceKind(StrEnum):
    """What stands behind a target's text."""

    BARE = "bare"
    WORKTREE = "worktree"
    URL = "url"


class BadSource(Exception):
    """The target's source cannot be used; `reason` says why and what to do, for the caller's Fault."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source under its canonical name: an absolute real path, or an address."""

    location: str
    is_local: bool

    @property
    def key(self) -> str:
        """A directory name that only this source has."""
        tail = re.sub(r"[^A-Za-z0-9_-]+", "-", self.location.rstrip("/").removesuffix(".git").rsplit("/", 1)[-1])
        digest = hashlib.sha256(os.fsencode(self.location)).hexdigest()[:16]
        return f"{tail.strip('-')[:40] or 'repo'}-{digest}"


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What was found. `clean` and `head_sha` are None where the question makes no sense or there is no answer.

    `dirty_paths` holds up to 10 paths that keep it from being clean.
    """

    source: Source
    kind: SourceKind
    clean: bool | None
    head_sha: str | None
    dirty_paths: tuple[str, ...] = ()


class _Layout(NamedTuple):
    git_dir: Path
    common_dir: Path
    bare: bool


def parse_source(text: str, *, relative_to: Path) -> Source:
    """The canonical form of what a target names. Raises BadSource; does not look at the disk beyond links."""
    if not text or text.startswith("-") or any(ord(char) < 32 for char in text):
        raise BadSource("a path or address of a git repository: not empty, no leading '-', no control characters")
    if "::" in text.split("/", 1)[0]:
        raise BadSource(
            f"{text.split('::', 1)[0]}:: addresses start programs and are refused; use https, ssh or a path"
        )
    parts = urlsplit(text) if "://" in text else None
    if parts is not None:
        if parts.scheme not in _SCHEMES:
            raise BadSource(f"the scheme {parts.scheme}:// is refused; use one of {', '.join(_SCHEMES)}, or a path")
        if parts.password or (parts.username and parts.scheme.startswith("http")):
            raise BadSource("the address contains a credential; keep it in ~/.netrc or use ssh")
        if (parts.hostname or "").startswith("-"):
            raise BadSource("the host of an address cannot begin with '-'")
        if parts.scheme != "file":
            return Source(location=text.rstrip("/"), is_local=False)
        text = parts.path
    elif _SCP_LIKE.fullmatch(text) and not (relative_to / text).exists():
        return Source(location=text.rstrip("/"), is_local=False)
    return Source(location=str((relative_to / Path(text).expanduser()).resolve()), is_local=True)


def inspect_source(text: str, *, relative_to: Path, git: Git) -> SourceInfo:
    """Look at a source. Raises BadSource when it is no repository, GitError when git itself fails.

    For an existing worktree "clean" means: what HEAD names is what a job would get. Changed, staged and untracked
    paths count, ignored ones do not. Jobs work on a copy of HEAD, so a worktree is never written and stays usable.
    """
    source = parse_source(text, relative_to=relative_to)
    if not source.is_local:
        return SourceInfo(source=source, kind=SourceKind.URL, clean=None, head_sha=None)
    layout = _layout(source, git)
    head = resolve_local(source, "HEAD", git)
    if layout.bare:
        return SourceInfo(source=source, kind=SourceKind.BARE, clean=None, head_sha=head)
    dirty = _dirty_paths(Path(source.location), layout, head, git) if head else ()
    return SourceInfo(source=source, kind=SourceKind.WORKTREE, clean=not dirty, head_sha=head, dirty_paths=dirty)


def resolve_local(source: Source, base: str, git: Git) -> str | None:
    """The full SHA that a revision has in a local source now; None when it has none."""
    args = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"]
    try:
        sha = git.text(args, _at(source), config=_trusting(source), env=_no_search(source))
    except GitError as error:
        if error.returncode is None:
            raise
        return None
    return sha if gitdir.is_sha(sha) else None


def trusted_paths(source: Source) -> Sequence[str]:
    """What git must accept although another user owns it: the user named exactly this source."""
    return (source.location, f"{source.location}/.git")


def _layout(source: Source, git: Git) -> _Layout:
    if not Path(source.location).is_dir():
        raise BadSource(f"no directory {source.location}")
    args = ["rev-parse", "--path-format=absolute", "--is-bare-repository", "--absolute-git-dir", "--git-common-dir"]
    try:
        lines = git.text(
            [*args, "--show-object-format", "--show-prefix"],
            _at(source),
            config=_trusting(source),
            env=_no_search(source),
        ).splitlines()
    except GitError as error:
        if error.returncode is None:
            raise
        raise BadSource(f"{source.location} is not the top of a git repository ({error})") from error
    bare, git_dir, common_dir, object_format = lines[:4]
    if object_format != "sha1":
        raise BadSource(f"{source.location} uses {object_format} object names, which are not supported")
    return _Layout(Path(git_dir), Path(common_dir), bare == "true")


def _dirty_paths(tree: Path, layout: _Layout, head: str, git: Git) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="bakeoff-look-") as scratch:
        own = Path(scratch) / "git"
        gitdir.create(own, head="refs/heads/look", objects=[layout.common_dir / "objects"], bare=False)
        gitdir.copy_shallow(layout.common_dir / "shallow", own)
        _copy(layout.common_dir / "info/exclude", own / "info/exclude")
        # A split index refers to files beside it.
        for index in (layout.git_dir / "index", *layout.git_dir.glob("sharedindex.*")):
            _copy(index, own / index.name)
        place = Place(git_dir=own, work_tree=tree, cwd=tree)
        # Files that were only touched, or lie on another mount than when they were checked out, are not changed.
        git.run(["update-index", "-q", "--refresh", "--ignore-submodules"], place, ok=(0, 1))
        changed = staging.paths(git.run(["diff-index", "--name-only", "-z", "--no-renames", head, "--"], place))
        untracked = staging.untracked(git, place)[0] if len(changed) < MAX_LISTED_PATHS else []
        return tuple(sorted({*changed, *untracked}))[:MAX_LISTED_PATHS]


def _copy(origin: Path, target: Path) -> None:
    if origin.is_file():
        target.write_bytes(origin.read_bytes())


def _at(source: Source) -> Place:
    return Place(cwd=Path(source.location))


def _trusting(source: Source) -> list[str]:
    return [f"safe.directory={path}" for path in trusted_paths(source)]


def _no_search(source: Source) -> dict[str, str]:
    """A directory inside some larger repository is not that repository."""
    return {"GIT_CEILING_DIRECTORIES": str(Path(source.location).parent)}
