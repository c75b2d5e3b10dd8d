"""Imported results on both databases: stored once, in parts, and never mixed with what is run here."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import Conflict
from orchestrator.interop.ralph_export import kept
from orchestrator.interop.ralph_export import lines as export_lines
from orchestrator.interop.ralph_ledger import read_ledger
from orchestrator.interop.ralph_results import to_result
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials import Counts, to_results
from orchestrator.interop.trials_file import read_lines
from orchestrator.storage import control
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.export import EXPORTS
from orchestrator.storage.imports import ImportedRun, Stored, kept_records, store_imported
from tests.support.world import POOL, add

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def runs(*names: str) -> list[ImportedRun]:
    stages = [
        {"run_id": name, "stage": stage, "model": "vllm:x", "outcome": "success", "tokens": {"input": 3}, "cost": 0.5}
        for name in names
        for stage in ("BUILD", "VERIFY")
    ]
    summaries = [{"run_id": name, "spec": "x.md", "profile": "p", "exit_reason": "max_iterations"} for name in names]

    def text(records: Sequence[object]) -> bytes:
        return "".join(json.dumps(record) + "\n" for record in records).encode()

    return [to_result("old", run) for run in read_ledger(text(summaries), text(stages)).runs]


def store(database: Database, *names: str, name: str = "old") -> Stored:
    return store_imported(database, name=name, source="ralph", runs=runs(*names), now=NOW)


def test_a_ledger_that_has_grown_adds_only_what_is_new(database: Database) -> None:
    assert store(database, "a", "b") == Stored(2, 0)
    assert store(database, "a", "b") == Stored(0, 2)
    assert store(database, "a", "b", "c") == Stored(1, 2)
    evidence = load_evidence(database, "old", NOW)
    assert [(job.label, job.outcome, job.tokens.input) for job in evidence.jobs] == [
        (f"x/p#{repeat}", "iteration_limit", 6) for repeat in (1, 2, 3)
    ]
    assert [(job.cost_usd_micros, job.stated_cost_usd_micros) for job in evidence.jobs] == [(None, 1_000_000)] * 3
    assert [(stage.prompt_bytes, stage.context_window) for stage in evidence.stages] == [(None, None)] * 6
    assert [record.record["record"].get("stage") for record in kept_records(database, "old")] == [
        None,
        "BUILD",
        "VERIFY",
    ] * 3


_DEEP: list[object] = []
for _ in range(300):
    _DEEP = [_DEEP]
_HOSTILE: list[dict[str, object]] = [
    {"config_snapshot": {"x": float("nan"), "a\0": "\ud800\0", "context_window": 2**52, "z": 10**400}},
    {"kills": {"timeout": float("inf")}, "stages": {"BUILD": {"count": "x"}}, "x": _DEEP},
    {"git_sha_start": "z" * 300, "git_sha_end": "\0" * 300, "branch": "b" * 9000, "worktree": "w" * 9000},
    {"exit_reason": "a\0b", "spec": "s\0\ud800", "profile": 7, "tasks": [1], "stages": []},
    {"started_at": "9999-12-31T23:59:59", "duration_s": 1e6},
    {"started_at": "9999-12-31T23:59:59-12:00", "ended_at": "0001-01-01T00:00:00+12:00"},
]
_HOSTILE_STAGES: list[dict[str, object]] = [
    {
        "duration_s": 1e6,
        "tokens": {"input": 2**52, "output": -1},
        "cost": 1e11,
        "iteration": 2**40,
        "y": float("nan"),
    },
    {"stage": "B\0\ud800" * 99, "model": "m" * 5000, "task_id": "\0" * 5000, "kill_reason": "k" * 5000},
    {"duration_s": 1e6, "context_tokens": 2**50, "tokens": [], "cost": "x"},
]


def test_what_nobody_would_write_is_stored_too(database: Database) -> None:
    summaries = [{"run_id": str(number), **one} for number, one in enumerate(_HOSTILE)]
    stages = [
        {"run_id": str(number), "stage": "BUILD", **one} for number in range(len(_HOSTILE)) for one in _HOSTILE_STAGES
    ]
    lines = ["".join(json.dumps(one) + "\n" for one in records).encode() for records in (summaries, stages)]
    results = [to_result("old", run) for run in read_ledger(*lines).runs]
    assert store_imported(database, name="old", source="ralph", runs=results, now=NOW) == Stored(6, 0)
    evidence = load_evidence(database, "old", NOW)
    assert (len(evidence.jobs), len(evidence.stages)) == (6, 18)
    for given, back in zip((summaries, stages), kept(kept_records(database, "old")), strict=True):
        assert [one["run_id"] for one in back] == [one["run_id"] for one in given]
        assert export_lines(back).encode().count(b"\n") == len(given)


def test_nothing_of_it_is_ever_run(database: Database) -> None:
    store(database, "a")
    assert control.requeue(database, Selection(experiment="old")) == 0
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT state, queue FROM jobs")).all() == [("failed", "imported")]


def test_an_experiment_that_was_run_here_is_left_alone(database: Database) -> None:
    add(database, [POOL])
    with database.read() as connection:
        name = connection.execute(sa.text("SELECT name FROM experiments")).scalar_one()
    with pytest.raises(Conflict, match="run here"):
        store(database, "a", name=name)


def test_trials_with_their_checks_come_back_as_exported_rows(database: Database, tmp_path: Path) -> None:
    rows = [f"arm{index % 2},task{index % 3},{index},{index % 2},unset,5,7" for index in range(1100)]
    table = tmp_path / "t.csv"
    table.write_text("submission,task,trial,resolved,failure_mode,in_tok,out_tok\n" + "\n".join(rows))

    def stored() -> Stored:
        tally = Tally()
        runs = to_results("t", "t.csv", read_lines(table, tally), tally, Counts())
        return store_imported(database, name="t", source="trials", runs=runs, now=NOW)

    assert [stored(), stored()] == [Stored(1100, 0), Stored(0, 1100)]
    with database.snapshot() as connection:
        found = {
            one.name: [
                dict(zip((column.name for column in one.columns), row, strict=True))
                for row in one.rows(connection, "t", agent_text=True)
            ]
            for one in EXPORTS
        }
    assert {name: len(rows) for name, rows in found.items()} == {
        "jobs": 1100,
        "attempts": 1100,
        "stages": 1100,
        "checks": 1100,
        "cases": 0,
    }
    repeats = Counter((job["profile"], job["target"]) for job in found["jobs"])
    assert {(job["profile"], job["target"], job["repeat"]) for job in found["jobs"]} == {
        (*cell, repeat) for cell, count in repeats.items() for repeat in range(1, count + 1)
    }
    profile = {job["id"]: job["profile"] for job in found["jobs"]}
    assert {(profile[check["job_id"]], check["status"]) for check in found["checks"]} == {
        ("arm0", "fail"),
        ("arm1", "pass"),
    }, "each check stays with its own job"
    evidence = load_evidence(database, "t", NOW)
    assert {job.tokens.total for job in evidence.jobs} == {12}
