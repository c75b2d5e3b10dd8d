"""Who held which slot when: spans laid out in lanes, one for each slot, and what all jobs did at each moment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from orchestrator.analysis.course import AttemptSpan
from orchestrator.analysis.rows import Evidence
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


def _held(evidence: Evidence, now: datetime) -> Mapping[str, Sequence[Held]]:
    found: dict[str, list[Held]] = {}
    for span in evidence.course.attempts:
        end = (span.ended_at or now).timestamp()
        one = Held(span.started_at.timestamp(), end, span.job_id, 0.0, f"attempt {span.number}")
        found.setdefault(f"machine:{span.machine}", []).append(one)
    for resource, stages in evidence_holds(evidence, now):
        found.setdefault(resource, []).extend(stages)
    return found


def evidence_holds(evidence: Evidence, now: datetime) -> Iterable[tuple[str, Sequence[Held]]]:
    """What stages held, by resource. A stage that another one ran holds nothing of its own."""
    found: dict[str, list[Held]] = {}
    for stage in evidence.stages:
        if stage.resource and stage.started_at is not None:
            end = (stage.ended_at or now).timestamp()
            waited = stage.rate_limit_wait_seconds or 0.0
            one = Held(stage.started_at.timestamp(), end, stage.job_id, waited, stage.stage)
            found.setdefault(stage.resource, []).append(one)
    return found.items()


def lay_out(resource: str, spans: Sequence[Held], began: float, ended: float) -> Lanes:
    """Each span in the first lane that is free at its start: as many lanes as were busy at once, and no more."""
    if len(spans) > MAX_LANE_SPANS:
        return _busy(resource, spans, began, ended)
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
    if len(lanes) > MAX_LANES:
        return _busy(resource, spans, began, ended)
    return Lanes(
        resource=resource,
        lanes=tuple(map(tuple, lanes)),
        spans=len(spans),
        held_seconds=sum(span.end - span.start for span in spans),
        limit_wait_seconds=sum(span.waited for span in spans),
    )


def _busy(resource: str, spans: Sequence[Held], began: float, ended: float) -> Lanes:
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    busy = mean_live(starts, ends, began, ended)
    return Lanes(resource=resource, lanes=(), busy=tuple(busy.tolist()), spans=len(spans))


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
    starts, ends = [one.timestamp() for one, _ in spans], [one.timestamp() for _, one in spans]
    return tuple(mean_live(starts, ends, began, ended).tolist())


def mean_live(
    starts: Sequence[float], ends: Sequence[float], began: float, ended: float, steps: int = FLOW_STEPS
) -> Floats:
    """How many of these spans were live on average in each of `steps` equal steps from `began` to `ended`."""
    edges = np.linspace(began, ended, steps + 1)
    first, last = np.array(starts, dtype=np.float64), np.maximum(np.array(ends, dtype=np.float64), starts or 0.0)
    lived = _lived_before(edges, first) - _lived_before(edges, last)
    return np.diff(lived) / np.diff(edges)


def _lived_before(edges: Floats, moments: Floats) -> Floats:
    """At each edge, the sum over all moments before it of the time since: two of these subtract to time lived."""
    ordered = np.sort(moments)
    sums = np.concatenate([[0.0], np.cumsum(ordered - edges[0])])
    before = np.searchsorted(ordered, edges)
    passed: Floats = before * (edges - edges[0]) - sums[before]
    return passed
