"""Quota windows and budgets in simulated time: how full they are, what that allows, and when it gets better.

Zones and what they do are those of production. A job's share counts from its start, as if it were reserved. A budget
is a window that is never reset.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from orchestrator.domain.window import WHOLE, Kind
from orchestrator.domain.zones import DEFAULT_BEHAVIOUR, Behaviour, Zone, zone_of

_SESSIONS: Mapping[Behaviour, int | None] = {"run": None, "slow": 1, "defer": 0}


@dataclass(frozen=True, kw_only=True)
class SimulatedWindow:
    """A window as the simulation begins. `gate` is what it holds back: an account, or a scope of one model.

    `resets_in_seconds` is when a fixed one empties for the first time, a rolling one forgets what was used so far.
    """

    name: str
    gate: str
    length_seconds: float
    kind: Kind = "fixed"
    used_ppm: float = 0.0
    resets_in_seconds: float = inf
    reserve_ppm: int = 0
    behaviour: Mapping[Zone, Behaviour] = field(default_factory=lambda: DEFAULT_BEHAVIOUR)


class Use(NamedTuple):
    """What a job uses of a window, by its place in the list of windows."""

    window: int
    ppm: float


class _Window:
    """A window that goes through time."""

    def __init__(self, spec: SimulatedWindow) -> None:
        self.spec, self.used, self.peak, self.held_seconds = spec, spec.used_ppm, spec.used_ppm, 0.0
        self._ends = deque([(spec.resets_in_seconds, spec.used_ppm)] if spec.kind == "rolling" else [])
        self._reset = spec.resets_in_seconds

    def advance(self, now: float) -> None:
        if self.spec.kind == "fixed" and now >= self._reset:
            past = (now - self._reset) // self.spec.length_seconds
            self._reset += (past + 1) * self.spec.length_seconds
            self.used = 0.0
        while self._ends and self._ends[0][0] <= now:
            self.used -= self._ends.popleft()[1]

    def use(self, now: float, ppm: float) -> None:
        self.used += ppm
        self.peak = max(self.peak, self.used)
        if self.spec.kind == "rolling":
            self._ends.append((now + self.spec.length_seconds, ppm))

    def sessions(self) -> int | None:
        zone = zone_of(int(self.used + 0.5), self.spec.reserve_ppm)
        return None if zone is None else _SESSIONS[self.spec.behaviour[zone]]

    def better_at(self) -> float:
        if self.spec.kind == "fixed":
            return self._reset
        return self._ends[0][0] if self._ends else inf


class Quotas:
    """All windows of a simulation."""

    def __init__(self, specs: Sequence[SimulatedWindow]) -> None:
        self._windows = [_Window(spec) for spec in specs]
        self._now = 0.0

    def advance(self, now: float, waiting: Iterable[str]) -> None:
        """Let time pass, during which ready jobs waited at these gates though a slot was free."""
        gates = set(waiting)
        for window in self._windows:
            if window.spec.gate in gates and window.sessions() is not None:
                window.held_seconds += now - self._now
            window.advance(now)
        self._now = now

    def use(self, uses: Iterable[Use], now: float) -> None:
        """A job starts."""
        for one in uses:
            self._windows[one.window].use(now, one.ppm)

    def sessions(self) -> dict[str, int]:
        """The gates that let in fewer than they could, and how many may be live."""
        found: dict[str, int] = {}
        for window in self._windows:
            if (most := window.sessions()) is not None:
                found[window.spec.gate] = min(most, found.get(window.spec.gate, most))
        return found

    def next_change(self) -> float:
        """When the next window that holds back gets better."""
        return min((one.better_at() for one in self._windows if one.sessions() is not None), default=inf)

    def held_seconds(self) -> tuple[float, ...]:
        """By window, how long jobs waited for it beside free slots: it let none in, or one at a time."""
        return tuple(window.held_seconds for window in self._windows)

    def peaks(self) -> tuple[float, ...]:
        """By window, the largest share that was used, 1 for the whole."""
        return tuple(window.peak / WHOLE for window in self._windows)
