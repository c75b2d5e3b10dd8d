"""Whole lines of a file that another program appends to, and may tear, truncate, replace, remove or never write.

Agents only append to their own session files: for those `session_files.FileTail` is enough, without a hash per line.
"""

import hashlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workers.agents.session_files import regular

# Per look: what is more waits for the next one.
_LOOK_BYTES = 8 * 1024 * 1024
# A line that is longer is no record.
_LINE_BYTES = 1024 * 1024
# Of what an earlier stage left so much is read: a file with a hole can be larger than anybody could read.
_KNOWN_BYTES = 64 * 1024 * 1024
# By its first bytes a file is known to be the one that was read so far.
_HEAD_BYTES = 256


class Tail:
    """Reads on from where it was. After a rewrite it reads anew, and gives only lines that it has not given yet."""

    def __init__(self, path: Path, *, complete: Callable[[bytes], bool], max_lines: int) -> None:
        """`complete` tells of a last line without its end whether it is whole nevertheless.

        What the file holds by now is an earlier stage's, and not given. At most `max_lines` are.
        """
        self.path = path
        self.rewrites = 0
        self.long_lines = 0
        self.new_bytes = 0  # in the last look
        self._complete, self._left = complete, sys.maxsize
        self._identity: tuple[int, int] | None = None
        self._head = b""
        self._offset = 0
        self._rest = b""
        self._too_long = False  # the line that is being read
        self._given = Counter[bytes]()  # by digest, in all
        self._passed = Counter[bytes]()  # by digest, since the file was last begun
        self.read()
        while self.new_bytes and self._offset < _KNOWN_BYTES:
            self.read()
        if self.new_bytes:
            self._skip_to_end()
        # Whoever tore a line is dead: what is written behind it is a line of its own.
        self._rest, self._too_long, self._left = b"", False, max_lines

    @property
    def torn(self) -> bool:
        """Whether the file ends within a line."""
        return bool(self._rest.strip())

    def read(self) -> list[bytes]:
        """Lines that are new, without their ends."""
        data = self._new_bytes()
        self.new_bytes = len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [line for line in whole if not self._skip(line)]
        if len(self._rest) > _LINE_BYTES:
            self._rest, self._too_long = b"", True
        elif self._rest.strip() and self._complete(self._rest):
            lines.append(self._rest)
            self._rest = b""
        return self._fresh([line for line in lines if line.strip()])

    def _skip_to_end(self) -> None:
        with suppress(OSError):
            about = self.path.stat()
            if stat.S_ISREG(about.st_mode):
                self._offset = max(self._offset, about.st_size)

    def _skip(self, line: bytes) -> bool:
        too_long, self._too_long = self._too_long or len(line) > _LINE_BYTES, False
        self.long_lines += too_long
        return too_long

    def _fresh(self, lines: list[bytes]) -> list[bytes]:
        fresh = []
        for line in lines[: self._left]:
            digest = hashlib.sha256(line).digest()[:16]
            self._passed[digest] += 1
            if self._passed[digest] > self._given[digest]:
                self._given[digest] += 1
                fresh.append(line)
        self._left -= len(fresh)
        return fresh

    def _new_bytes(self) -> bytes:
        try:
            with regular(self.path) as (file, about):
                self._notice_rewrite(file, about)
                data = os.pread(file, _LOOK_BYTES, self._offset)
                self._offset += len(data)
                self._head = os.pread(file, min(_HEAD_BYTES, self._offset), 0)
                return data
        except OSError:
            return b""

    def _notice_rewrite(self, file: int, about: os.stat_result) -> None:
        identity = about.st_dev, about.st_ino
        known, self._identity = self._identity, identity
        same_head = os.pread(file, len(self._head), 0) == self._head
        if known is not None and (identity != known or about.st_size < self._offset or not same_head):
            self.rewrites += 1
            self._offset, self._rest, self._too_long = 0, b"", False
            self._passed.clear()
