"""The task ledger of the loop `tasks`: what the stages so far say about every task of the plan.

It is derived from the history alone, each time anew, so a job that is picked up again has the same one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.tasks import MAX_TASKS, MAX_TEXT_CHARS, TaskState
from workers.loops.contract import Unusable, clean, findings_in, tasks_in, verdicts_in
from workers.loops.steps import StageDone

# A task in more parts is a plan of its own.
MAX_SUBTASKS = 10
# Tries at an answer that keeps to the contract.
MAX_ANSWERS = 3
_REPAIR = (
    "The project's own checks do not pass on a clean checkout of the work so far. Find out why and put it right; do"
    " not weaken, skip or delete a check or a test. This is what they say:\n\n"
)
_REPAIR_IDS = frozenset(f"c{number}" for number in range(1, 101))
_GOOD = (TaskState.ACCEPTED, TaskState.SPLIT)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the plan (depth 0), or a part of one. `rejects` counts tries that VERIFY refused.

    A `repair` is no task of the plan: checks that failed behind it asked for it. `commits` hold the work of the try
    that stands, `findings`, `summary` and `reason` are what INVESTIGATE, the last BUILD and the last refusal said.
    """

    id: str
    parent: str | None
    depth: int
    text: str
    state: TaskState = TaskState.OPEN
    findings: str = ""
    summary: str = ""
    reason: str = ""
    rejects: int = 0
    commits: tuple[str, ...] = ()
    repair: bool = False


class Due(NamedTuple):
    """The next stage, and the ids of the tasks that it is about."""

    stage: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All tasks in the order of the plan, parts behind what they are parts of.

    `problem` is what was wrong with the last answer of the stage that is due, `bad_answers` how many there were.
    `checked` when the checks have passed since the last change; `objection` is what they said when no repair is left.
    """

    tasks: tuple[Task, ...] = ()
    checked: bool = False
    objection: str = ""
    bad_answers: int = 0
    problem: str = ""
    bad_answer: str = ""

    def task(self, task_id: str) -> Task:
        """A task by its id. Raises KeyError."""
        for one in self.tasks:
            if one.id == task_id:
                return one
        raise KeyError(task_id)

    def in_state(self, state: TaskState) -> tuple[str, ...]:
        """The ids of the tasks in this state."""
        return tuple(one.id for one in self.tasks if one.state is state)

    @property
    def planned(self) -> tuple[Task, ...]:
        """The tasks of the plan itself: their number never changes."""
        return tuple(one for one in self.tasks if one.parent is None and not one.repair)

    @property
    def repairs(self) -> tuple[Task, ...]:
        """What failing checks asked for."""
        return tuple(one for one in self.tasks if one.parent is None and one.repair)

    @property
    def done_ids(self) -> frozenset[str]:
        """The tasks that are accepted, as a whole or in all their parts."""
        parts = (one.id.split(".") for one in self.tasks if one.state not in _GOOD)
        short = {".".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}
        return frozenset(one.id for one in self.tasks if one.id not in short)

    @property
    def done(self) -> int:
        """How many tasks of the plan are accepted, as a whole or in all their parts."""
        done = self.done_ids
        return sum(one.id in done for one in self.planned)

    @property
    def stuck(self) -> bool:
        """Whether a stage without which nothing goes on has answered uselessly too often."""
        return self.bad_answers >= MAX_ANSWERS


@dataclass(frozen=True, kw_only=True)
class _Change:
    """New values for one task, and its parts."""

    task: Task
    parts: tuple[Task, ...] = field(default=())


def due(spec: JobSpec, ledger: Ledger) -> Due | None:
    """The next stage; None when every task is settled."""
    if not ledger.tasks:
        return Due("plan")
    failed, built = ledger.in_state(TaskState.FAILED), ledger.in_state(TaskState.BUILT)
    ready, unknown = ledger.in_state(TaskState.READY), ledger.in_state(TaskState.OPEN)
    if built and (len(built) >= spec.verify_batch_size or not (failed or ready or unknown)):
        return Due("verify", built[: spec.verify_batch_size])
    if failed:
        return Due("decompose", failed[:1])
    if ready:
        return Due("build", ready[:1])
    return Due("investigate", unknown[: spec.investigate_batch_size]) if unknown else None


def ledger_of(spec: JobSpec, history: Sequence[StageDone]) -> Ledger:
    """The ledger after these stages. Never raises, whatever they answered."""
    ledger = _planned(spec.target.plan)
    for after in ledgers(spec, history):
        ledger = after
    return ledger


def ledgers(spec: JobSpec, history: Sequence[StageDone]) -> Iterator[Ledger]:
    """The ledger after each of these stages; ends where nothing can follow any more."""
    ledger = _planned(spec.target.plan)
    for done in history:
        step = due(spec, ledger)
        if step is None and done.task in _REPAIR_IDS:
            # Whoever asked the checks took the work up from another, and died before what they said was on record.
            ledger = _checked(spec, ledger, "what they said is not on record: run them")
            step = due(spec, ledger)
        if step is None or ledger.stuck:
            break
        ledger = _after(spec, ledger, step, done)
        if done.checks is not None:
            ledger = _checked(spec, ledger, done.checks)
        yield ledger


def rejected_commits(spec: JobSpec, history: Sequence[StageDone]) -> tuple[str, ...]:
    """The commits whose work the last stage refused, newest first: also its own, for it was to change nothing."""
    before, after = ledger_of(spec, history[:-1]), ledger_of(spec, history)
    rejects = {task.id: task.rejects for task in after.tasks}
    refused = {sha for task in before.tasks if rejects.get(task.id, 0) > task.rejects for sha in task.commits}
    if refused:
        refused |= set(history[-1].commits)
    made = [sha for done in history for sha in done.commits]
    return tuple(sha for sha in reversed(made) if sha in refused)


def _after(spec: JobSpec, ledger: Ledger, step: Due, done: StageDone) -> Ledger:
    if step.stage == "build":
        task = ledger.task(step.tasks[0])
        task = replace(task, commits=(*task.commits, *done.commits))
        if done.outcome is None:
            task = replace(task, state=TaskState.BUILT, summary=clean(done.answer))
        return _changed(ledger, _Change(task=task))
    if done.outcome is not None:
        return ledger
    try:
        return _answered(spec, ledger, step, done.answer)
    except Unusable as error:
        bad = ledger.bad_answers + 1
        if step.stage == "decompose" and bad >= MAX_ANSWERS:
            whole = ledger.task(step.tasks[0])
            reason = clean(f"{whole.reason}; it could not be split: {error}")
            return _changed(ledger, _Change(task=replace(whole, state=TaskState.GIVEN_UP, reason=reason)))
        return replace(ledger, bad_answers=bad, problem=str(error), bad_answer=clean(done.answer[-8000:], 8000))


def _answered(spec: JobSpec, ledger: Ledger, step: Due, answer: str) -> Ledger:
    tasks = [ledger.task(one) for one in step.tasks]
    if step.stage == "plan":
        return _planned(tasks_in(answer, MAX_TASKS))
    if step.stage == "investigate":
        findings = findings_in(answer, step.tasks)
        known = (replace(task, state=TaskState.READY, findings=findings[task.id]) for task in tasks)
        return _changed(ledger, *(_Change(task=task) for task in known))
    if step.stage == "verify":
        verdicts = verdicts_in(answer, step.tasks)
        accepted = {one for one, verdict in verdicts.items() if verdict.accept}
        judged = (
            replace(task, state=TaskState.ACCEPTED)
            if task.id in accepted
            else _refused(spec, task, verdicts[task.id].reason)
            for task in tasks
        )
        return _changed(ledger, *(_Change(task=task) for task in judged))
    whole = tasks[0]
    texts = enumerate(tasks_in(answer, MAX_SUBTASKS), 1)
    parts = (
        Task(id=f"{whole.id}.{n}", parent=whole.id, depth=whole.depth + 1, text=text, repair=whole.repair)
        for n, text in texts
    )
    return _changed(ledger, _Change(task=replace(whole, state=TaskState.SPLIT), parts=tuple(parts)))


def _planned(texts: Sequence[str]) -> Ledger:
    return Ledger(tasks=tuple(Task(id=str(n), parent=None, depth=0, text=text) for n, text in enumerate(texts, 1)))


def _checked(spec: JobSpec, ledger: Ledger, said: str) -> Ledger:
    """What the checks say behind the last task: agreed, one more task, or no way left."""
    number = len(ledger.repairs) + 1
    if not said:
        return replace(ledger, checked=True)
    if number > spec.max_check_repairs:
        return replace(ledger, objection=said)
    text = clean(_REPAIR + said, MAX_TEXT_CHARS)
    repair = Task(id=f"c{number}", parent=None, depth=0, text=text, state=TaskState.READY, repair=True)
    return Ledger(tasks=(*ledger.tasks, repair))


def _refused(spec: JobSpec, task: Task, reason: str) -> Task:
    rejects, state = task.rejects + 1, TaskState.READY
    if rejects >= spec.max_rejects:
        state = TaskState.FAILED if task.depth < spec.max_decompose_depth else TaskState.GIVEN_UP
    return replace(task, state=state, rejects=rejects, reason=reason or "no reason was given", commits=())


def _changed(ledger: Ledger, *changes: _Change) -> Ledger:
    by_id = {change.task.id: (change.task, *change.parts) for change in changes}
    return Ledger(tasks=tuple(new for old in ledger.tasks for new in by_id.get(old.id, (old,))))
