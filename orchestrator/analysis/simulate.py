"""A fleet in simulated time: the production order code, with durations that are given instead of waited for.

The scheduler's pass is the real one (`worth_reading`, `pick`, `lookahead`). Workers are assumed to be there for every
slot and to claim a hint at once. Nothing fails, parks or is cancelled.
"""

import heapq
import math
import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from orchestrator.domain.order import Candidate, lookahead, pick, worth_reading


class SimulatedJob(NamedTuple):
    """A job with the slots it holds (one of each resource), its place in the order, and how long it takes."""

    needs: tuple[str, ...]
    position: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came out. `starts` are in the order of the jobs given; None for those whose resource has no slot."""

    makespan_seconds: float
    lower_bound_seconds: float
    starts: tuple[float | None, ...]
    busy_seconds: Mapping[str, float]  # by resource
    passes: int

    @property
    def ratio(self) -> float | None:
        """Makespan by lower bound; None when there was nothing to do."""
        return self.makespan_seconds / self.lower_bound_seconds if self.lower_bound_seconds > 0 else None


def simulate(jobs: Sequence[SimulatedJob], slots: Mapping[str, int], *, tick_seconds: float = 0.0) -> Simulated:
    """Run `jobs` on `slots`, with a scheduler pass every `tick_seconds` (0 = right after each end)."""
    fleet = _Fleet(jobs, {name: count for name, count in slots.items() if count > 0})
    now, passes = 0.0, 0
    while True:
        fleet.dispatch(now)
        passes += 1
        if not fleet.running:
            break
        now = fleet.work_until(tick_seconds)
    busy: defaultdict[str, float] = defaultdict(float)
    for job, start in zip(jobs, fleet.starts, strict=True):
        for need in job.needs if start is not None else ():
            busy[need] += job.seconds
    ran = [job.seconds for job, start in zip(jobs, fleet.starts, strict=True) if start is not None]
    return Simulated(
        makespan_seconds=fleet.last_end,
        lower_bound_seconds=max([*(work / slots[name] for name, work in busy.items()), *ran], default=0.0),
        starts=tuple(fleet.starts),
        busy_seconds=dict(busy),
        passes=passes,
    )


class _Fleet:
    """The state between two passes."""

    def __init__(self, jobs: Sequence[SimulatedJob], slots: Mapping[str, int]) -> None:
        self._jobs, self._slots = jobs, slots
        self._ready: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
        for index in sorted(range(len(jobs)), key=lambda index: (jobs[index].position, index)):
            self._ready[jobs[index].needs].append(index)
        self._passed_over: Counter[int] = Counter()
        self._free = dict(slots)  # slots that no running job holds
        self._hints: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
        self.running: list[tuple[float, int]] = []
        self.starts: list[float | None] = [None] * len(jobs)
        self.last_end = 0.0

    def dispatch(self, now: float) -> None:
        """One pass of the scheduler, and the claims that follow from it."""
        free = dict(self._free)
        for needs, hints in self._hints.items():
            for need in needs:
                free[need] -= len(hints)
        ahead = lookahead(self._slots, [needs for needs, waiting in self._ready.items() if waiting])
        picked = pick(list(self._candidates(free, ahead)), free, ahead)
        self._passed_over.update(picked.passed_over)
        for index in picked.chosen:
            needs = self._jobs[index].needs
            # Of jobs with the same needs the first ones are chosen, always.
            self._ready[needs].popleft()
            self._hints[needs].append(index)
        self._claim(now)

    def _candidates(self, free: Mapping[str, int], ahead: Mapping[str, int]) -> Iterable[Candidate]:
        for needs, waiting in self._ready.items():
            limit = worth_reading(needs, free, ahead) if waiting else 0
            for index in islice(waiting, limit):
                job = self._jobs[index]
                yield Candidate(
                    job_id=index, needs=needs, position=job.position, passed_over=self._passed_over[index]
                )

    def _claim(self, now: float) -> None:
        for needs, hints in self._hints.items():
            while hints and all(self._free[need] > 0 for need in needs):
                index = hints.popleft()
                for need in needs:
                    self._free[need] -= 1
                self.starts[index] = now
                heapq.heappush(self.running, (now + self._jobs[index].seconds, index))

    def work_until(self, tick_seconds: float) -> float:
        """Let jobs end up to the first pass after the next end; hints that are out are claimed meanwhile."""
        first = self.running[0][0]
        # Never before the end that it waits for: the product may round to just below it.
        until = max(first, math.ceil(first / tick_seconds) * tick_seconds) if tick_seconds > 0 else first
        while self.running and self.running[0][0] <= until:
            self.last_end, index = heapq.heappop(self.running)
            for need in self._jobs[index].needs:
                self._free[need] += 1
            self._claim(self.last_end)
        return until


def guessed_from_others(jobs: Sequence[tuple[str, str]], seconds: Sequence[float]) -> list[float | None]:
    """For each (target, profile) the median of its target under all other profiles; None where there is none."""
    by_target: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (target, profile), took in zip(jobs, seconds, strict=True):
        by_target[target][profile].append(took)
    guesses: dict[tuple[str, str], float | None] = {}
    for target, profiles in by_target.items():
        for profile in profiles:
            others = [took for other, values in profiles.items() if other != profile for took in values]
            guesses[target, profile] = statistics.median(others) if others else None
    return [guesses[job] for job in jobs]
