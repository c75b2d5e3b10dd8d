"""Hidden files of checks as one blob: named by what is in it, so that every machine checks with the same files."""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.domain.check import HiddenPack
from orchestrator.domain.errors import StorageError

# They travel through the database and every attempt of the target reads them: tests and their data, no corpora.
MAX_PACK_BYTES = 16 * 1024 * 1024
MAX_PACK_FILES = 2000


class HiddenFile(NamedTuple):
    """A file of the user's for the clean checkout. `path` is relative to the checkout."""

    path: str
    content: bytes
    executable: bool = False


def git_name(content: bytes) -> str:
    """The name under which git would keep this content, were it committed."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def describe(files: Sequence[HiddenFile]) -> HiddenPack:
    """The pack's name and size: the same files give the same name, in whatever order and form they are stored."""
    parts = [[item.path, item.executable, hashlib.sha256(item.content).hexdigest()] for item in sorted(files)]
    name = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).hexdigest()
    return HiddenPack(sha256=name, files=len(files), size_bytes=sum(len(item.content) for item in files))


def pack(files: Sequence[HiddenFile]) -> bytes:
    """The files as bytes to store."""
    parts = [[item.path, item.executable, base64.b64encode(item.content).decode("ascii")] for item in sorted(files)]
    return zlib.compress(json.dumps(parts).encode("ascii"))


def unpack(wanted: HiddenPack, blob: bytes) -> tuple[HiddenFile, ...]:
    """The files of a pack. Raises StorageError when the bytes are not what the name promises."""
    try:
        # Base64 and JSON make four bytes of three; names take the rest.
        text = zlib.decompressobj().decompress(blob, 2 * MAX_PACK_BYTES + 1024 * MAX_PACK_FILES)
        files = tuple(HiddenFile(path, base64.b64decode(data), mode) for path, mode, data in json.loads(text))
    except (ValueError, TypeError, zlib.error) as error:
        raise StorageError(f"the hidden files {wanted.sha256} are damaged: {error}") from None
    if (found := describe(files)) != wanted:
        raise StorageError(f"the hidden files {wanted.sha256} are damaged: they are {found.sha256}")
    return files
