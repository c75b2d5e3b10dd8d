"""The loop `tasks`: a plan of tasks, each investigated, built and verified, taken back and tried again when refused.

PLAN -> (INVESTIGATE a batch -> BUILD each -> VERIFY a batch)* -> checks -> end. A task that is refused too often is
split by DECOMPOSE, up to a depth. The run is complete only when every task of the plan is accepted and the visible
checks agree; while they do not, a repair is one more task.
"""

import json
from collections.abc import Sequence

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from workers.loops.circles import Past, circle_end
from workers.loops.ledger import Due, Ledger, Task, due, ledger_of, ledgers
from workers.loops.prompts import render, stage_prompt
from workers.loops.steps import CheckOrder, LoopEnd, StageDone, StageOrder, Step, guard_end, iteration_end, settle

# A long plan must not fill the context of every stage.
_LINE_CHARS = 200


def tasks(spec: JobSpec, history: Sequence[StageDone]) -> Step:
    """The stage that the ledger says is due, or an end that tells how many tasks are done."""
    ledger = ledger_of(spec, history)
    step = due(spec, ledger)
    after = guard_end(spec, history) or (_settled(spec, ledger, history) if step is None else _stuck(ledger, step))
    if isinstance(after, CheckOrder):
        return after
    end = after or iteration_end(spec, history) or circle_end(spec.limits, _past(spec, history))
    if end is not None:
        count = f"{ledger.done} of {len(ledger.planned)} tasks accepted" if ledger.tasks else "no plan"
        return LoopEnd(outcome=end.outcome, detail=f"{end.detail}; {count}")
    assert step is not None
    return StageOrder(
        stage=step.stage,
        role="build" if step.stage == "build" else "reasoning",
        prompt=_prompt(spec, ledger, step),
        task=",".join(step.tasks) or None,
    )


def _past(spec: JobSpec, history: Sequence[StageDone]) -> list[Past]:
    """A stage moves the run when the tasks stand as they never stood before; what is refused later moves nothing."""
    seen = {_standing(ledger_of(spec, ()))}
    past = []
    for done, ledger in zip(history, ledgers(spec, history), strict=False):
        past.append(Past(done=done, moved=_standing(ledger) not in seen))
        seen.add(_standing(ledger))
    return past


def _standing(ledger: Ledger) -> tuple[tuple[str, str], ...]:
    return tuple((task.id, task.state) for task in ledger.tasks)


def _stuck(ledger: Ledger, step: Due) -> LoopEnd | None:
    if not ledger.stuck:
        return None
    detail = f"{step.stage}: no usable answer in {ledger.bad_answers} tries: {ledger.problem}"
    return LoopEnd(outcome=Outcome.UNUSABLE_ANSWERS, detail=detail)


def _settled(spec: JobSpec, ledger: Ledger, history: Sequence[StageDone]) -> LoopEnd | CheckOrder:
    """Every task has its end: complete when all are accepted and the checks agree."""
    if ledger.done < len(ledger.planned):
        return LoopEnd(outcome=Outcome.TASKS_LEFT, detail="tasks were refused to the last try")
    if ledger.objection:
        said = ledger.objection.split("\n", 1)[0][:_LINE_CHARS]
        detail = f"the checks do not agree after {len(ledger.repairs)} repairs: {said}"
        return LoopEnd(outcome=Outcome.CHECKS_FAILED, detail=detail)
    if any(one.id not in ledger.done_ids for one in ledger.repairs):
        return LoopEnd(outcome=Outcome.CHECKS_FAILED, detail="what the checks asked for was refused to the last try")
    if spec.target.visible_checks and not ledger.checked:
        return CheckOrder()
    return settle(history)


def _prompt(spec: JobSpec, ledger: Ledger, step: Due) -> str:
    chosen = [ledger.task(one) for one in step.tasks]
    prompt = stage_prompt(
        spec,
        step.stage,
        task=spec.target.task_text,
        plan="\n".join(_line(one) for one in ledger.tasks),
        chosen="\n\n".join(_section(one) for one in chosen),
        ids=json.dumps([one.id for one in chosen]),
    )
    if not ledger.problem:
        return prompt
    return render("repair", prompt=prompt, problem=ledger.problem, answer=ledger.bad_answer)


def _line(task: Task) -> str:
    first = task.text.split("\n", 1)[0][:_LINE_CHARS]
    return f"{'  ' * task.depth}- {task.id} ({task.state}): {first}"


def _section(task: Task) -> str:
    told = (("Findings", task.findings), ("Last try", task.summary), ("Why it was refused", task.reason))
    parts = [f"## Task {task.id}", task.text, *(f"### {name}\n\n{text}" for name, text in told if text)]
    return "\n\n".join(parts)
