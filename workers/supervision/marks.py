"""How the processes of an attempt are told from all others, whatever they do to hide.

Two variables in the environment name attempt and worker. A program can drop its environment, close its descriptors
and leave its session, so the shim also sets a resource limit that nobody uses, RLIMIT_RTTIME, to a number made of
both: it is inherited over fork and exec, can only be lowered, and is far too large ever to act.
"""

from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

ATTEMPT_VARIABLE = "BAKEOFF_ATTEMPT"
OWNER_VARIABLE = "BAKEOFF_OWNER"
# Bits of a tag, from the top: 01, worker's pid (the kernel's largest is 2^22), its start, checksum of the attempt.
_PID_BITS, _START_BITS, _ATTEMPT_BITS = 22, 24, 15
_TAG_BIT = 1 << (_PID_BITS + _START_BITS + _ATTEMPT_BITS)


class Owner(NamedTuple):
    """A worker process, named so that no later process can be taken for it.

    `start_ticks` is its start in clock ticks since boot; `namespace` the inode of its PID namespace, in which
    alone `pid` means anything.
    """

    pid: int
    start_ticks: int
    namespace: int

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}:{self.namespace}"

    @classmethod
    def parse(cls, text: str) -> "Owner | None":
        """The owner in a variable's text; None when it is not one."""
        parts = text.split(":")
        return cls(*map(int, parts)) if len(parts) == 3 and all(part.isdecimal() for part in parts) else None


@dataclass(frozen=True, kw_only=True)
class Tag:
    """What a limit's number tells: the worker, all but certainly its start, and a checksum of the attempt."""

    pid: int
    start: int
    attempt: int

    @classmethod
    def of(cls, attempt_id: str, owner: Owner) -> "Tag":
        """The tag of an attempt under its worker."""
        return cls(
            pid=owner.pid % (1 << _PID_BITS),
            start=owner.start_ticks % (1 << _START_BITS),
            attempt=crc32(attempt_id.encode()) % (1 << _ATTEMPT_BITS),
        )

    @classmethod
    def parse(cls, number: int) -> "Tag | None":
        """The tag in a limit's number; None when the limit was set by somebody else, or by nobody."""
        if number >> (_PID_BITS + _START_BITS + _ATTEMPT_BITS) != 1:
            return None
        return cls(
            pid=number >> (_START_BITS + _ATTEMPT_BITS) & ((1 << _PID_BITS) - 1),
            start=number >> _ATTEMPT_BITS & ((1 << _START_BITS) - 1),
            attempt=number & ((1 << _ATTEMPT_BITS) - 1),
        )

    def __int__(self) -> int:
        return _TAG_BIT | (self.pid << _START_BITS | self.start) << _ATTEMPT_BITS | self.attempt
