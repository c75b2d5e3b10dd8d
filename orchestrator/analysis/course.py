"""How a night went, as bounded rows: attempts on machines, windows of accounts, contexts of single stages.

Everything here may be cut, and says by how much: it is for pictures, and no verdict rests on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class AttemptSpan:
    """An attempt on its machine. `queued_at` is when its job came to be or was left by the attempt before.

    `lease_wait_seconds` is what it waited for slots between stages, `limit_wait_seconds` for providers' limits.
    """

    job_id: int
    number: int
    machine: str
    queued_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    parked_until: datetime | None = None
    lease_wait_seconds: float | None = None
    limit_wait_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class WindowPoint:
    """A window's use at a moment, in parts per million of the whole; None where nobody could know."""

    at: datetime
    used_ppm: int | None


@dataclass(frozen=True, kw_only=True)
class WindowCourse:
    """A quota window over the night. `ceiling_ppm` is what is not kept for people; `resets` are those that came."""

    account: str
    window: str
    ceiling_ppm: int
    points: tuple[WindowPoint, ...]
    resets: tuple[datetime, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ContextCurve:
    """How full a stage's context was after each of its turns, thinned out; `compactions` are numbers of turns."""

    job_id: int
    attempt: int
    order: int
    window_tokens: int
    turns: tuple[tuple[int, int], ...]
    compactions: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Course:
    """All of it. The counts tell how many were not read: attempts, and stages that have a curve of their own."""

    attempts: tuple[AttemptSpan, ...] = ()
    windows: tuple[WindowCourse, ...] = ()
    contexts: tuple[ContextCurve, ...] = ()
    attempts_left_out: int = 0
    contexts_left_out: int = 0


def thinned(turns: Sequence[tuple[int, int]], most: int) -> tuple[tuple[int, int], ...]:
    """At most about so many points: of each run of neighbours the lowest and the highest, and both ends."""
    if len(turns) <= most:
        return tuple(turns)
    width = -(-2 * len(turns) // most)
    kept = {0, len(turns) - 1}
    for start in range(0, len(turns), width):
        group = range(start, min(start + width, len(turns)))
        kept |= {min(group, key=lambda at: turns[at][1]), max(group, key=lambda at: turns[at][1])}
    return tuple(turns[at] for at in sorted(kept))
