"""What is known from runs that ended, and what it says about a job: the nearest runs that are enough."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.analysis.estimate import LEAST_RUNS, Estimate, Source, estimate_alike, estimate_another
from orchestrator.analysis.sizes import Sizes, sizes_of

# What is measured of a run, beside windows and stages.
SECONDS, TOKENS, COST = "seconds", "tokens", "cost_usd_micros"


def window_share(account: str, window: str) -> str:
    """The quantity: parts per million of a window of an account."""
    return f"window:{account}/{window}"


def of_stage(stage: str, quantity: str) -> str:
    """The quantity: what all stages of this name take together within a job."""
    return f"stage:{stage}:{quantity}"


class Subject(NamedTuple):
    """What a run or job is of. `agent` names agent, models and loop; the others are hashes of content."""

    cell: str
    target: str
    profile: str
    agent: str


class Run(NamedTuple):
    """A run that ended with a result, and what it took, by quantity. What is not known of it is not there."""

    of: Subject
    took: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Known:
    """All runs, and what follows from them. Estimates are made when they are asked for, and kept."""

    runs: tuple[Run, ...] = ()
    _near: dict[tuple[Source, str, str], list[Run]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _made: dict[tuple[Source, str, str, str], Estimate | None] = field(default_factory=dict, repr=False)
    _sizes: dict[str, Sizes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for run in self.runs:
            for source in Source:
                if source is not Source.SIZED:
                    self._near[_key(source, run.of)].append(run)

    def expect(self, subject: Subject, quantity: str) -> Estimate | None:
        """What a job takes of this; None where nothing is known."""
        if not self.runs:
            return None
        for source in Source:
            near = _key(source, subject)
            if source is not Source.SIZED and near not in self._near:
                continue
            key = (*near, quantity)
            if key not in self._made:
                self._made[key] = self._make(source, subject, quantity)
            if (found := self._made[key]) is not None:
                return found
        return None

    def stages(self) -> tuple[str, ...]:
        """The quantities of stages that any run has."""
        return tuple(sorted({name for run in self.runs for name in run.took if name.startswith("stage:")}))

    def _make(self, source: Source, subject: Subject, quantity: str) -> Estimate | None:
        if source is Source.SIZED:
            return self._size(quantity).expect(subject.agent, subject.target)
        runs = [run for run in self._near.get(_key(source, subject), ()) if quantity in run.took]
        if len(runs) < LEAST_RUNS:
            return None
        values = [run.took[quantity] for run in runs]
        if source.of_this_target:
            return estimate_alike(source, values)
        groups = [run.of.agent if source is Source.TARGET else run.of.target for run in runs]
        return estimate_another(source, values, groups)

    def _size(self, quantity: str) -> Sizes:
        if quantity not in self._sizes:
            runs = [run for run in self.runs if quantity in run.took]
            self._sizes[quantity] = sizes_of(
                [run.of.agent for run in runs], [run.of.target for run in runs], [run.took[quantity] for run in runs]
            )
        return self._sizes[quantity]


NOTHING_KNOWN = Known()


def _key(source: Source, subject: Subject) -> tuple[Source, str, str]:
    match source:
        case Source.CELL:
            return source, subject.cell, ""
        case Source.AGENT_ON_TARGET | Source.SIZED:
            return source, subject.agent, subject.target
        case Source.PROFILE:
            return source, subject.profile, ""
        case Source.AGENT:
            return source, subject.agent, ""
        case Source.TARGET:
            return source, subject.target, ""


def known_from(runs: Iterable[Run]) -> Known:
    """What these runs tell."""
    return Known(runs=tuple(runs))
