"""The loop `tasks` as a pure function: what its ledger holds, whatever the models answer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.domain.check import PinnedCheck
from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import RESUMABLE, Outcome
from orchestrator.domain.tasks import TaskState
from tests.unit.test_matrix import cells_of
from workers.loops.contract import Unusable, Verdict, findings_in, tasks_in, verdicts_in
from workers.loops.handover import next_step, settled
from workers.loops.history import History
from workers.loops.ledger import MAX_ANSWERS, Due, due, ledger_of, rejected_commits
from workers.loops.steps import CheckOrder, LoopEnd, StageDone, StageOrder
from workers.loops.tasks import tasks

_FINAL = {TaskState.ACCEPTED, TaskState.SPLIT, TaskState.GIVEN_UP}


def spec(
    *,
    depth: int = 1,
    investigate: int = 2,
    verify: int = 2,
    stages: int = 10_000,
    checks: dict[str, PinnedCheck] | None = None,
    plan: tuple[str, ...] = (),
) -> JobSpec:
    base = cells_of()[0].spec
    limits = base.limits.changed({"max_iterations": stages})
    sizes = {"investigate_batch_size": investigate, "verify_batch_size": verify}
    target = base.target.model_copy(update={"checks": checks or {}, "plan": plan})
    values = {"loop": "tasks", "max_decompose_depth": depth, "limits": limits, "target": target}
    return base.model_copy(update=values | sizes)


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
    assert isinstance(order, StageOrder)
    assert (order.stage, order.role, order.task) == ("verify", "reasoning", "1")
    order = tasks(spec(), history)
    assert isinstance(order, StageOrder)
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
    """Not in BUILD, not in VERIFY, and a DECOMPOSE that fails gives nothing up: each is simply due again."""
    before = refused_once()
    for _ in range(MAX_ANSWERS):
        before.append(done("build", outcome=outcome))
    assert [task.rejects for task in ledger_of(spec(), before).tasks] == [1, 0, 0]
    assert due(spec(), ledger_of(spec(), before)) == Due("build", ("1",))
    before += [done("build", commits=("x",)), KNOWN, done("build", commits=("y",))]
    failed = replace(verdict(False, "1", "3"), outcome=outcome)
    judged = [*before, *[failed] * MAX_ANSWERS]
    assert ledger_of(spec(), judged) == ledger_of(spec(), before)
    assert rejected_commits(spec(), judged) == ()
    judged.append(verdict(False, "1", "3"))
    assert due(spec(), ledger_of(spec(), judged)) == Due("decompose", ("1",))
    split = [*judged, *[done("decompose", "{", outcome=outcome)] * MAX_ANSWERS]
    assert ledger_of(spec(), split) == ledger_of(spec(), judged)


def test_an_answer_that_cannot_be_read_is_asked_for_again_and_not_for_ever() -> None:
    history = [done("plan", "First this, then that.")]
    for _ in range(MAX_ANSWERS - 1):
        order = tasks(spec(), history)
        assert isinstance(order, StageOrder)
        assert order.stage == "plan"
        assert 'there is no JSON object with the key "tasks"' in order.prompt
        assert "First this, then that." in order.prompt
        assert tasks(spec(), [*history, PLAN]) != order
        history.append(done("plan", "First this, then that."))
    end = tasks(spec(), history)
    assert isinstance(end, LoopEnd)
    assert (end.outcome, end.detail.split(":")[0]) == (Outcome.UNUSABLE_ANSWERS, "plan")


def test_the_last_stages_limit_says_how_far_the_plan_came() -> None:
    end = tasks(spec(stages=5), refused_once())
    assert end == LoopEnd(outcome=Outcome.ITERATION_LIMIT, detail="5 of 5 stages; 1 of 3 tasks accepted")


def accepted(its: JobSpec, history: list[StageDone]) -> list[StageDone]:
    """Go on from here with everything done well, until the loop asks for something else."""
    while isinstance(order := tasks(its, history), StageOrder):
        ids = (order.task or "").split(",")
        one = verdict(True, *ids) if order.stage == "verify" else done(order.stage)
        history.append(replace(one, task=order.task))
    return history


def test_a_run_is_complete_only_when_the_checks_agree() -> None:
    its = spec(checks={"test": PinnedCheck(run="make test")})
    history = accepted(its, [PLAN])
    assert tasks(its, history) == CheckOrder()
    history[-1] = replace(history[-1], checks="test: fail, exit code 1\n2 of 9")
    order = tasks(its, history)
    assert isinstance(order, StageOrder)
    assert (order.stage, order.task) == ("build", "c1"), "what the checks say is known: nobody has to investigate"
    assert "test: fail, exit code 1\n2 of 9" in order.prompt
    assert (ledger_of(its, history).done, len(ledger_of(its, history).planned)) == (3, 3), "repairs count for nothing"
    history = accepted(its, [*history, done("build", commits=("x",))])
    assert tasks(its, history) == CheckOrder(), "and they are asked again"
    history[-1] = replace(history[-1], checks="")
    assert tasks(its, history) == LoopEnd(
        outcome=Outcome.COMPLETE, detail="the agent finished its work; 3 of 3 tasks accepted"
    )


@pytest.mark.parametrize("repairs", [0, 1, 2])
def test_repairs_are_bounded_and_the_end_says_what_the_checks_say(repairs: int) -> None:
    its = spec(checks={"test": PinnedCheck(run="make test")}).model_copy(update={"max_check_repairs": repairs})
    history = [PLAN]
    for _ in range(repairs + 1):
        history = accepted(its, history)
        assert tasks(its, history) == CheckOrder()
        history[-1] = replace(history[-1], checks="test: fail, exit code 1\nlog")
    assert tasks(its, history) == LoopEnd(
        outcome=Outcome.CHECKS_FAILED,
        detail=f"the checks do not agree after {repairs} repairs: test: fail, exit code 1; 3 of 3 tasks accepted",
    )


def test_a_repair_that_is_refused_to_the_last_is_no_complete_run() -> None:
    its = spec(depth=0, checks={"test": PinnedCheck(run="make test")})
    history = accepted(its, [PLAN])
    history[-1] = replace(history[-1], checks="test: fail")
    history += [done("build"), verdict(False, "c1")] * its.max_rejects
    end = tasks(its, history)
    assert isinstance(end, LoopEnd)
    assert end.outcome is Outcome.CHECKS_FAILED


def test_a_repair_goes_on_also_where_what_asked_for_it_is_not_on_record() -> None:
    its = spec(checks={"test": PinnedCheck(run="make test")})
    history = [*accepted(its, [PLAN]), done("build", task="c1", commits=("x",))]
    assert due(its, ledger_of(its, history)) == Due("verify", ("c1",))
    history = accepted(its, history)
    assert tasks(its, history) == CheckOrder()
    history[-1] = replace(history[-1], checks="")
    end = tasks(its, history)
    assert isinstance(end, LoopEnd)
    assert end.outcome is Outcome.COMPLETE


def test_checks_are_not_asked_for_ever_where_the_repair_they_asked_for_was_interrupted() -> None:
    its = spec(checks={"test": PinnedCheck(run="make test")})
    half = done("build", task="c1", outcome=Outcome.QUOTA_PARKED, handover="half")
    history = History([*accepted(its, [PLAN]), half])
    assert next_step(tasks, its, history) == CheckOrder(), "what they said then is not on record"
    history.note_checks("test: fail, exit code 1")
    order = next_step(tasks, its, history)
    assert isinstance(order, StageOrder)
    assert (order.stage, order.task, order.resumed) == ("build", "c1", True)
    assert "test: fail, exit code 1" in order.prompt


def test_hidden_checks_steer_nothing() -> None:
    its = spec(checks={"secret": PinnedCheck(run="true", hidden=True)})
    end = tasks(its, [*accepted(its, [PLAN])])
    assert isinstance(end, LoopEnd)
    both = spec(checks={"secret": PinnedCheck(run="true", hidden=True), "open": PinnedCheck(run="true")})
    assert list(both.target.visible_checks) == ["open"]


def test_a_plan_that_is_given_is_not_made_again() -> None:
    its = spec(plan=("first", "second"))
    assert [(task.id, task.text) for task in ledger_of(its, []).planned] == [("1", "first"), ("2", "second")]
    assert due(its, ledger_of(its, [])) == Due("investigate", ("1", "2"))
    end = tasks(its, accepted(its, [done("investigate"), done("build", commits=("x",))]))
    assert end == LoopEnd(outcome=Outcome.COMPLETE, detail="the agent finished its work; 2 of 2 tasks accepted")


def test_a_refusal_takes_back_what_the_verifier_changed_too() -> None:
    history = [PLAN, KNOWN, done("build", commits=("a",)), done("build", commits=("b",))]
    refusal = replace(verdict(False, "1", "2"), commits=("mess",))
    assert rejected_commits(spec(), [*history, refusal]) == ("mess", "b", "a")
    assert rejected_commits(spec(), [*history, replace(verdict(True, "1", "2"), commits=("mess",))]) == ()


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
        assert isinstance(step, StageOrder)
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
        assert all(task.depth <= depth and task.rejects <= its.max_rejects for task in ledger.tasks)
        assert all(task.id.startswith(f"{task.parent}.") for task in ledger.tasks if task.parent)
        order = tasks(its, history)
        if isinstance(order, LoopEnd):
            break
        assert isinstance(order, StageOrder)
        roll = luck[number] if number < len(luck) else 1
        played = _play(order.stage, (order.task or "").split(","), roll, f"c{number}")
        history.append(replace(played, task=order.task))
    else:
        raise AssertionError("the loop does not end")
    states = {task.state for task in ledger.tasks}
    assert states <= _FINAL or order.outcome in (Outcome.FAILURE_BREAKER, Outcome.UNUSABLE_ANSWERS)
    if order.outcome is Outcome.COMPLETE:
        assert ledger.done == count
    if order.outcome is Outcome.TASKS_LEFT:
        assert ledger.done < count
    # At the most each task, of at most 2 parts per split, takes these stages and as many failures.
    most = count * (2 ** (depth + 1) - 1)
    assert len(history) <= 1 + most * (1 + 2 * its.max_rejects + MAX_ANSWERS) + len(luck)


def _play(stage: str, ids: list[str], roll: int, commit: str) -> StageDone:
    if roll == 5:
        return done(stage, "{broken")
    if stage == "build":
        return done(stage, "built", commits=(commit,) if roll else ())
    if stage == "decompose":
        return done(stage, {"tasks": ["part one", "part two"]})
    return verdict(roll in (2, 3), *ids) if stage == "verify" else done(stage, {"findings": {}})
