"""Files of ours in folders where an agent may write: made anew, whatever it left in their place or in a folder's.

A prompt, a log or a configuration that were opened as usual would go through a link, or into a hard link, that an
earlier stage planted: its content would land in a file outside. Call while no process of the job lives.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from workers.disk import remove_tree

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path, *, beneath: Path | None = None, buffering: int = -1) -> BinaryIO:
    """A new, empty file of mode 0600. What was there under its name is gone; `buffering` is as for `open`.

    `beneath` is a folder that nobody can have replaced; every folder between it and the file is made a real one of
    this user's. By default only the file's own folder is looked at. Raises OSError.
    """
    top = path.parent.parent if beneath is None else beneath
    for folder in reversed([one for one in path.parents if one.is_relative_to(top) and one != top]):
        real_folder(folder)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        elif os.path.lexists(path):
            os.unlink(path.name, dir_fd=descriptor)
        return os.fdopen(os.open(path.name, _FLAGS, 0o600, dir_fd=descriptor), "wb", buffering)
    finally:
        os.close(descriptor)


def put(path: Path, text: str, *, beneath: Path | None = None) -> None:
    """Write a text, as UTF-8, to a new file. Raises OSError."""
    with create(path, beneath=beneath) as file:
        file.write(text.encode("utf-8", "replace"))


def real_folder(path: Path) -> None:
    """Make this a folder that we may enter and write; one that is there stays. A link goes, not what it names."""
    if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
        path.unlink()
    path.mkdir(mode=0o700, exist_ok=True)
    if (mode := stat.S_IMODE(path.stat().st_mode)) & stat.S_IRWXU != stat.S_IRWXU:
        path.chmod(mode | stat.S_IRWXU)
