"""What an account's windows allow: zones, and whether new work starts, starts one at a time, or is deferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from orchestrator.domain.window import WHOLE, Entry, Standing, Statement, WindowSpec, falls_below, standing


class Zone(StrEnum):
    """How full a window is, of the share that is not kept for people."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


Behaviour = Literal["run", "slow", "defer"]

# Each zone begins at this percentage, exactly.
_BEGINS_AT = {Zone.GREEN: 0, Zone.YELLOW: 70, Zone.ORANGE: 85, Zone.RED: 95}
DEFAULT_BEHAVIOUR: Mapping[Zone, Behaviour] = {
    Zone.GREEN: "run",
    Zone.YELLOW: "run",
    Zone.ORANGE: "slow",
    Zone.RED: "defer",
}


@dataclass(frozen=True, kw_only=True)
class WindowState:
    """A window with what is known about it."""

    spec: WindowSpec
    statement: Statement | None
    standing: Standing
    zone: Zone | None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How many sessions may be live on an account for a new one to start, why, and until when at the latest.

    `sessions` is None for as many as its concurrency allows. `until` is seconds since 1970.
    """

    sessions: int | None = None
    reason: str = ""
    until: float | None = None


def zone_of(used_ppm: int | None, reserve_ppm: int = 0) -> Zone | None:
    """The zone of a use, None when it is unknown.

    Edges are shares of what is left beside the reserve: with 20 % kept for people, red begins at 95 % of 80 % = 76 %.
    """
    if used_ppm is None:
        return None
    ours = WHOLE - reserve_ppm
    return [zone for zone, percent in _BEGINS_AT.items() if used_ppm * 100 >= percent * ours][-1]


def begins_at_ppm(zone: Zone, reserve_ppm: int) -> int:
    """The least whole use that lies in the zone."""
    return -(-_BEGINS_AT[zone] * (WHOLE - reserve_ppm) // 100)


def state_of(spec: WindowSpec, statement: Statement | None, entries: Sequence[Entry], now: float) -> WindowState:
    """A window with its zone."""
    stands = standing(spec, statement, entries, now)
    zone = zone_of(stands.used_ppm, spec.reserve_ppm)
    return WindowState(spec=spec, statement=statement, standing=stands, zone=zone)


def gate_of(state: WindowState, behaviour: Mapping[Zone, Behaviour], entries: Sequence[Entry], now: float) -> Gate:
    """What one window allows. What is unknown allows everything: the first answer of the provider will tell."""
    acts = "run" if state.zone is None else behaviour[state.zone]
    if state.zone is None or acts == "run":
        return Gate()
    until = _ends_at(state, behaviour, entries, now)
    used = (state.standing.used_ppm or 0) * 100 // WHOLE
    what = "deferred" if acts == "defer" else "one session at a time"
    when = "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC"
    reason = f"{state.spec.name} window at {used} % ({state.zone}), {what}{when}"
    return Gate(sessions=0 if acts == "defer" else 1, reason=reason, until=until)


def strictest(gates: Sequence[Gate]) -> Gate:
    """The gate that leaves the fewest sessions; of equal ones the one that lasts longest."""
    closing = [gate for gate in gates if gate.sessions is not None]
    return min(closing, key=lambda gate: (gate.sessions, -(gate.until or 0.0)), default=Gate())


def _ends_at(
    state: WindowState, behaviour: Mapping[Zone, Behaviour], entries: Sequence[Entry], now: float
) -> float | None:
    """When the use falls below the first zone that behaves as this one does."""
    assert state.zone is not None  # asked only then
    zones = list(Zone)
    first = zones.index(state.zone)
    while first and behaviour[zones[first - 1]] == behaviour[state.zone]:
        first -= 1
    edge = begins_at_ppm(zones[first], state.spec.reserve_ppm)
    return falls_below(state.spec, state.statement, entries, now, edge)
