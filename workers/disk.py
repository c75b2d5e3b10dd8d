"""What lies in a folder that an agent may have filled: how much disk it takes, and getting rid of it.

Both work with one open folder at a time and names of one part: agents make folders thousands of levels deep, whose
paths no system call takes and on which the library's recursion ends. No link is followed.
"""

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512


class DiskUse(NamedTuple):
    """What a folder takes: bytes on disk (holes of sparse files and second names are not counted), and entries."""

    disk_bytes: int
    entries: int


def disk_use(folder: Path, *, enough_bytes: int | None = None) -> DiskUse:
    """What a folder and everything in it takes; adding up ends once it is more than `enough_bytes`.

    A folder that is not there takes nothing, and what cannot be looked into counts as itself.
    """
    total, entries = 0, 0
    seen: set[tuple[int, int]] = set()
    for found in _walk(folder):
        entries += 1
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        total += found.st_blocks * _BLOCK_BYTES
        if enough_bytes is not None and total > enough_bytes:
            break
    return DiskUse(total, entries)


def _walk(folder: Path) -> Iterator[os.stat_result]:
    """The status of everything below, depth first, while it may change."""
    try:
        here = os.open(folder, _OPEN)
    except OSError:
        return
    above: list[tuple[tuple[int, int], list[str]]] = []
    waiting: list[str] = []
    try:
        waiting = yield from _level(here)
        while above or waiting:
            if waiting:
                try:
                    below = os.open(waiting.pop(), _OPEN, dir_fd=here)
                except OSError:
                    continue  # gone meanwhile, or closed to us
                above.append((_identity(here), waiting))
                os.close(here)
                here = below
                waiting = yield from _level(here)
                continue
            identity, waiting = above.pop()
            up = os.open("..", _OPEN, dir_fd=here)
            os.close(here)
            here = up
            if _identity(here) != identity:
                return  # it was moved while we looked; the next look sees where to
    finally:
        os.close(here)


def _level(descriptor: int) -> Generator[os.stat_result, None, list[str]]:
    """Everything in one open folder; returns the names of its folders."""
    folders: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    folders.append(entry.name)
                yield found
    return folders


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def remove_tree(path: Path) -> None:
    """Delete what is there with everything in it, also where an agent took rights away. Follows no link.

    Folders are moved up to the top before they are emptied, so nothing is ever deep. A removal that was interrupted
    can be begun again. Raises OSError.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(stat.S_IRWXU)
    top = os.open(path, _OPEN)
    try:
        _empty(top)
    finally:
        os.close(top)
    path.rmdir()


def _empty(top: int) -> None:
    number = 0
    waiting = [name for name in _names(top) if not _unlinked(name, top)]
    taken = set(waiting)
    while waiting:
        name = waiting.pop()
        os.chmod(name, stat.S_IRWXU, dir_fd=top)
        here = os.open(name, _OPEN, dir_fd=top)
        try:
            for inner in _names(here):
                if _unlinked(inner, here):
                    continue
                os.chmod(inner, stat.S_IRWXU, dir_fd=here)  # to move a folder one must be allowed to write it
                while (moved := f"{number:x}") in taken:
                    number += 1
                os.rename(inner, moved, src_dir_fd=here, dst_dir_fd=top)
                taken.add(moved)
                waiting.append(moved)
        finally:
            os.close(here)
        os.rmdir(name, dir_fd=top)
        taken.discard(name)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _unlinked(name: str, folder: int) -> bool:
    """Delete one entry; False when it is a folder."""
    if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
        return False
    os.unlink(name, dir_fd=folder)
    return True
