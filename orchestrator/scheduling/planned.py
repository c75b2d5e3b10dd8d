"""The matrix as jobs in the order in which they would run: pure, from a loaded file and what is known already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.analysis.known import NOTHING_KNOWN, SECONDS, Known, Subject
from orchestrator.broker import queue_of
from orchestrator.domain.experiment import Experiment
from orchestrator.domain.matrix import Cell, PinnedTarget, content_hash, expand, target_identity
from orchestrator.domain.order import Placed, Turn, interleave, joins_after, target_by_target
from orchestrator.domain.preflight import Answer
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.files import Loaded
from orchestrator.storage.submit import Existing


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job of the matrix. `state` is None when it would be new; unknown `expected_seconds` are None."""

    cell: Cell
    repeat: int
    position: int
    needs: tuple[str, ...]
    queue: str
    state: JobState | None
    priority: int = 0
    expected_seconds: float | None = None
    second_part: bool = False

    @property
    def label(self) -> str:
        """`target/profile #repeat` with swept values."""
        return f"{self.cell.key} #{self.repeat}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole matrix in the order in which it would run, and what is left in the database from earlier files.

    `known` is what earlier runs took.
    """

    loaded: Loaded
    jobs: tuple[PlannedJob, ...]
    stale: int = 0
    known: Known = NOTHING_KNOWN

    @property
    def unfinished(self) -> tuple[PlannedJob, ...]:
        """The jobs that are still to run, those of an earlier submit included."""
        return tuple(job for job in self.jobs if job.state not in FINAL_JOB_STATES)

    @property
    def new(self) -> tuple[PlannedJob, ...]:
        """The jobs that a submit would add."""
        return tuple(job for job in self.jobs if job.state is None)


def make_plan(
    loaded: Loaded,
    answer: Answer,
    existing: Sequence[Existing],
    *,
    known: Known = NOTHING_KNOWN,
    turns: Mapping[tuple[str, ...], Turn] | None = None,
    priority: int = 0,
) -> Plan:
    """The matrix with what is already there.

    New jobs go behind this experiment's own jobs of the same priority that are still open, and take turns with other
    experiments' from where `turns` says that those are. Blocks that `known` tells to be long come first.
    """
    packs = loaded.hidden.packs
    pinned = {
        name: PinnedTarget(sha=t.sha, task_text=t.task_text, packs=packs.get(name, {}))
        for name, t in answer.targets.items()
    }
    versions = {name: agent.version for name, agent in answer.agents.items()}
    cells = [
        _Planned(cell, cell.spec.needs(), seconds)
        for cell, seconds in _expected(
            expand(loaded.experiment, loaded.fleet, pinned, versions, answer.prompts_hash, loaded.given), known
        )
    ]
    have = {(row.cell_hash, row.repeat): row for row in existing}
    everything = [(one, repeat) for repeat in range(1, loaded.experiment.repeats + 1) for one in cells]
    fresh = [pair for pair in everything if (pair[0].cell.cell_hash, pair[1]) not in have]
    equals = [row for row in existing if row.priority == priority]
    position_of = _positions(loaded.experiment, fresh, equals, turns or {})
    then = loaded.experiment.then
    jobs = [
        one.job(
            repeat,
            have.get((one.cell.cell_hash, repeat)),
            position_of,
            priority,
            second_part=then is not None and one.cell.spec.profile in then.profiles,
        )
        for one, repeat in everything
    ]
    wanted = {(one.cell.cell_hash, repeat) for one, repeat in everything}
    stale = sum(1 for key in have if key not in wanted)
    ordered = tuple(sorted(jobs, key=lambda job: (-job.priority, job.position)))
    return Plan(loaded=loaded, jobs=ordered, stale=stale, known=known)


class _Planned(NamedTuple):
    """A cell with what all its repeats share."""

    cell: Cell
    needs: tuple[str, ...]
    expected_seconds: float | None

    def placed(self, repeat: int) -> Placed:
        spec = self.cell.spec
        variant = ",".join(f"{name}={value}" for name, value in sorted(spec.params.items()))
        return Placed(target=spec.target.label, profile=spec.profile, variant=variant, repeat=repeat)

    def job(
        self,
        repeat: int,
        have: Existing | None,
        position_of: Mapping[tuple[str, int], int],
        priority: int,
        *,
        second_part: bool,
    ) -> PlannedJob:
        return PlannedJob(
            cell=self.cell,
            repeat=repeat,
            position=have.position if have else position_of[self.cell.cell_hash, repeat],
            needs=self.needs,
            queue=queue_of(self.needs),
            state=have.state if have else None,
            priority=have.priority if have else priority,
            expected_seconds=self.expected_seconds,
            second_part=second_part,
        )


def _expected(cells: Sequence[Cell], known: Known) -> Iterator[tuple[Cell, float | None]]:
    hashes = target_hashes(cells)
    for cell in cells:
        found = known.expect(subject_of(cell, hashes), SECONDS) if known.runs else None
        yield cell, found.mean if found else None


def subject_of(cell: Cell, hashes: Mapping[str, str]) -> Subject:
    """What is looked for in the history, with the content hashes of targets by label."""
    return Subject(cell.cell_hash, hashes[cell.spec.target.label], cell.profile_hash, cell.spec.agent_kind)


def target_hashes(cells: Iterable[Cell]) -> dict[str, str]:
    """Content hash of each target by its label, which is unique in an experiment."""
    specs = {cell.spec.target.label: cell.spec.target for cell in cells}
    return {label: content_hash(target_identity(spec)) for label, spec in specs.items()}


def _positions(
    experiment: Experiment,
    fresh: Sequence[tuple[_Planned, int]],
    existing: Sequence[Existing],
    turns: Mapping[tuple[str, ...], Turn],
) -> dict[tuple[str, int], int]:
    placed = [one.placed(repeat) for one, repeat in fresh]
    if experiment.race is not None:
        places = target_by_target(placed, experiment.seed)
    else:
        places = interleave(placed, experiment.seed, expected=[one.expected_seconds for one, _ in fresh])
    behind = max((row.position for row in existing if row.state not in FINAL_JOB_STATES), default=0)
    after = {needs: max(behind, joins_after(needs, turns)) for needs in {one.needs for one, _ in fresh}}
    return {
        (one.cell.cell_hash, repeat): after[one.needs] + place
        for (one, repeat), place in zip(fresh, places, strict=True)
    }
