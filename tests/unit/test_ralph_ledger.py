"""Ralph's ledgers are read whatever is wrong with them, and every contradiction is said, with how it was read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import InnerStageEnded
from orchestrator.domain.harness import inner_stage, stage_outcome
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.interop.ralph_ledger import Ledger, read_ledger
from orchestrator.interop.ralph_reconcile import read_end, reconcile
from orchestrator.interop.ralph_results import to_result


def stage(iteration: int = 1, name: str = "BUILD", **more: Any) -> dict[str, Any]:
    tokens = {"input": 10, "cached": 5, "output": 1}
    return {
        "run_id": "r", "iteration": iteration, "stage": name, "model": "anthropic/opus", "is_local": False,
        "cost": 0.01, "tokens": tokens, "duration_s": 0.5, "outcome": "success", **more,
    }  # fmt: skip


def run(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A summary that agrees with its rows."""
    names = [row["stage"] for row in rows]
    summary: dict[str, Any] = {
        "run_id": "r", "spec": "x.md", "profile": "opus", "git_sha_start": "a", "git_sha_end": "b",
        "config_snapshot": {"model": "anthropic/opus", "max_failures": 2, "max_iterations": 9, "context_window": 99},
        "started_at": "2026-11-20T17:00:00+00:00", "ended_at": "2026-11-20T17:00:04+00:00", "duration_s": 4.0,
        "exit_reason": "complete", "iterations": max((row["iteration"] for row in rows), default=0),
        "tasks": {"total": 0, "completed": 0, "failed": 0}, "cost": sum(row["cost"] for row in rows),
        "tokens": {kind: sum(row["tokens"][kind] for row in rows) for kind in ("input", "cached", "output")},
        "kills": {"timeout": 0, "context": 0, "loop": 0},
        "stages": {name: {"count": names.count(name)} for name in dict.fromkeys(names)},
    }  # fmt: skip
    return {**summary, **more}


def ledger(rows: list[dict[str, Any]], *summaries: dict[str, Any]) -> Ledger:
    def text(records: Any) -> bytes:
        return "".join(json.dumps(record) + "\n" for record in records).encode()

    return read_ledger(text(summaries), text(rows))


def kinds(found: Ledger) -> list[str]:
    return [finding.kind for finding in (*found.findings, *reconcile(found.runs))]


def test_a_ledger_that_agrees_with_itself_has_nothing_to_report() -> None:
    rows = [stage(1), stage(1, "VERIFY"), stage(2)]
    found = ledger(rows, run(rows))
    assert kinds(found) == []
    result = to_result("x", found.runs[0])
    assert [one.values["stage"] for one in result.stages] == ["build", "verify", "build"]
    assert (result.outcome, result.state, result.detail) == ("complete", "done", "complete; 0 of 0 tasks completed")
    assert sum(one.values["input_tokens"] for one in result.stages) == 30


_FAILED = {"outcome": "failure", "cost": 0.01}
_ROWS = [stage(1), stage(2)]


@pytest.mark.parametrize(
    ("rows", "more", "expected", "outcome"),
    [
        (_ROWS, {"tasks": {"total": 1, "completed": 2}}, ["total_is_left"], Outcome.COMPLETE),
        (_ROWS, {"cost": 5.0}, ["cost_contradicts"], Outcome.COMPLETE),
        (_ROWS, {"tokens": {"input": 21}}, ["tokens_contradict"], Outcome.COMPLETE),
        (_ROWS, {"stages": {"BUILD": {"count": 3}}}, ["stages_contradict"], Outcome.COMPLETE),
        (_ROWS, {"kills": {"context": 1}}, ["kills_contradict"], Outcome.COMPLETE),
        (_ROWS, {"iterations": 7}, ["iterations_contradict"], Outcome.COMPLETE),
        (_ROWS, {"duration_s": 900.0}, ["duration_contradicts"], Outcome.COMPLETE),
        (_ROWS, {"started_at": "2026-11-20T17:00:00"}, ["no_time_zone"], Outcome.COMPLETE),
        (_ROWS, {"exit_reason": "went fishing"}, ["unknown_word"], Outcome.INTERRUPTED),
        (_ROWS, {"exit_reason": "max_iterations"}, ["limit_contradicts"], Outcome.ITERATION_LIMIT),
        (_ROWS, {"exit_reason": "no_work", "tasks": {"total": 1}}, ["no_work_with_tasks_left"], Outcome.TASKS_LEFT),
        ([], {"git_sha_end": "a"}, ["complete_without_work"], Outcome.NO_PROGRESS),
        (
            [stage(1), stage(1, "VERIFY", **_FAILED), stage(2), stage(2, "VERIFY", **_FAILED)],
            {"exit_reason": "no_work", "tasks": {"total": 3, "completed": 0}},
            ["breaker_as_no_work"],
            Outcome.FAILURE_BREAKER,
        ),
        ([stage(1, model="llamacpp/devstral")], {}, ["local_as_remote"], Outcome.COMPLETE),
        ([stage(1, is_local=True)], {}, ["remote_as_local"], Outcome.COMPLETE),
        (
            [stage(1, outcome="failure", cost=0.0, tokens={"input": 0, "cached": 0, "output": 0})],
            {},
            ["zero_for_unknown"],
            Outcome.COMPLETE,
        ),
    ],
)
def test_a_contradiction_is_found_and_read(
    rows: list[dict[str, Any]], more: dict[str, Any], expected: list[str], outcome: Outcome
) -> None:
    found = ledger(rows, run(rows, **more))
    assert kinds(found) == expected
    assert read_end(found.runs[0]).outcome is outcome


def test_the_breaker_counts_turns_that_ended_badly_and_no_others() -> None:
    rows = [stage(1, "VERIFY", **_FAILED), stage(2, "VERIFY", **_FAILED), stage(2)]
    found = ledger(rows, run(rows, exit_reason="no_work", tasks={"total": 3}))
    assert read_end(found.runs[0]).outcome is Outcome.TASKS_LEFT


def test_lines_that_were_written_twice_count_once() -> None:
    rows = [stage(1), stage(1, "VERIFY", outcome="failure"), stage(1, "VERIFY", outcome="failure")]
    assert kinds(ledger(rows, run(rows), run(rows))) == ["duplicate_line"], "two failed stages are no duplicate"
    found = ledger([*rows, rows[0]], run(rows))
    assert kinds(found) == ["duplicate_line"]
    assert len(found.runs[0].stages) == 3
    assert kinds(ledger(rows, run(rows), run(rows, duration_s=3.5))) == ["run_twice"]


def test_torn_lines_and_garbage_are_told_apart() -> None:
    good = json.dumps(stage()).encode()
    found = read_ledger(b"", b"[]\n" + good + b"\n{}\n\xff\xfe\n" + good[:20])
    assert kinds(found) == ["garbage_line", "garbage_line", "torn_line", "no_run_id", "run_without_summary"]
    assert read_end(found.runs[0]).outcome is Outcome.INTERRUPTED
    assert to_result("x", found.runs[0]).record is None


def test_a_stage_as_ralph_writes_it() -> None:
    told = inner_stage(stage(3, task_id="t-1", outcome="failure", kill_reason="timeout"), 7)
    assert told == InnerStageEnded(
        number=7, run="r", stage="build", iteration=3, task="t-1", model="anthropic/opus", word="failure", ok=False,
        kill_reason="timeout", usage=TokenUsage(input=10, cache_read=5, output=1), cost_usd_micros=10_000,
        seconds=0.5,
    )  # fmt: skip
    assert stage_outcome(told) is Outcome.STAGE_TIMEOUT


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_KEYS = [*run([]), *stage(), "task_id", "kill_reason", "session_id"]


@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _JSON | st.just("r")), max_size=4), st.binary(max_size=40))
def test_no_ledger_is_fatal(records: list[dict[str, Any]], garbage: bytes) -> None:
    data = "".join(json.dumps(record) + "\n" for record in records).encode() + garbage
    found = read_ledger(data, data)
    assert all(finding.read_as for finding in reconcile(found.runs))
    for one in found.runs:
        result = to_result("x", one)
        assert result.outcome in Outcome
        assert result.started_at <= result.ended_at
