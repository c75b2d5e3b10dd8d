"""One bare copy per source, from which every job of the machine borrows its objects.

A mirror is filled by `git fetch`, also from a local path. `git clone --local` would be faster by hard-linking, but
the linked packs are the user's own files (damage to one is damage to both) and copying a directory that somebody else
controls has followed planted links before; the fetch costs seconds, once. Nothing is ever pruned or repacked: job
trees refer to these objects. The source gets no refs, no configuration, and none of its hooks run.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from workers.worktrees import gitdir
from workers.worktrees.git import Git, GitError, Place
from workers.worktrees.sources import Source, resolve_local, trusted_paths

# A first fetch of a large repository over a slow line; a dead line ends earlier by git's own low-speed limit.
FETCH_TIMEOUT_SECONDS = 1800.0
_LOCK_POLL_SECONDS = 0.05
_REFSPECS = ("+HEAD:refs/bakeoff/source-head", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_HEAD = "refs/heads/none"  # a mirror has no branch of its own


class Mirror:
    """The mirror of one source under `mirrors`. Safe for any number of processes at once."""

    def __init__(
        self, mirrors: Path, source: Source, git: Git, *, fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS
    ) -> None:
        self.source = source
        self.path = mirrors.resolve() / f"{source.key}.git"
        self._git = git
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._place = Place(git_dir=self.path)

    @property
    def objects(self) -> Path:
        """The object store that job trees borrow from."""
        return self.path / "objects"

    @property
    def shallow(self) -> Path:
        """The list of commits at which the history ends; absent when it is whole."""
        return self.path / "shallow"

    def resolve(self, base: str) -> str | None:
        """The full SHA that `base` (branch, tag, commit, revision expression) has at the source now, or None.

        Local sources are asked themselves; of a remote one everything is fetched first, unless `base` is a SHA
        that is here already. The commit is in the mirror when this returns. Raises GitError.
        """
        if self.source.is_local:
            sha = resolve_local(self.source, base, self._git)
        elif gitdir.is_sha(base):
            sha = base
        else:
            with self._locked() as lock:
                self._fetch(lock)
            sha = self._resolve_here("refs/bakeoff/source-head" if base == "HEAD" else base)
        return sha if sha and self._try_ensure(sha) else None

    def ensure(self, sha: str) -> None:
        """Have this commit, fetching only when it is missing. Raises GitError when the source does not give it."""
        if self.has(sha):
            return
        with self._locked() as lock:
            if self.has(sha):
                return
            self._fetch(lock)
            if not self.has(sha):
                # On no branch or tag: a detached worktree, or a branch that has moved on since.
                self._fetch(lock, (f"+{sha}:refs/bakeoff/pins/{sha}",))

    def has(self, sha: str) -> bool:
        """Whether the commit is here."""
        if not self.path.is_dir():
            return False
        return self._resolve_here(sha) is not None

    def read_file(self, sha: str, path: str) -> bytes | None:
        """A file's bytes at a commit; None when there is no such file (a folder or link is none). Raises GitError."""
        clean = PurePosixPath(path)
        if clean.is_absolute() or ".." in clean.parts or not clean.parts:
            return None
        entry = self._git.run(["ls-tree", "-z", "--full-tree", sha, "--", str(clean)], self._place)
        mode, _, rest = entry.rstrip(b"\0").partition(b" ")
        if mode not in (b"100644", b"100755"):
            return None
        return self._git.run(["cat-file", "blob", rest.split()[1].decode()], self._place)

    def holds_all(self, names: Sequence[str]) -> bool:
        """Whether every object of these names is in the mirror, where agents can read it. Raises GitError."""
        given = "".join(f"{name}\n" for name in names).encode("ascii")
        said = self._git.run(["cat-file", "--batch-check=%(objectname)"], self._place, stdin=given)
        return b" missing" not in said

    def _try_ensure(self, sha: str) -> bool:
        try:
            self.ensure(sha)
        except GitError as error:
            # A source that answers, and says that it has no such object, is not a failure of the infrastructure.
            if "not our ref" in error.stderr or "couldn't find remote ref" in error.stderr:
                return False
            raise
        return True

    def _resolve_here(self, revision: str) -> str | None:
        args = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
        found = self._git.run(args, self._place, ok=(0, 1, 128)).decode("ascii", "replace").strip()
        return found if gitdir.is_sha(found) else None

    def _fetch(self, lock: int, refspecs: tuple[str, ...] = _REFSPECS) -> None:
        self._clean_up()
        gitdir.create(self.path, head=_HEAD, bare=True)
        prune = ["--prune"] if refspecs is _REFSPECS else []
        args = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow", *prune, "--"]
        try:
            self._git.run(
                [*args, self.source.location, *refspecs],
                self._place,
                transport=True,
                env={"GIT_CONFIG_GLOBAL": str(self._trust())},
                timeout_seconds=self._fetch_timeout_seconds,
                # Should this process die, git holds the lock until it has ended as well.
                pass_fds=(lock,),
            )
        except GitError as error:
            if refspecs is _REFSPECS and "couldn't find remote ref HEAD" in error.stderr:
                # The source's HEAD names a branch that does not exist; its other branches still count.
                return self._fetch(lock, _REFSPECS[1:])
            raise

    def _trust(self) -> Path:
        """A configuration for the sending side, which reads no option of ours: accept this source's owner."""
        path = self.path / "trust.gitconfig"
        quoted = [name.replace("\\", "\\\\").replace('"', '\\"') for name in trusted_paths(self.source)]
        path.write_bytes(os.fsencode("[safe]\n" + "".join(f'\tdirectory = "{name}"\n' for name in quoted)))
        return path

    def _clean_up(self) -> None:
        """Remove what a fetch that was killed left behind. Only the lock's holder may call this."""
        if self.path.is_dir():
            for pattern in ("*.lock", "refs/**/*.lock", "objects/**/tmp_*"):
                for leftover in self.path.glob(pattern):
                    if leftover.is_file():
                        leftover.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the mirror alone. The kernel frees the lock when the last holder is gone, however it ended."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + 2 * self._fetch_timeout_seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise GitError(
                            f"another process has held the mirror of {self.source.location} too long"
                        ) from None
                    time.sleep(_LOCK_POLL_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)
