"""The bytes of a file that a user named: bounded, and every refusal is a fault instead of a traceback."""

import stat
from pathlib import Path

from orchestrator.files.tree import Tree

# A file of 10,000 targets is about 700 kB; anything larger is not an experiment file.
MAX_BYTES = 1024 * 1024


def read_text(path: Path, tree: Tree) -> str | None:
    """The text of a regular UTF-8 file of at most 1 MiB; None after a fault was noted in `tree`."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            tree.fault((), "is not a file", found="a directory" if stat.S_ISDIR(mode) else "a device or pipe")
            return None
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        tree.fault((), "there is no such file")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        tree.fault((), "cannot be read", found=getattr(error, "strerror", None) or str(error))
    else:
        return _decode(data, tree)
    return None


def _decode(data: bytes, tree: Tree) -> str | None:
    if len(data) > MAX_BYTES:
        tree.fault((), "is too large", found=f"more than {MAX_BYTES} bytes")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        line = data.count(b"\n", 0, error.start) + 1
        tree.fault((), "is not UTF-8", found=found, accepted="text in UTF-8", line=line)
        return None
    if not text.strip():
        tree.fault((), "is empty")
        return None
    return text


def home_expanded(path: Path) -> Path:
    """A path with `~` spelled out; as it stands where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
