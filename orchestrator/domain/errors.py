"""The one exception tree, and the exit code of each branch.

BakeoffError                 1  a bug of ours when raised bare
├── InvalidInput             3  a file or argument is wrong; carries every fault found
├── Unavailable              4  something this machine needs is missing (binary, port, server)
├── StorageError             5  the results database cannot be read or written
├── NotFound                 6  the named experiment, job or file does not exist
├── Conflict                 7  the thing is in a state that forbids the request
│   └── IllegalTransition       a state machine was asked for a move its table does not have
└── StaleAttempt             8  a fenced write came from an attempt that no longer owns its job
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command. 2 is the command line's own usage error."""

    OK = 0
    BUG = 1
    USAGE = 2
    INVALID_INPUT = 3
    UNAVAILABLE = 4
    STORAGE = 5
    NOT_FOUND = 6
    CONFLICT = 7
    STALE = 8
    UNFINISHED = 9  # `run` or `watch` ended while jobs were still open
    INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong in a file: where, what was found, what would be accepted."""

    file: str
    field: str
    message: str
    line: int | None = None
    found: str | None = None
    accepted: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        if self.found is not None:
            text += f" (found {self.found})"
        if self.accepted:
            text += f"; accepted: {self.accepted}"
        return text


class BakeoffError(Exception):
    """Something went wrong inside Bakeoff."""

    exit_code = ExitCode.BUG
    kind = "bug"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class InvalidInput(BakeoffError):
    """The input is not valid."""

    exit_code = ExitCode.INVALID_INPUT
    kind = "invalid_input"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Unavailable(BakeoffError):
    """Something that this machine needs is not there."""

    exit_code = ExitCode.UNAVAILABLE
    kind = "unavailable"


class StorageError(BakeoffError):
    """The results database cannot be used."""

    exit_code = ExitCode.STORAGE
    kind = "storage"


class NotFound(BakeoffError):
    """No such thing."""

    exit_code = ExitCode.NOT_FOUND
    kind = "not_found"


class Conflict(BakeoffError):
    """The present state forbids this."""

    exit_code = ExitCode.CONFLICT
    kind = "conflict"


class IllegalTransition(Conflict):
    """The state machine has no such move."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        self.machine, self.state, self.event = machine, state, event
        super().__init__(f"{machine}: no move {event!r} from state {state!r}")


class StaleAttempt(BakeoffError):
    """This attempt no longer owns its job, so its write was refused."""

    exit_code = ExitCode.STALE
    kind = "stale_attempt"
