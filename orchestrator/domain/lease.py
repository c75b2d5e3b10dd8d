"""When a lease has expired: judged by watching a heartbeat number, never by comparing two machines' clocks."""

from collections.abc import Iterable
from typing import NamedTuple


class Beat(NamedTuple):
    """A live attempt and the heartbeat number last read."""

    attempt_id: str
    heartbeat: int


class Observer:
    """Watches heartbeats from one process.

    An attempt is expired when its number was seen unchanged for `ttl_seconds` of the observer's own boot-time
    clock, while it could read the database all along: a gap of more than `max_gap_seconds` between two looks means
    that it was blind, and every count starts again.
    """

    def __init__(self, *, ttl_seconds: float, max_gap_seconds: float) -> None:
        self._ttl, self._max_gap = ttl_seconds, max_gap_seconds
        self._since: dict[Beat, float] = {}
        self._last_look: float | None = None

    def look(self, beats: Iterable[Beat], *, asked_at: float, read_at: float) -> list[Beat]:
        """The expired ones. `asked_at` and `read_at` are taken before and after the read, in seconds."""
        if self._last_look is None or asked_at - self._last_look > self._max_gap:
            self._since = {}
        self._last_look = read_at
        # A number first seen now is counted from after the read; silence is counted up to before it.
        self._since = {beat: self._since.get(beat, read_at) for beat in beats}
        return [beat for beat, since in self._since.items() if asked_at - since >= self._ttl]


def holder_deadline(*, renewed_at: float, ttl_seconds: float, margin_seconds: float) -> float:
    """When the holder must have killed its tree, counted from *before* its last successful renewal was sent."""
    return renewed_at + ttl_seconds - margin_seconds
