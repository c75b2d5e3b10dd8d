"""Jobs and slots to simulate: recorded ones, and generated ones of any size. Pure; randomness is a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from orchestrator.analysis.simulate import SimulatedJob, guessed_from_others
from orchestrator.analysis.simulated_windows import SimulatedWindow, Use
from orchestrator.domain.order import Placed, interleave
from orchestrator.domain.window import WHOLE

# Of one generated use of a resource: what its profile's jobs hold. Hybrids are rare and pools are shared.
_NEEDS = (
    ("pool:0",),
    ("pool:1",),
    ("pool:2",),
    ("pool:0",),
    ("pool:1",),
    ("pool:2",),
    ("pool:0",),
    ("account:0",),
    ("account:1",),
    ("account:2", "pool:0"),
)
_HOUR = 3600.0
# Medians and spreads near those of recorded agent trials: minutes, with a long tail.
_MEDIAN_SECONDS, _TASK_SPREAD, _RUN_SPREAD = 240.0, 0.9, 0.5


class Trial(NamedTuple):
    """A recorded run of a task by a submission."""

    task: str
    submission: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is simulated. `known` jobs were ordered by an expected duration, `guessed` without one."""

    jobs: tuple[SimulatedJob, ...]
    slots: Mapping[str, int]
    known: int
    guessed: int
    windows: tuple[SimulatedWindow, ...] = ()


def recorded(trials: Sequence[Trial], slots: int, seed: int) -> Workload:
    """Recorded trials on one pool, each expected to take the median of its task in other submissions."""
    runs: dict[tuple[str, str], int] = {}
    placed = []
    for trial in trials:
        cell = trial.task, trial.submission
        runs[cell] = runs.get(cell, 0) + 1
        placed.append(Placed(target=trial.task, profile=trial.submission, repeat=runs[cell]))
    pool = [("pool:recorded",)] * len(placed)
    return _ordered(placed, pool, [trial.seconds for trial in trials], {"pool:recorded": slots}, seed)


def generated(jobs: int, slots: int, seed: int) -> Workload:
    """Ten profiles on three pools and three accounts, one of them a hybrid; as many tasks as `jobs` asks for.

    `slots` are shared out by how many profiles use a resource. Durations are log-normal, by task and by run.
    """
    chance = random.Random(seed)  # noqa: S311 - a workload, no secret
    tasks = -(-jobs // len(_NEEDS))
    usual = [chance.lognormvariate(0, _TASK_SPREAD) * _MEDIAN_SECONDS for _ in range(tasks)]
    width = len(_NEEDS)
    placed = [Placed(target=f"t{index // width}", profile=f"p{index % width}") for index in range(jobs)]
    seconds = [usual[index // width] * chance.lognormvariate(0, _RUN_SPREAD) for index in range(jobs)]
    return _ordered(placed, [_NEEDS[index % width] for index in range(jobs)], seconds, shares(slots), seed)


def with_quotas(work: Workload) -> Workload:
    """The same with windows of 5 hours and a week on every account, and a budget on the last of them.

    An account that is always busy fills its 5 hours after 4 of them and its week after 5 days; the budget is a tenth
    short of the work. What a job uses grows with its time.
    """
    windows: list[SimulatedWindow] = []
    whole_seconds: list[float] = []
    accounts = sorted(name for name in work.slots if name.startswith("account:"))
    for name in accounts:
        for window, length, full in (("5h", 5 * _HOUR, 4 * _HOUR), ("7d", 168 * _HOUR, 120 * _HOUR)):
            windows.append(SimulatedWindow(name=window, gate=name, length_seconds=length, resets_in_seconds=length))
            whole_seconds.append(full * work.slots[name])
    needed = sum(job.seconds for job in work.jobs if accounts[-1] in job.needs)
    windows.append(SimulatedWindow(name="budget", gate=accounts[-1], length_seconds=inf))
    whole_seconds.append(max(1.0, 0.9 * needed))
    places = {name: [i for i, window in enumerate(windows) if window.gate == name] for name in accounts}
    jobs = (
        job._replace(
            uses=tuple(
                Use(place, job.seconds / whole_seconds[place] * WHOLE)
                for need in job.needs
                for place in places.get(need, ())
            )
        )
        for job in work.jobs
    )
    return replace(work, jobs=tuple(jobs), windows=tuple(windows))


def shares(slots: int) -> dict[str, int]:
    """Slots of the generated resources: at least one each, together `slots` where there are enough."""
    uses = [need for needs in _NEEDS for need in needs]
    found = {name: max(1, slots * uses.count(name) // len(uses)) for name in sorted(set(uses))}
    found["pool:0"] += max(0, slots - sum(found.values()))
    return found


def _ordered(
    placed: Sequence[Placed],
    needs: Sequence[tuple[str, ...]],
    seconds: Sequence[float],
    slots: Mapping[str, int],
    seed: int,
) -> Workload:
    guesses = guessed_from_others([(job.target, job.profile) for job in placed], seconds)
    places = interleave(placed, seed, expected=guesses)
    known = sum(guess is not None for guess in guesses)
    return Workload(
        jobs=tuple(SimulatedJob(*job) for job in zip(needs, places, seconds, strict=True)),
        slots=slots,
        known=known,
        guessed=len(placed) - known,
    )
