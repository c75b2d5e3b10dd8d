"""The loop `tasks` as a pure function: what its ledger holds, whatever the models answer."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import RESUMABLE, Outcome
from tests.unit.test_matrix import cells_of
from workers.loops.contract import Unusable, Verdict, findings_in, tasks_in, verdicts_in
from workers.loops.handover import next_step, settled
from workers.loops.ledger import MAX_ANSWERS, MAX_REJECTS, Due, TaskState, due, ledger_of, rejected_commits
from workers.loops.steps import LoopEnd, StageDone
from workers.loops.tasks import tasks

_FINAL = {TaskState.ACCEPTED, TaskState.SPLIT, TaskState.GIVEN_UP}


def spec(*, depth: int = 1, investigate: int = 2, verify: int = 2, stages: int = 10_000) -> JobSpec:
    base = cells_of()[0].spec
    limits = base.limits.changed({"max_iterations": stages})
    sizes = {"investigate_batch_size": investigate, "verify_batch_size": verify}
    return base.model_copy(update={"loop": "tasks", "max_decompose_depth": depth, "limits": limits, **sizes})


def done(stage: str, answer: object = "", *, commits: tuple[str, ...] = (), **values: Any) -> StageDone:
    text = answer if isinstance(answer, str) else f"Here it is:\n```json\n{json.dumps(answer)}\n```\n"
    known = {"outcome": None, "detail": "", "changed": bool(commits), **values}
    return StageDone(stage=stage, answer=text, commits=commits, **known)


def verdict(accept: bool, *ids: str) -> StageDone:
    return done("verify", {"verdicts": {one: {"accept": accept, "reason": "because"} for one in ids}})


PLAN = done("plan", {"tasks": ["a", "b", "c"]})
KNOWN = done("investigate", "It is all in one file.")


def test_batches_are_as_large_as_the_parameters_say() -> None:
    history = [PLAN]
    order = []
    while (step := due(spec(), ledger_of(spec(), history))) is not None:
        order.append((step.stage, step.tasks))
        ids = step.tasks
        history.append(verdict(True, *ids) if step.stage == "verify" else done(step.stage, commits=("x",)))
    assert order == [
        ("investigate", ("1", "2")),
        ("build", ("1",)),
        ("build", ("2",)),
        ("verify", ("1", "2")),
        ("investigate", ("3",)),
        ("build", ("3",)),
        ("verify", ("3",)),
    ]
    assert tasks(spec(), history) == LoopEnd(
        outcome=Outcome.COMPLETE, detail="the agent finished its work; 3 of 3 tasks accepted"
    )


def refused_once() -> list[StageDone]:
    built = [done("build", "did a", commits=("a1",)), done("build", "did b", commits=("b1",))]
    said = {"verdicts": [{"task": "1", "accept": "no", "reason": "half"}, {"task": 2, "accept": True}]}
    return [PLAN, KNOWN, *built, done("verify", said)]


def test_what_is_refused_is_named_with_all_its_commits_newest_first() -> None:
    history = refused_once()
    assert rejected_commits(spec(), history) == ("a1",)
    assert rejected_commits(spec(), history[:-1]) == ()
    again = [
        done("build", commits=("a2",), outcome=Outcome.AGENT_ERROR),
        done("build", commits=("a3",), detail="context", handover="half"),
        done("build", commits=("a4",)),
    ]
    whole = settled([*history, *again, done("investigate"), done("build", commits=("c1",)), verdict(False, "1", "3")])
    assert rejected_commits(spec(), whole) == ("c1", "a4", "a3", "a2")


def test_a_refused_task_is_built_again_with_the_reason_and_then_split() -> None:
    history = refused_once()
    order = tasks(spec(verify=1), history[:3])
    assert not isinstance(order, LoopEnd)
    assert (order.stage, order.role, order.task) == ("verify", "reasoning", "1")
    order = tasks(spec(), history)
    assert not isinstance(order, LoopEnd)
    assert (order.stage, order.role, order.task) == ("build", "build", "1")
    assert "### Why it was refused\n\nhalf" in order.prompt
    assert "### Last try\n\ndid a" in order.prompt
    history += [done("build"), KNOWN, done("build"), verdict(False, "1", "3")]
    ledger = ledger_of(spec(), history)
    assert ledger.task("1").state is TaskState.FAILED
    assert due(spec(), ledger) == Due("decompose", ("1",))
    assert ledger_of(spec(depth=0), history).task("1").state is TaskState.GIVEN_UP
    history.append(done("decompose", {"tasks": ["a one", "a two"]}))
    ledger = ledger_of(spec(), history)
    assert [(task.id, task.state, task.depth) for task in ledger.tasks][:3] == [
        ("1", "split", 0),
        ("1.1", "open", 1),
        ("1.2", "open", 1),
    ]
    assert len(ledger.planned) == 3


@pytest.mark.parametrize("outcome", sorted(RESUMABLE | {Outcome.AGENT_ERROR, Outcome.IDLE_TIMEOUT}))
def test_failures_of_stages_refuse_and_split_nothing(outcome: Outcome) -> None:
    history = [*refused_once(), done("build", outcome=outcome)]
    assert [task.rejects for task in ledger_of(spec(), history).tasks] == [1, 0, 0]
    assert due(spec(), ledger_of(spec(), history)) == Due("build", ("1",))


def test_an_answer_that_cannot_be_read_is_asked_for_again_and_not_for_ever() -> None:
    history = [done("plan", "First this, then that.")]
    for _ in range(MAX_ANSWERS - 1):
        order = tasks(spec(), history)
        assert not isinstance(order, LoopEnd)
        assert order.stage == "plan"
        assert 'there is no JSON object with the key "tasks"' in order.prompt
        assert "First this, then that." in order.prompt
        assert tasks(spec(), [*history, PLAN]) != order
        history.append(done("plan", "First this, then that."))
    end = tasks(spec(), history)
    assert isinstance(end, LoopEnd)
    assert (end.outcome, end.detail.split(":")[0]) == (Outcome.FAILURE_BREAKER, "plan")


def test_the_last_stages_limit_says_how_far_the_plan_came() -> None:
    end = tasks(spec(stages=5), refused_once())
    assert end == LoopEnd(outcome=Outcome.ITERATION_LIMIT, detail="5 of 5 stages; 1 of 3 tasks accepted")


def test_contracts_are_read_leniently_but_never_guessed() -> None:
    assert tasks_in('{"tasks": ["no"]} better: {"tasks": [{"task": "one"}, " two "]} {"x": 1}', 5) == ("one", "two")
    assert findings_in("just words", ["1", "2"]) == {"1": "just words", "2": "just words"}
    assert findings_in('{"findings": {"1": "x"}} {', ["1"]) == {"1": "x"}
    assert verdicts_in('{"verdicts": {"1": true, "2": {"verdict": "REJECTED"}}}', ["1", "2"]) == {
        "1": Verdict(True, ""),
        "2": Verdict(False, ""),
    }
    assert tasks_in('{"tasks": ["\\ud800"]}', 5) == ("?",)
    for bad in ('{"verdicts": {"1": true}}', '{"verdicts": {"1": true, "2": "perhaps"}}', '{"verdicts": 3}'):
        with pytest.raises(Unusable):
            verdicts_in(bad, ["1", "2"])
    for bad in ('{"tasks": []}', '{"tasks": "one"}', '{"tasks": ["a", "b", "c"]}', '{"tasks": [3]}', "{" * 90_000):
        with pytest.raises(Unusable):
            tasks_in(bad, 2)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tasks", "findings", "verdicts", "1", "2", "accept", "task"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.text(max_size=40) | _JSON.map(json.dumps), max_size=12))
@example(["{" * 3000, '{"tasks": ' + "[" * 3000, '{"tasks": [' + "9" * 5000 + "]}"])
def test_no_answer_raises(answers: list[str]) -> None:
    history: list[StageDone] = []
    for answer in answers:
        step = next_step(tasks, spec(), history)
        if isinstance(step, LoopEnd):
            break
        step.prompt.encode()
        history.append(done(step.stage, answer))


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(0, 5), max_size=40),
)
def test_every_plan_ends_with_each_task_in_one_final_state(
    count: int, depth: int, investigate: int, verify: int, luck: list[int]
) -> None:
    """Whatever is refused, unreadable or failing, and with refusal for ever once `luck` has run out."""
    its = spec(depth=depth, investigate=investigate, verify=verify)
    history = [done("plan", {"tasks": ["task"] * count})]
    for number in range(10_000):
        ledger = ledger_of(its, history)
        assert len(ledger.planned) == count
        assert all(task.depth <= depth and task.rejects <= MAX_REJECTS for task in ledger.tasks)
        assert all(task.id.startswith(f"{task.parent}.") for task in ledger.tasks if task.parent)
        order = tasks(its, history)
        if isinstance(order, LoopEnd):
            break
        roll = luck[number] if number < len(luck) else 1
        history.append(_play(order.stage, (order.task or "").split(","), roll, f"c{number}"))
    else:
        raise AssertionError("the loop does not end")
    states = {task.state for task in ledger.tasks}
    assert states <= _FINAL or order.outcome is Outcome.FAILURE_BREAKER
    if order.outcome is Outcome.COMPLETE:
        assert ledger.done == count
    if order.outcome is Outcome.TASKS_LEFT:
        assert ledger.done < count
    # At the most each task, of at most 2 parts per split, takes these stages and as many failures.
    most = count * (2 ** (depth + 1) - 1)
    assert len(history) <= 1 + most * (1 + 2 * MAX_REJECTS + MAX_ANSWERS) + len(luck)


def _play(stage: str, ids: list[str], roll: int, commit: str) -> StageDone:
    if roll == 5:
        return done(stage, "{broken")
    if stage == "build":
        return done(stage, "built", commits=(commit,) if roll else ())
    if stage == "decompose":
        return done(stage, {"tasks": ["part one", "part two"]})
    return verdict(roll in (2, 3), *ids) if stage == "verify" else done(stage, {"findings": {}})
