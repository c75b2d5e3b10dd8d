"""From a loaded experiment to jobs in the database: pin, preflight, expand, and insert what is not there yet."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.domain.errors import Fault, InvalidInput, Unavailable
from orchestrator.domain.jobspec import JobSpec, TargetSpec
from orchestrator.domain.preflight import Answer, Question, TargetQuestion
from orchestrator.files import Loaded
from orchestrator.scheduling.asking import ask_worker
from orchestrator.scheduling.estimates import estimates_to_store
from orchestrator.scheduling.outlook import history_for
from orchestrator.scheduling.planned import Plan, PlannedJob, make_plan, target_hashes
from orchestrator.scheduling.pools import wanted_slots
from orchestrator.storage import submit as store
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.forget import forget_unneeded
from orchestrator.storage.history import turns
from orchestrator.storage.outlook import WindowNow

__all__ = ["Plan", "PlannedJob", "ask_machine", "make_plan", "plan", "require_agents", "submit"]

# Cloning a large remote repository for the first time.
_PREFLIGHT_SECONDS = 3600.0


def ask_machine(loaded: Loaded) -> Answer:
    """Preflight on this machine, in a process of its own.

    Raises InvalidInput for targets that cannot be pinned, and for agents that cannot talk to their models.
    """
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
                hidden=loaded.hidden.git_names(target.label),
            )
            for target in experiment.targets
        ),
        agents={
            name: experiment.agents.get(name)
            for name in sorted({experiment.agent_of(profile) for profile in experiment.profiles.values()})
        },
    )
    told = ask_worker(
        "workers.preflight",
        question.model_dump_json(),
        what="looking at the repositories",
        timeout_seconds=_PREFLIGHT_SECONDS,
    )
    answer = Answer.model_validate_json(told)
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
    if faults := [*faults, *_unspoken(loaded, answer)]:
        raise InvalidInput(faults)


def _unspoken(loaded: Loaded, answer: Answer) -> Iterator[Fault]:
    """The models that the agent of their profile has no protocol for."""
    for name, profile in loaded.experiment.profiles.items():
        agent = loaded.experiment.agent_of(profile)
        spoken = answer.agents[agent].protocols
        for model in profile.models():
            protocol = loaded.fleet.server_of(model).protocol
            if protocol not in spoken:
                yield Fault(
                    file=str(loaded.path),
                    field=f"profiles.{name}",
                    message=f"{agent} does not speak {protocol}, by which the fleet file reaches {model}",
                    found=protocol,
                    accepted=", ".join(spoken),
                )


def require_agents(answer: Answer) -> None:
    """Raises Unavailable that names every agent that is not installed here, and how to get it."""
    missing = [f"{name}: {agent.hint}" for name, agent in answer.agents.items() if not agent.installed]
    if missing:
        raise Unavailable("agents are not installed on this machine:\n  " + "\n  ".join(missing))


def plan(
    loaded: Loaded, database: Database, priority: int | None = None, windows: Sequence[WindowNow] = ()
) -> tuple[Plan, Answer]:
    """Preflight and plan; changes nothing but the mirrors. New jobs get `priority`, else the file's.

    The plan knows what earlier runs took, also of these `windows`.
    """
    wanted = loaded.experiment.priority if priority is None else priority
    answer = ask_machine(loaded)
    existing = store.existing_jobs(database, loaded.experiment.experiment)
    before, order = history_for(database, windows), turns(database, wanted)
    return make_plan(loaded, answer, existing, known=before, turns=order, priority=wanted), answer


class SpecDumps:
    """Specs of one experiment as JSON values. What cells share is dumped once: of 100,000 cells few parts differ."""

    def __init__(self) -> None:
        self._targets: dict[str, dict[str, Any]] = {}
        self._variants: dict[tuple[object, ...], dict[str, Any]] = {}

    def target(self, spec: TargetSpec) -> dict[str, Any]:
        """A target, told apart by its label."""
        if spec.label not in self._targets:
            self._targets[spec.label] = spec.model_dump(mode="json")
        return self._targets[spec.label]

    def cell(self, spec: JobSpec) -> dict[str, Any]:
        """A cell. Profile and swept values tell everything but the target apart within an experiment."""
        variant = (spec.profile, *spec.params.items())
        if variant not in self._variants:
            self._variants[variant] = spec.model_dump(mode="json")
        return {**self._variants[variant], "target": self.target(spec.target)}


class Submitted(NamedTuple):
    """How many jobs a submit added, and the accounts and pools that nobody needs any more."""

    added: int
    forgotten: list[str]


def submit(planned: Plan, database: Database, now: datetime) -> Submitted:
    """Store the plan's new jobs, then its fleet; forget what is gone from it and not needed. Safe to repeat."""
    fleet = planned.loaded.fleet
    added = _store_jobs(planned, database, now)
    store.store_fleet(database, fleet)
    ensure_slots(database, fleet.capacities() | wanted_slots(database, now))
    return Submitted(added, forget_unneeded(database, fleet))


def _packs(loaded: Loaded, targets: Iterable[TargetSpec]) -> list[store.NewPack]:
    """The hidden files of these targets, each once."""
    packs = {check.pack.sha256: check.pack for target in targets for check in target.checks.values() if check.pack}
    return [
        store.NewPack(sha256=name, size_bytes=pack.size_bytes, content=loaded.hidden.blob(name))
        for name, pack in packs.items()
    ]


def _store_jobs(planned: Plan, database: Database, now: datetime) -> int:
    loaded = planned.loaded
    cells = {job.cell.cell_hash: job.cell for job in planned.jobs}
    target_hash = target_hashes(cells.values())
    dumped = SpecDumps()
    targets = {cell.spec.target.label: cell.spec.target for cell in cells.values()}
    return store.store_experiment(
        database,
        name=loaded.experiment.experiment,
        file_text=loaded.path.read_text(encoding="utf-8"),
        spec=loaded.experiment.model_dump(mode="json"),
        seed=loaded.experiment.seed,
        new_targets=[
            store.NewTarget(label=label, sha=target.sha, content_hash=target_hash[label], spec=dumped.target(target))
            for label, target in targets.items()
        ],
        new_packs=_packs(loaded, targets.values()),
        new_cells=[
            store.NewCell(
                target_hash=target_hash[cell.spec.target.label],
                profile=cell.spec.profile,
                key=cell.key,
                cell_hash=cell.cell_hash,
                profile_hash=cell.profile_hash,
                params=cell.spec.params,
                spec=dumped.cell(cell.spec),
            )
            for cell in cells.values()
        ],
        new_jobs=[
            store.NewJob(
                cell_hash=job.cell.cell_hash,
                repeat=job.repeat,
                position=job.position,
                needs=",".join(job.needs),
                queue=job.queue,
                priority=job.priority,
                second_part=job.second_part,
            )
            for job in planned.new
        ],
        new_estimates=estimates_to_store(planned),
        now=now,
    )
