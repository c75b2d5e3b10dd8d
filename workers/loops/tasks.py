"""The loop `tasks`: a plan of tasks, each investigated, built and verified, taken back and tried again when refused.

PLAN -> (INVESTIGATE a batch -> BUILD each -> VERIFY a batch)* -> end. A task that is refused too often is split by
DECOMPOSE, up to a depth. The run is complete only when every task of the plan is accepted.
"""

import json
from collections.abc import Sequence

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from workers.loops.ledger import Due, Ledger, Task, due, ledger_of
from workers.loops.prompts import render
from workers.loops.steps import LoopEnd, StageDone, StageOrder, guard_end, iteration_end, settle

# A long plan must not fill the context of every stage.
_LINE_CHARS = 200


def tasks(spec: JobSpec, history: Sequence[StageDone]) -> StageOrder | LoopEnd:
    """The stage that the ledger says is due, or an end that tells how many tasks are done."""
    ledger = ledger_of(spec, history)
    count = f"{ledger.done} of {len(ledger.planned)} tasks accepted" if ledger.tasks else "no plan"
    step = due(spec, ledger)
    end = guard_end(spec, history)
    if end is None and step is not None and ledger.stuck:
        detail = f"{step.stage}: no usable answer in {ledger.bad_answers} tries: {ledger.problem}"
        end = LoopEnd(outcome=Outcome.FAILURE_BREAKER, detail=detail)
    if end is None and step is None:
        end = _settled(ledger, history)
    end = end or iteration_end(spec, len(history))
    if end is not None:
        return LoopEnd(outcome=end.outcome, detail=f"{end.detail}; {count}")
    assert step is not None
    return StageOrder(
        stage=step.stage,
        role="build" if step.stage == "build" else "reasoning",
        prompt=_prompt(spec, ledger, step),
        task=",".join(step.tasks) or None,
    )


def _settled(ledger: Ledger, history: Sequence[StageDone]) -> LoopEnd:
    """Every task has its end: complete when all are accepted."""
    if ledger.done == len(ledger.planned):
        return settle(history)
    return LoopEnd(outcome=Outcome.TASKS_LEFT, detail="tasks were refused to the last try")


def _prompt(spec: JobSpec, ledger: Ledger, step: Due) -> str:
    chosen = [ledger.task(one) for one in step.tasks]
    prompt = render(
        f"tasks-{step.stage}",
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
