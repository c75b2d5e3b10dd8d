"""Who held which slot when: spans laid out in lanes, one for each slot, and what all jobs did at each moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from orchestrator.analysis.course import AttemptSpan
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.stage_groups import groups
from orchestrator.analysis.stage_table import UNKNOWN_TIME, Integers, StageTable
from orchestrator.analysis.tally import Floats

# With more spans or slots than this a resource is shown as how many were busy: lanes would be thinner than a line.
MAX_LANE_SPANS, MAX_LANES = 1500, 24
FLOW_STEPS = 200


class Held(NamedTuple):
    """A slot was held from `start` to `end` (seconds since 1970), `waited` seconds of it by a provider's limit."""

    start: float
    end: float
    job_id: int
    waited: float
    what: str


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """A resource (`machine:red`, `account:max`, `pool:gpu`): its lanes, or how many of its slots were busy on average
    in each of `FLOW_STEPS` equal steps of the night where lanes would be too many."""

    resource: str
    lanes: tuple[tuple[Held, ...], ...]
    busy: tuple[float, ...] = ()
    spans: int = 0
    held_seconds: float = 0.0
    limit_wait_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Flow:
    """How many jobs, on average in each step of the night, waited in the queue, were parked, and worked."""

    waiting: tuple[float, ...]
    parked: tuple[float, ...]
    working: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Night:
    """Everything between the first start and the last end, in seconds since 1970."""

    began: float
    ended: float
    resources: tuple[Lanes, ...]
    flow: Flow


def night(evidence: Evidence) -> Night | None:
    """None before anything has run."""
    attempts = evidence.course.attempts
    if not attempts:
        return None
    now = evidence.generated_at
    began = min(span.started_at for span in attempts).timestamp()
    ended = max(span.ended_at or now for span in attempts).timestamp()
    if ended <= began:
        return None
    held = _held(evidence, now)
    return Night(
        began=began,
        ended=ended,
        resources=tuple(lay_out(name, held[name], began, ended) for name in sorted(held, key=_place)),
        flow=flow(attempts, began, ended, now),
    )


def _place(resource: str) -> tuple[int, str]:
    kind = resource.partition(":")[0]
    return {"machine": 0, "account": 1, "pool": 2}.get(kind, 3), resource


@dataclass(frozen=True, kw_only=True, eq=False)
class Holds:
    """All spans of a resource as columns; `said` are what each of them was."""

    starts: Floats
    ends: Floats
    waited: Floats
    jobs: Integers
    said: Callable[[int], str]

    def span(self, at: int) -> Held:
        """One of them."""
        job, waited = int(self.jobs[at]), float(self.waited[at])
        return Held(float(self.starts[at]), float(self.ends[at]), job, waited, self.said(at))


def _held(evidence: Evidence, now: datetime) -> Mapping[str, Holds]:
    found: dict[str, list[AttemptSpan]] = {}
    for span in evidence.course.attempts:
        found.setdefault(f"machine:{span.machine}", []).append(span)
    return {name: _attempt_holds(those, now) for name, those in found.items()} | _stage_holds(evidence, now)


def _attempt_holds(spans: Sequence[AttemptSpan], now: datetime) -> Holds:
    return Holds(
        starts=np.array([span.started_at.timestamp() for span in spans]),
        ends=np.array([(span.ended_at or now).timestamp() for span in spans]),
        waited=np.zeros(len(spans)),
        jobs=np.array([span.job_id for span in spans], dtype=np.int64),
        said=lambda at: f"attempt {spans[at].number}",
    )


def _stage_holds(evidence: Evidence, now: datetime) -> dict[str, Holds]:
    """What stages held, by resource."""
    table = StageTable.of(evidence.stages)
    began, ended = table.times["started_at"], table.times["ended_at"]
    ended = np.where(ended == UNKNOWN_TIME, round(now.timestamp() * 1e6), ended)
    resources = table.words["resource"]
    used = np.where(resources.where(bool) & (began != UNKNOWN_TIME), resources.codes, -1)
    return {
        str(resources.known[code]): Holds(
            starts=began[places] / 1e6,
            ends=np.maximum(began, ended)[places] / 1e6,
            waited=np.nan_to_num(table.numbers["rate_limit_wait_seconds"][places]),
            jobs=table.whole["job_id"][places],
            said=_stage_names(table, places),
        )
        for (code,), places in groups(used)
    }


def _stage_names(table: StageTable, places: Integers) -> Callable[[int], str]:
    return lambda at: table.words["stage"].at(int(places[at])) or ""


def lay_out(resource: str, holds: Holds, began: float, ended: float) -> Lanes:
    """Each span in the first lane that is free at its start: as many lanes as were busy at once, and no more."""
    count = len(holds.starts)
    lanes = _lanes([holds.span(at) for at in range(count)]) if count <= MAX_LANE_SPANS else ()
    busy = () if lanes else tuple(mean_live(holds.starts, holds.ends, began, ended).tolist())
    return Lanes(
        resource=resource,
        lanes=lanes,
        busy=busy,
        spans=count,
        held_seconds=float((holds.ends - holds.starts).sum()),
        limit_wait_seconds=float(holds.waited.sum()),
    )


def _lanes(spans: Sequence[Held]) -> tuple[tuple[Held, ...], ...]:
    """Nothing where there would be too many."""
    lanes: list[list[Held]] = []
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    for span in sorted(spans):
        while taken and taken[0][0] <= span.start:
            heappush(free, heappop(taken)[1])
        if not free:
            free.append(len(lanes))
            lanes.append([])
        lane = heappop(free)
        lanes[lane].append(span)
        heappush(taken, (max(span.end, span.start), lane))
    return tuple(map(tuple, lanes)) if len(lanes) <= MAX_LANES else ()


def flow(attempts: Sequence[AttemptSpan], began: float, ended: float, now: datetime) -> Flow:
    """Waiting is from the queue to the start, less the time that the job was parked."""
    waits, parks, works = [], [], []
    previous: AttemptSpan | None = None
    for span in attempts:
        parked = None
        if previous is not None and previous.job_id == span.job_id and previous.parked_until is not None:
            parked = min(previous.parked_until, span.started_at)
            parks.append((span.queued_at, parked))
        waits.append((parked or span.queued_at, span.started_at))
        works.append((span.started_at, span.ended_at or now))
        previous = span
    last = {span.job_id: span for span in attempts}
    parks += [(span.ended_at, now) for span in last.values() if span.parked_until is not None and span.ended_at]
    return Flow(
        waiting=_mean(waits, began, ended), parked=_mean(parks, began, ended), working=_mean(works, began, ended)
    )


def _mean(spans: Sequence[tuple[datetime, datetime]], began: float, ended: float) -> tuple[float, ...]:
    starts, ends = (np.array([pair[side].timestamp() for pair in spans], dtype=np.float64) for side in (0, 1))
    return tuple(mean_live(starts, np.maximum(starts, ends), began, ended).tolist())


def mean_live(starts: Floats, ends: Floats, began: float, ended: float, steps: int = FLOW_STEPS) -> Floats:
    """How many of these spans were live on average in each of `steps` equal steps from `began` to `ended`."""
    edges = np.linspace(began, ended, steps + 1)
    lived = _lived_before(edges, starts) - _lived_before(edges, ends)
    live: Floats = np.diff(lived) / np.diff(edges)
    return live


def _lived_before(edges: Floats, moments: Floats) -> Floats:
    """At each edge, the sum over all moments before it of the time since: two of these subtract to time lived."""
    ordered = np.sort(moments)
    sums = np.concatenate([[0.0], np.cumsum(ordered - edges[0])])
    before = np.searchsorted(ordered, edges)
    passed: Floats = before * (edges - edges[0]) - sums[before]
    return passed
