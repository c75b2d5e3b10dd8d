"""Files by their SHA-256: written once, whole or not at all, and verified whenever they are read."""

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG
from typing import IO

from orchestrator.domain.errors import NotFound, StorageError

_NAME = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class Corrupt(StorageError):
    """An artifact's bytes are not those that its name promises. `sha256` is the name, `found` what was read."""

    kind = "corrupt"

    def __init__(self, sha256: str, found: str) -> None:
        self.sha256, self.found = sha256, found
        super().__init__(f"artifact {sha256} is damaged: its content has the hash {found}")


class ArtifactStore:
    """A directory of files named by content. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where an artifact lies or would lie. Raises NotFound for a name that is no SHA-256."""
        if not _NAME.fullmatch(sha256):
            raise NotFound(f"not an artifact name: {sha256!r}")
        return self.root / sha256[:2] / sha256[2:]

    def has(self, sha256: str) -> bool:
        """Whether the artifact is there (not whether it is sound: see `verify`)."""
        return self.path(sha256).is_file()

    def put(self, content: bytes | Path, *, max_bytes: int | None = None) -> str:
        """Store bytes or a copy of a regular file, at most its first `max_bytes`, and return the SHA-256. Idempotent.

        It is durable when this returns. A file is never followed through a symbolic link, because agents write in
        the directories from which artifacts are collected. Raises NotFound, StorageError.
        """
        try:
            if isinstance(content, bytes):
                return self._keep(_Bytes(content), max_bytes)
            with _open_regular(content) as source:
                return self._keep(source, max_bytes)
        except OSError as error:
            raise StorageError(f"cannot store an artifact under {self.root}: {error}") from error

    @contextmanager
    def open(self, sha256: str) -> Iterator[BufferedReader]:
        """The artifact for reading, already verified. Raises NotFound, Corrupt, StorageError."""
        try:
            stream = self.path(sha256).open("rb")
        except FileNotFoundError:
            raise NotFound(f"no artifact {sha256} under {self.root}") from None
        except OSError as error:
            raise StorageError(f"cannot read artifact {sha256}: {error}") from error
        with stream:
            found = _hash(stream)
            if found != sha256:
                raise Corrupt(sha256, found)
            stream.seek(0)
            yield stream

    def read(self, sha256: str) -> bytes:
        """The artifact's verified bytes. Raises as `open`."""
        with self.open(sha256) as stream:
            return stream.read()

    def verify(self, sha256: str) -> None:
        """Read and compare. Raises as `open`."""
        with self.open(sha256):
            pass

    def _keep(self, source: "IO[bytes] | _Bytes", max_bytes: int | None) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.root, prefix=".new-")
        temporary, digest = Path(name), hashlib.sha256()
        room = sys.maxsize if max_bytes is None else max_bytes
        try:
            with os.fdopen(descriptor, "wb") as target:
                while chunk := source.read(min(_CHUNK_BYTES, room)):
                    room -= len(chunk)
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fchmod(target.fileno(), 0o444)
                os.fsync(target.fileno())
            self._settle(temporary, digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def _settle(self, temporary: Path, sha256: str) -> None:
        """Give the finished file its name. A sound one stays; a damaged one is put aside as evidence."""
        final = self.path(sha256)
        final.parent.mkdir(exist_ok=True)
        if final.exists():
            try:
                self.verify(sha256)
            except Corrupt as error:
                final.rename(final.with_name(f"{final.name}.corrupt-{error.found[:12]}"))
            else:
                return
        temporary.rename(final)
        _sync(final.parent)
        _sync(self.root)


class _Bytes:
    """Bytes in hand, read like a file but without a copy of the whole."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def read(self, size: int) -> memoryview:
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk


def _open_regular(path: Path) -> BufferedReader:
    try:
        # Non-blocking, so that a pipe in the file's place cannot hang the worker.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"no file {path} to store") from None
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path} is not a regular file, so it is not stored")
    return os.fdopen(descriptor, "rb")


def _hash(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
