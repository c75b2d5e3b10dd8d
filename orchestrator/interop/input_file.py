"""Files that people bring along, read without trust: no pipe is waited for, and no line fills the memory."""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, BinaryIO, cast

from orchestrator.domain.errors import Fault, InvalidInput, NotFound

MIB = 1024 * 1024
# A row of a table of results; whoever has none in his first megabyte brought something else.
_MAX_LINE_BYTES = MIB
# Tables of text shrink to a tenth. What grows far beyond that, and is large, was made to fill memory or disk.
_MAX_GROWTH, _GROWTH_ASKED_AFTER_BYTES = 200, 64 * MIB
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def refused(path: Path, message: str, line: int | None = None) -> InvalidInput:
    """A file that is wrong as a whole, or from this line on."""
    return InvalidInput([Fault(file=str(path), field="", message=message, line=line)])


def open_input(path: Path) -> BinaryIO:
    """A regular file, links followed. Raises NotFound, and InvalidInput for folders, pipes and devices."""
    try:
        # Without waiting: opening a pipe that nobody writes to would last for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise NotFound(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refused(path, "is no regular file: save what it gives in one, and import that")
    return os.fdopen(handle, "rb")


def read_file(path: Path, limit_bytes: int = MIB) -> str:
    """A small text file. Raises NotFound or InvalidInput that says what is wrong with it."""
    with open_input(path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise refused(path, f"is larger than {limit_bytes} bytes")
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused(path, _not_utf8(data), data[: error.start].count(b"\n") + 1) from None


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, which may be compressed with gzip, with their ends, one at a time.

    Raises NotFound, and InvalidInput with the line at which the file is wrong.
    """
    with closing(open_input(path)) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            yield from _lines(path, stream, raw if packed else None)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise refused(path, f"its compressed data is damaged: {error}; import again when it is whole") from None
        except OSError as error:
            raise NotFound(f"{path}: {error.strerror or error}") from None


def _lines(path: Path, stream: IO[bytes], packed: BinaryIO | None) -> Iterator[str]:
    number = grown = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        grown += len(line)
        if len(line) > _MAX_LINE_BYTES:
            raise refused(path, f"has a line of more than {_MAX_LINE_BYTES} bytes", number)
        if packed and grown > _GROWTH_ASKED_AFTER_BYTES and grown > _MAX_GROWTH * packed.tell():
            raise refused(path, f"unpacks to more than {_MAX_GROWTH} times its size, as no table does", number)
        if number == 1:
            if line.startswith(_UTF16):
                raise refused(path, _not_utf8(line), number)
            line = line.removeprefix(_BOM)
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            raise refused(path, _not_utf8(line), number) from None


def _not_utf8(data: bytes) -> str:
    utf16 = data.startswith(_UTF16)
    return "is UTF-16 and not UTF-8 text: save it as UTF-8" if utf16 else "is not UTF-8 text"
