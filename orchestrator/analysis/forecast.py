"""When open jobs will have ended: the simulation of the fleet, night after night, with what is not known drawn.

What is not known at all is not drawn. Such a job takes no time in one set of nights and all that its limit allows in
another, and where these two disagree about a question, there is no answer to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.analysis.bottleneck import Bottleneck, bottleneck
from orchestrator.analysis.estimate import Estimate
from orchestrator.analysis.sampler import Floats, Sampler
from orchestrator.analysis.simulate import Simulated, SimulatedJob, simulate
from orchestrator.analysis.simulated_windows import SimulatedWindow, Use

# Nights to simulate: so many jobs over all of them, within these bounds.
_JOBS, _FEWEST, _MOST = 60_000, 11, 200
_LOW, _HIGH = 0.1, 0.9


class OpenJob(NamedTuple):
    """A job that has not ended, in the order in which jobs start.

    `kin` is what it shares with its repeats. `shares` are its estimated parts of windows by their place, None where
    it uses one and nobody knows how much. `elapsed` is set while it runs. Jobs that are not `ours` compete for slots.
    """

    label: str
    kin: str
    needs: tuple[str, ...]
    seconds: Estimate | None
    most_seconds: float
    shares: tuple[tuple[int, Estimate | None], ...] = ()
    elapsed: float | None = None
    not_before: float = 0.0
    ours: bool = True


class Span(NamedTuple):
    """Eight of ten nights lie between the ends."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, kw_only=True)
class WindowOutlook:
    """What comes of a window: its largest use (1 = the whole), and how long jobs wait for it in the middle night.

    `known` is whether all shares of it are: else both are lower bounds.
    """

    name: str
    gate: str
    peak: Span
    held_seconds: float
    known: bool


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """Whether our jobs end in time. `chance` is a share of nights; None when it cannot be told.

    `least` and `most` bound it by what is not known. `late` are the jobs that are not done in time, with the share of
    nights; those first that are late most often.
    """

    seconds: float
    least: float
    most: float
    late: tuple[tuple[str, float], ...]

    @property
    def chance(self) -> float | None:
        """The chance, where what is unknown does not matter."""
        return self.least if self.most - self.least < 0.01 else None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is foretold. `ends` are seconds from now; None when nothing of ours is left or nothing is known.

    `known` of `of` open jobs of ours have a known duration, `sure` of them with a spread. Where some have not, `ends`
    is a lower bound, and `latest` is with these at their limits. `never` are jobs that nothing lets in.
    """

    nights: int
    of: int
    known: int
    sure: int
    ends: Span | None
    latest: Span | None
    windows: tuple[WindowOutlook, ...]
    never: tuple[str, ...]
    bottleneck: Bottleneck | None
    deadline: Deadline | None = None

    @property
    def complete(self) -> bool:
        """Whether `ends` is no lower bound."""
        return self.known == self.of

    @property
    def ranged(self) -> bool:
        """Whether the ends of `ends` say anything."""
        return self.sure == self.of and self.nights >= _FEWEST


def forecast(
    jobs: Sequence[OpenJob],
    slots: Mapping[str, int],
    windows: Sequence[SimulatedWindow] = (),
    *,
    seed: int = 0,
    nights: int | None = None,
    by_seconds: float | None = None,
) -> Forecast:
    """Foretell. `by_seconds` is the deadline from now. The same arguments give the same forecast."""
    # Of very many jobs one night is as good as any other, and takes seconds; a chance needs several.
    least = _FEWEST if by_seconds is not None else 1
    count = nights or max(least, min(_MOST, _JOBS // max(1, len(jobs))))
    fleet = _Nights(jobs, slots, windows, seed)
    ours = [index for index, job in enumerate(jobs) if job.ours]
    known = sum(jobs[index].seconds is not None for index in ours)
    sure = sum(_sure(jobs[index]) for index in ours)
    told = list(fleet.run(count))
    latest = None
    if known < len(ours):
        latest = _span([night.end for night in fleet.run(max(1, count // 4), unknown="limit")])
    middle = sorted(told, key=lambda night: night.end)[(len(told) - 1) // 2]
    deadline = None if by_seconds is None else _deadline(fleet, told, ours, by_seconds, count)
    never = [jobs[index].label for index in ours if middle.done.starts[index] is None]
    return Forecast(
        nights=count,
        of=len(ours),
        known=known,
        sure=sure,
        ends=_span([night.end for night in told]) if known else None,
        latest=latest,
        windows=_windows(jobs, windows, told, middle),
        never=tuple(never),
        bottleneck=bottleneck(middle.jobs, middle.done, slots, windows, ours, [job.label for job in jobs]),
        deadline=deadline,
    )


class _Night(NamedTuple):
    """One simulated night; `end` is when the last of our jobs has ended."""

    jobs: list[SimulatedJob]
    done: Simulated
    end: float

    def ends_of(self, index: int) -> float:
        """Infinite for a job that never starts."""
        start = self.done.starts[index]
        return np.inf if start is None else start + self.jobs[index].seconds


class _Nights:
    """Makes nights of jobs."""

    def __init__(
        self,
        jobs: Sequence[OpenJob],
        slots: Mapping[str, int],
        windows: Sequence[SimulatedWindow],
        seed: int,
    ) -> None:
        self.jobs, self._slots, self._windows, self._seed = jobs, slots, windows, seed
        kin = [job.kin for job in jobs]
        self._seconds = Sampler([job.seconds for job in jobs], kin)
        by_window = [dict(job.shares) for job in jobs]
        self._shares = [Sampler([one.get(place) for one in by_window], kin) for place in range(len(windows))]
        self._elapsed = {index: job.elapsed for index, job in enumerate(jobs) if job.elapsed is not None}
        self._sure = np.array([_sure(job) for job in jobs], dtype=bool)
        self._most = np.array([max(0.0, job.most_seconds - (job.elapsed or 0.0)) for job in jobs])

    def run(self, nights: int, *, unknown: str = "nothing", unsure_too: bool = False) -> Iterable[_Night]:
        """So many nights. Jobs of unknown duration take nothing or their limit; with `unsure_too` also those whose
        spread is unknown."""
        chance = np.random.default_rng(self._seed)
        for _ in range(nights):
            normal = chance.standard_normal(len(self.jobs))
            seconds = self._seconds.draw(chance, normal, self._elapsed)
            open_ones = np.isnan(seconds) | (~self._sure if unsure_too else False)
            seconds = np.where(open_ones, self._most if unknown == "limit" else 0.0, seconds)
            shares = [np.nan_to_num(sampler.draw(chance, normal)) for sampler in self._shares]
            yield self._simulate(seconds, shares)

    def _simulate(self, seconds: Floats, shares: Sequence[Floats]) -> _Night:
        jobs = [
            SimulatedJob(
                job.needs,
                index,
                took,
                tuple(Use(place, float(shares[place][index])) for place, _ in job.shares),
                job.elapsed is not None,
                job.not_before,
            )
            for index, (job, took) in enumerate(zip(self.jobs, seconds.tolist(), strict=True))
        ]
        done = simulate(jobs, self._slots, windows=self._windows)
        ends = (
            start + job.seconds
            for job, start, open_job in zip(jobs, done.starts, self.jobs, strict=True)
            if open_job.ours and start is not None
        )
        return _Night(jobs, done, max(ends, default=0.0))


def _sure(job: OpenJob) -> bool:
    return job.seconds is not None and job.seconds.spread is not None


def _span(values: Sequence[float]) -> Span:
    # Between a number and infinity there is nothing to interpolate.
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(values).all() else "nearest"
    low, middle, high = np.quantile(np.array(values), [_LOW, 0.5, _HIGH], method=method).tolist()
    return Span(low, middle, high)


def _windows(
    jobs: Sequence[OpenJob], windows: Sequence[SimulatedWindow], told: Sequence[_Night], middle: _Night
) -> tuple[WindowOutlook, ...]:
    unknown = {place for job in jobs for place, share in job.shares if share is None}
    used = {place for job in jobs for place, _ in job.shares}
    return tuple(
        WindowOutlook(
            name=window.name,
            gate=window.gate,
            peak=_span([night.done.peaks[place] for night in told]),
            held_seconds=middle.done.held_seconds[place],
            known=place not in unknown,
        )
        for place, window in enumerate(windows)
        if place in used
    )


def _deadline(fleet: _Nights, told: Sequence[_Night], ours: Sequence[int], by_seconds: float, count: int) -> Deadline:
    sets: list[Sequence[_Night]] = [told]
    if not all(_sure(fleet.jobs[index]) for index in ours):
        few = max(_FEWEST, count // 4)
        sets = [list(fleet.run(few, unknown=how, unsure_too=True)) for how in ("nothing", "limit")]
    chances = [_share_in_time(nights, ours, by_seconds) for nights in sets]
    # A window may close at any moment when nobody knows what jobs take of it.
    blind = any(share is None for index in ours for _, share in fleet.jobs[index].shares)
    late = []
    for index in ours:
        share = sum(night.ends_of(index) > by_seconds for night in told) / len(told)
        if share >= 0.5:
            late.append((fleet.jobs[index].label, share))
    return Deadline(
        seconds=by_seconds,
        least=0.0 if blind else min(chances),
        most=max(chances),
        late=tuple(sorted(late, key=lambda one: -one[1])),
    )


def _share_in_time(nights: Sequence[_Night], ours: Sequence[int], by_seconds: float) -> float:
    return sum(all(night.ends_of(index) <= by_seconds for index in ours) for night in nights) / len(nights)
