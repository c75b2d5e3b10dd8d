"""Imported results on both databases: stored once, in parts, and never mixed with what is run here."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import Conflict
from orchestrator.interop.ralph_ledger import read_ledger
from orchestrator.interop.ralph_results import to_result
from orchestrator.storage import control
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
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
