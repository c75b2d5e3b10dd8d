"""A harness that runs stages of its own, supervised as one command: its files are followed live, and guard it."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.results import Row
from tests.support.waiting import until

_HARNESS = Path(__file__).parents[1] / "support" / "harness.py"
NEVER = ["wait", "/nowhere/never"]
TOKENS = {"input": 100, "cached": 40, "output": 10}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


def stage(name: str, task: str | None = None, outcome: str = "success", **more: Any) -> list[object]:
    record = {"run_id": "r", "iteration": 1, "stage": name, "outcome": outcome, "tokens": TOKENS, "cost": 0.5}
    return ["stage", {**record, "task_id": task, "model": "cloud/model", "duration_s": 0.2, **more}]


def agent(*steps: object) -> dict[str, object]:
    return {
        "command": [sys.executable, "-I", "-S", str(_HARNESS), "{logs}/ledger", json.dumps(steps)],
        "version": ["echo", "1"],
        "telemetry": {
            name: f"{{logs}}/ledger/{name}.json{'l' * (name != 'state')}" for name in ("iterations", "runs", "state")
        },
    }


def write(lab: Lab, harnesses: dict[str, dict[str, object]], **limits: object) -> None:
    profiles = {name: {"model": "model", "agent": name} for name in harnesses}
    lab.write(loop="external", agent=next(iter(harnesses)), agents=harnesses, profiles=profiles, limits=limits)


def attempts(lab: Lab) -> dict[str, Row]:
    query = """SELECT attempts.*, cells.profile FROM attempts JOIN jobs ON jobs.id = job_id
        JOIN cells ON cells.id = cell_id"""
    return {row["profile"]: row for row in lab.results.rows(query)}


def rows(lab: Lab, attempt: Row) -> list[Row]:
    return lab.results.rows("SELECT * FROM stages WHERE attempt_id = ? ORDER BY ordinal", [attempt["id"]])


def test_every_way_in_which_a_harness_ends(lab: Lab) -> None:
    failed = stage("BUILD", outcome="failure")
    harnesses = {
        "good": agent(
            stage("BUILD", "t-1"), ["write", "new.txt"], stage("VERIFY"), ["run", {"exit_reason": "complete"}]
        ),
        "limit": agent(["write", "new.txt"], stage("BUILD"), ["run", {"exit_reason": "max_iterations"}]),
        "left": agent(["write", "new.txt"], ["run", {"exit_reason": "no_work", "tasks": {"total": 2}}]),
        "failing": agent(failed, stage("VERIFY", outcome="failure"), failed, NEVER),
        "circling": agent(*[stage("BUILD", "t-1"), stage("VERIFY")] * 3, NEVER),
        "many": agent(*[stage("BUILD", f"t-{n}") for n in range(7)], NEVER),
        "crowded": agent(["state", {"stage": "BUILD", "context_tokens": 99_000}], NEVER),
        "killed": agent(stage("BUILD"), ["text", '{"stage": "VERI'], ["kill", 0]),
        "messy": agent(
            ["text", "garbage\n[1]\n"], stage("BUILD"), ["write", "new.txt"], stage("VERIFY", tokens="?")
        ),
        "exit": agent(stage("BUILD"), ["exit", 3]),
    }  # fmt: skip
    write(lab, harnesses, max_failures=3, max_iterations=6, max_repeated_stages=3, grace="300ms")
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    lab.assert_clean()
    found = attempts(lab)
    assert {name: row["outcome"] for name, row in found.items()} == {
        "good": "complete",
        "limit": "iteration_limit",
        "left": "tasks_left",
        "failing": "failure_breaker",
        "circling": "loop_detected",
        "many": "iteration_limit",
        "crowded": "context_kill",
        "killed": "failure_breaker",
        "messy": "complete",
        "exit": "failure_breaker",
    }
    assert found["many"]["detail"] == "harness: stage 7 of 6 of the harness"
    good = rows(lab, found["good"])
    assert [(row["stage"], row["task"], row["model_served"]) for row in good] == [
        ("harness", None, None),
        ("build", "t-1", "cloud/model"),
        ("verify", None, "cloud/model"),
    ]
    assert [row["input_tokens"] for row in good] == [0, 100, 100], "a sum over rows counts nothing twice"
    assert [row["stated_cost_usd_micros"] for row in good] == [0, 500_000, 500_000]
    assert (good[0]["requests"], good[0]["unparsed"]) == (None, 0), "unknown, since nothing went through the gateway"
    killed = rows(lab, found["killed"])
    assert [row["stage"] for row in killed] == ["harness"] * 3 + ["build"] * 3, "started again twice"
    assert [row["unparsed"] for row in killed[:3]] == [1, 1, 1]
    messy = rows(lab, found["messy"])
    assert [row["stage"] for row in messy] == ["harness", "build", "verify"]
    assert (messy[0]["unparsed"], messy[2]["input_tokens"]) == (2, None)
    report = json.loads(lab.bakeoff("report", "--json").out)
    assert report["experiment"] == "lab"


def test_stages_are_seen_while_the_harness_runs(lab: Lab) -> None:
    write(lab, {"slow": agent(stage("BUILD", "t-1"), ["wait", str(lab.root / "gate")], ["write", "new.txt"])})
    running = lab.start("run", str(lab.file))
    (row,) = until(
        lambda: lab.results.rows("SELECT * FROM stages WHERE stage = 'build' AND ended_at IS NOT NULL"),
        "the first stage to be told",
    )
    assert (row["task"], row["input_tokens"]) == ("t-1", 100)
    assert lab.results.outcomes() == ["live"]
    (lab.root / "gate").touch()
    assert lab.end_of(running).code == ExitCode.OK
    assert lab.results.outcomes() == ["complete"]
