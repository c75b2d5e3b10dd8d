"""Reading and writing single files in a tree that an agent's code wrote, without leaving it through any link."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from workers.worktrees.folders import remove_tree

# Only a place to name things from: that needs no right to read the folder.
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# A larger file is not compared with what takes its place.
_MAX_KEPT_BYTES = 16 * 1024 * 1024


class Outside(Exception):
    """The path does not name a regular file within the tree; the text says what stands there."""


def read_inside(root: Path, path: str, *, max_bytes: int) -> bytes:
    """A regular file's bytes. Raises Outside for links, pipes, missing and too large files; OSError."""
    with _parent(root, path, make=False) as (folder, name):
        try:
            # Non-blocking: a pipe in the file's place would keep the worker waiting.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            raise Outside(f"cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Outside("is no regular file")
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise Outside(f"has more than {max_bytes} bytes")
    return content


def write_inside(root: Path, path: str, content: bytes, *, executable: bool) -> bytes | None:
    """Put a file into the tree, in the place of whatever is there, folders and links on its way included.

    Returns the bytes of a regular file that it replaced (empty for anything else that stood there), None when nothing
    did. Raises OSError.
    """
    with _parent(root, path, make=True) as (folder, name):
        before = _displaced(root / path, folder, name)
        mode = 0o755 if executable else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, mode, dir_fd=folder), "wb") as stream:
            stream.write(content)
        return before


def remove_inside(root: Path, path: str) -> None:
    """Remove a file that an earlier run, or the agent, left there. Nothing happens where there is none."""
    try:
        with _parent(root, path, make=False) as (folder, name):
            _displaced(root / path, folder, name)
    except Outside:
        return


def _displaced(place: Path, folder: int, name: str) -> bytes | None:
    """Remove what stands at a name; its bytes when it was a regular file that is small and readable."""
    try:
        status = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        remove_tree(place)
        return b""
    before = b""
    if stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_KEPT_BYTES:
        with suppress(PermissionError):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(descriptor, "rb") as stream:
                before = stream.read()
    os.unlink(name, dir_fd=folder)
    return before


@contextmanager
def _parent(root: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The folder of a path, held open, and the name in it. With `make` real folders come in the place of all else."""
    *parts, name = PurePosixPath(path).parts
    folder = _opened(str(root), None)
    try:
        for part in parts:
            deeper = _enter(folder, part, make=make)
            os.close(folder)
            folder = deeper
        yield folder, name
    finally:
        os.close(folder)


def _enter(folder: int, part: str, *, make: bool) -> int:
    try:
        return _opened(part, folder)
    except OSError as error:
        if not make:
            raise Outside(f"cannot be read: {error.strerror} at {part!r}") from None
        if not isinstance(error, FileNotFoundError):
            os.unlink(part, dir_fd=folder)
        os.mkdir(part, 0o755, dir_fd=folder)
        return _opened(part, folder)


def _opened(name: str, within: int | None) -> int:
    """A folder, with our rights to it, which code that ran in there may have taken away."""
    descriptor = os.open(name, _FOLDER, dir_fd=within)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(f"/proc/self/fd/{descriptor}", mode | stat.S_IRWXU)  # noqa: PTH101 - the descriptor, not a path
    return descriptor
