"""A fleet in simulated time: the production order code, with durations that are given instead of waited for.

The scheduler's pass is the real one (`worth_reading`, `pick`, `lookahead`), and so are the zones of quota windows.
Workers are assumed to be there for every slot and to claim a hint at once. Nothing fails or is cancelled, and a job
that began is not parked.
"""

import heapq
import math
import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from orchestrator.analysis.simulated_windows import Quotas, SimulatedWindow, Use
from orchestrator.domain.order import Candidate, lookahead, pick, worth_reading


class SimulatedJob(NamedTuple):
    """A job with the slots it holds (one of each resource), its place in the order, and how long it takes.

    One that runs already has its slots whatever they are worth, and `seconds` still to go. One that is parked is not
    ready before its time.
    """

    needs: tuple[str, ...]
    position: int
    seconds: float
    uses: tuple[Use, ...] = ()
    running: bool = False
    not_before: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came out. `starts` are in the order of the jobs given; None for those whose resource has no slot, and
    those that a window or budget never lets in. `held_seconds` and `peaks` are by window, as given.
    """

    makespan_seconds: float
    lower_bound_seconds: float
    starts: tuple[float | None, ...]
    busy_seconds: Mapping[str, float]  # by resource
    passes: int
    held_seconds: tuple[float, ...] = ()
    peaks: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Makespan by lower bound; None when there was nothing to do."""
        return self.makespan_seconds / self.lower_bound_seconds if self.lower_bound_seconds > 0 else None


def simulate(
    jobs: Sequence[SimulatedJob],
    slots: Mapping[str, int],
    *,
    tick_seconds: float = 0.0,
    windows: Sequence[SimulatedWindow] = (),
) -> Simulated:
    """Run `jobs` on `slots`, with a scheduler pass every `tick_seconds` (0 = right after each end)."""
    fleet = _Fleet(jobs, {name: count for name, count in slots.items() if count > 0}, Quotas(windows))
    now, passes = 0.0, 0
    while True:
        fleet.dispatch(now)
        passes += 1
        now = fleet.work_until(tick_seconds)
        if math.isinf(now):
            break
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
        held_seconds=fleet.quotas.held_seconds(),
        peaks=fleet.quotas.peaks(),
    )


class _Fleet:
    """The state between two passes."""

    def __init__(self, jobs: Sequence[SimulatedJob], slots: Mapping[str, int], quotas: Quotas) -> None:
        self._jobs, self._slots, self.quotas = jobs, slots, quotas
        self._ready: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
        self._parked: list[tuple[float, int]] = []
        self.running: list[tuple[float, int]] = []
        self.starts: list[float | None] = [None] * len(jobs)
        self.last_end = 0.0
        self._free: defaultdict[str, int] = defaultdict(int, slots)  # slots that no running job holds
        self._passed_over: Counter[int] = Counter()
        self._hints: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
        self._idle: list[str] = []  # what ready jobs need and has a free slot
        for index in sorted(range(len(jobs)), key=lambda index: (jobs[index].position, index)):
            if jobs[index].running:
                self._start(index, 0.0)
            elif jobs[index].not_before > 0:
                heapq.heappush(self._parked, (jobs[index].not_before, index))
            else:
                self._ready[jobs[index].needs].append(index)

    def dispatch(self, now: float) -> None:
        """One pass of the scheduler, and the claims that follow from it."""
        self.quotas.advance(now, self._idle)
        while self._parked and self._parked[0][0] <= now:
            self._wake(heapq.heappop(self._parked)[1])
        free = {name: self._free[name] for name in self._slots}
        for needs, hints in self._hints.items():
            for need in needs:
                free[need] -= len(hints)
        for gate, most in self.quotas.sessions().items():
            if gate in free:
                free[gate] = min(free[gate], most - (self._slots[gate] - free[gate]))
        ahead = lookahead(self._slots, [needs for needs, waiting in self._ready.items() if waiting])
        picked = pick(list(self._candidates(free, ahead)), free, ahead)
        self._passed_over.update(picked.passed_over)
        for index in picked.chosen:
            needs = self._jobs[index].needs
            # Of jobs with the same needs the first ones are chosen, always.
            self._ready[needs].popleft()
            self._hints[needs].append(index)
        self._claim(now)
        waiting = {need for needs, ready in self._ready.items() if ready for need in needs}
        self._idle = [need for need in waiting if self._free[need] > 0]

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
                self._start(hints.popleft(), now)

    def _start(self, index: int, now: float) -> None:
        job = self._jobs[index]
        for need in job.needs:
            self._free[need] -= 1
        self.starts[index] = now
        self.quotas.use(job.uses, now)
        heapq.heappush(self.running, (now + job.seconds, index))

    def _wake(self, index: int) -> None:
        """It keeps its place in the order."""
        ready, place = self._ready[self._jobs[index].needs], self._jobs[index].position
        before = sum(1 for other in ready if (self._jobs[other].position, other) < (place, index))
        ready.insert(before, index)

    def work_until(self, tick_seconds: float) -> float:
        """Let jobs end up to the first pass after the next end, reset or wake-up; hints that are out are claimed
        meanwhile. Infinite when nothing is left to come."""
        first = self.running[0][0] if self.running else math.inf
        if self._parked:
            first = min(first, self._parked[0][0])
        if any(self._ready.values()):
            first = min(first, self.quotas.next_change())
        if math.isinf(first):
            return first
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
