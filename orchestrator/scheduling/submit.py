"""From a loaded experiment to jobs in the database: pin, preflight, expand, and insert what is not there yet."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.broker import queue_of
from orchestrator.domain.errors import BakeoffError, Fault, InvalidInput, Unavailable
from orchestrator.domain.experiment import unread_parameters
from orchestrator.domain.matrix import Cell, PinnedTarget, content_hash, expand, target_identity
from orchestrator.domain.order import Placed, interleave
from orchestrator.domain.preflight import Answer, Question, TargetQuestion
from orchestrator.domain.states import JobState
from orchestrator.files import Loaded
from orchestrator.settings import child_environment
from orchestrator.storage import submit as store
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database

# Cloning a large remote repository for the first time.
_PREFLIGHT_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job of the matrix. `state` is None when it would be new."""

    cell: Cell
    repeat: int
    position: int
    needs: tuple[str, ...]
    queue: str
    state: JobState | None

    @property
    def label(self) -> str:
        """`target/profile #repeat` with swept values."""
        return f"{self.cell.key} #{self.repeat}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole matrix in the order in which it would run, and what is left in the database from earlier files."""

    loaded: Loaded
    jobs: tuple[PlannedJob, ...]
    stale: int = 0

    @property
    def new(self) -> tuple[PlannedJob, ...]:
        """The jobs that a submit would add."""
        return tuple(job for job in self.jobs if job.state is None)


def ask_machine(loaded: Loaded) -> Answer:
    """Preflight on this machine, in a process of its own. Raises InvalidInput for targets that cannot be pinned."""
    experiment = loaded.experiment
    question = Question(
        targets=tuple(
            TargetQuestion(
                label=target.label,
                source=target.source,
                worktree=target.worktree is not None,
                base=target.base,
                task=target.task,
                prompt=target.prompt,
            )
            for target in experiment.targets
        ),
        agents={
            name: experiment.agents.get(name)
            for name in sorted({experiment.agent_of(profile) for profile in experiment.profiles.values()})
        },
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.preflight"],
            input=question.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=_PREFLIGHT_SECONDS,
            check=False,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"looking at the repositories took longer than {_PREFLIGHT_SECONDS:g} s") from None
    if done.returncode != 0:
        raise BakeoffError(f"preflight failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    answer = Answer.model_validate_json(done.stdout)
    _raise_problems(loaded, answer)
    return answer


def _raise_problems(loaded: Loaded, answer: Answer) -> None:
    labels = [target.label for target in loaded.experiment.targets]
    faults = [
        Fault(
            file=str(loaded.path),
            field=f"targets[{labels.index(problem.label)}].{problem.field}",
            message=problem.message,
            found=problem.found,
        )
        for problem in answer.problems
    ]
    if faults:
        raise InvalidInput(faults)


def require_agents(answer: Answer) -> None:
    """Raises Unavailable that names every agent that is not installed here, and how to get it."""
    missing = [f"{name}: {agent.hint}" for name, agent in answer.agents.items() if not agent.installed]
    if missing:
        raise Unavailable("agents are not installed on this machine:\n  " + "\n  ".join(missing))


def require_effect(planned: Plan) -> None:
    """Raises InvalidInput for parameters that no loop reads yet: nothing may be measured that changes nothing."""
    faults = [
        Fault(
            file=str(planned.loaded.path),
            field=name,
            message="no loop of this version reads it, so cells that differ in it would compare nothing; remove it",
        )
        for name in unread_parameters(planned.loaded.experiment)
    ]
    if faults:
        raise InvalidInput(faults)


def make_plan(loaded: Loaded, answer: Answer, existing: Sequence[store.Existing]) -> Plan:
    """The matrix with what is already there. New jobs go behind the jobs that are there."""
    pinned = {name: PinnedTarget(sha=t.sha, task_text=t.task_text) for name, t in answer.targets.items()}
    versions = {name: agent.version for name, agent in answer.agents.items()}
    cells = expand(loaded.experiment, loaded.fleet, pinned, versions, answer.prompts_hash)
    have = {(row.cell_hash, row.repeat): row for row in existing}
    everything = [(cell, repeat) for repeat in range(1, loaded.experiment.repeats + 1) for cell in cells]
    fresh = [pair for pair in everything if (pair[0].cell_hash, pair[1]) not in have]
    placed = [
        Placed(
            target=cell.spec.target.label,
            profile=cell.spec.profile,
            variant=",".join(f"{name}={value}" for name, value in sorted(cell.spec.params.items())),
            repeat=repeat,
        )
        for cell, repeat in fresh
    ]
    positions = interleave(placed, loaded.experiment.seed, after=max((row.position for row in existing), default=0))
    position_of = {(cell.cell_hash, repeat): at for (cell, repeat), at in zip(fresh, positions, strict=True)}
    jobs = [_planned(cell, repeat, position_of, have) for cell, repeat in everything]
    wanted = {(cell.cell_hash, repeat) for cell, repeat in everything}
    stale = sum(1 for key in have if key not in wanted)
    return Plan(loaded=loaded, jobs=tuple(sorted(jobs, key=lambda job: job.position)), stale=stale)


def _planned(
    cell: Cell,
    repeat: int,
    position_of: Mapping[tuple[str, int], int],
    have: Mapping[tuple[str, int], store.Existing],
) -> PlannedJob:
    key = (cell.cell_hash, repeat)
    needs = cell.spec.needs()
    return PlannedJob(
        cell=cell,
        repeat=repeat,
        position=position_of[key] if key in position_of else have[key].position,
        needs=needs,
        queue=queue_of(needs),
        state=have[key].state if key in have else None,
    )


def plan(loaded: Loaded, database: Database) -> tuple[Plan, Answer]:
    """Preflight and plan; changes nothing but the mirrors."""
    answer = ask_machine(loaded)
    existing = store.existing_jobs(database, loaded.experiment.experiment)
    return make_plan(loaded, answer, existing), answer


def submit(planned: Plan, database: Database, now: datetime) -> int:
    """Store the plan's new jobs. Returns how many were added; submitting again adds none."""
    require_effect(planned)
    loaded = planned.loaded
    store.store_fleet(database, loaded.fleet)
    ensure_slots(database, loaded.fleet.capacities())
    cells = {job.cell.cell_hash: job.cell for job in planned.jobs}
    target_hash = {key: content_hash(target_identity(cell.spec.target)) for key, cell in cells.items()}
    targets = {
        target_hash[key]: store.NewTarget(
            label=cell.spec.target.label,
            sha=cell.spec.target.sha,
            content_hash=target_hash[key],
            spec=cell.spec.target.model_dump(mode="json"),
        )
        for key, cell in cells.items()
    }
    return store.store_experiment(
        database,
        name=loaded.experiment.experiment,
        file_text=loaded.path.read_text(encoding="utf-8"),
        spec=loaded.experiment.model_dump(mode="json"),
        seed=loaded.experiment.seed,
        new_targets=list(targets.values()),
        new_cells=[
            store.NewCell(
                target_hash=target_hash[key],
                profile=cell.spec.profile,
                key=cell.key,
                cell_hash=cell.cell_hash,
                profile_hash=cell.profile_hash,
                params=cell.spec.params,
                spec=cell.spec.model_dump(mode="json"),
            )
            for key, cell in cells.items()
        ],
        new_jobs=[
            store.NewJob(
                cell_hash=job.cell.cell_hash,
                repeat=job.repeat,
                position=job.position,
                needs=",".join(job.needs),
                queue=job.queue,
            )
            for job in planned.new
        ],
        now=now,
    )
