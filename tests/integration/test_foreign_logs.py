"""Logs that tell no outcomes: sums agree, nothing is made up, it is stored once, and the files stay as they are."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode, InvalidInput
from orchestrator.interop import review, shadow, token_log
from orchestrator.interop.interstat_file import open_database as open_interstat
from orchestrator.interop.reading import Log, as_json, as_lines
from orchestrator.storage.engine import Database
from orchestrator.storage.export import EXPORTS
from orchestrator.storage.imports import store_imported
from tests.support.interstat import AT, add_rows, make_interstat
from tests.support.lab import Lab

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RUNS: list[dict[str, object]] = [
    {
        "agent_name": "fd-quality",
        "subagent_type": "interflux:fd-quality",
        "model": "claude-opus-4-6",
        "input_tokens": 33_000,
        "output_tokens": 13_000,
        "cache_read_tokens": 25_000,
        "cache_creation_tokens": 2_000,
        "total_tokens": 46_000,
        "bead_id": "iv-1",
        "phase": "executing",
        "wall_clock_ms": 90_500,
    },
    {"model": "claude-sonnet-4-6", "input_tokens": 10_000, "output_tokens": 6_000, "total_tokens": 17_000},
    {"model": "x", "input_tokens": 0, "output_tokens": 0, "wall_clock_ms": 0},
    {"agent_name": "Explore", "parsed_at": None},
]
STAGE = ("stage", "model_asked", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def told(lab: Lab, *words: str) -> Any:
    done = lab.bakeoff("import", *words, "--json")
    assert done.code == ExitCode.OK, done.err
    return json.loads(done.out)


def twice(database: Database, read: Callable[[], Log]) -> tuple[Any, Any]:
    """What the import of a log says, and what the second one does."""
    logs = read(), read()
    stored = [store_imported(database, name="x", source=log.source, runs=log.runs, now=NOW) for log in logs]
    first, second = (as_json(log, "x", one) for log, one in zip(logs, stored, strict=True))
    assert "\n".join(as_lines(logs[0], "x", stored[0])).count("left out") >= 1
    return first, second


def rows(database: Database, table: str) -> list[dict[str, Any]]:
    export = next(one for one in EXPORTS if one.name == table)
    names = [column.name for column in export.columns]
    with database.snapshot() as connection:
        return [dict(zip(names, row, strict=True)) for row in export.rows(connection, "x", agent_text=True)]


def kinds(report: Any) -> dict[str, str]:
    return {finding["kind"]: finding["found"] for finding in report["findings"]}


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {path.name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_interstat_is_read_without_a_trace_and_what_it_reads_later_is_added_later(lab: Lab) -> None:
    folder = lab.root / "interstat"
    folder.mkdir()
    file = make_interstat(folder / "metrics.db", RUNS)
    before = state(folder)
    first, again = (told(lab, "interstat", str(file)) for _ in "12")
    assert state(folder) == before, "no -wal and no -shm beside it either"
    assert [(one["rows"], one["added"], one["known"], one["left_out"]) for one in (first, again)] == [
        (4, 3, 0, 1),
        (4, 0, 3, 1),
    ]
    assert first["sums"] == {
        "input_tokens": 43_000,
        "output_tokens": 19_000,
        "cache_read_tokens": 25_000,
        "cache_creation_tokens": 2_000,
        "total_tokens": 62_000,
    }
    assert first["stated"] == {"total_tokens": 63_000}
    assert kinds(first) == {
        "cost_unknown": "3 rows say no cost",
        "time_unknown": "2 rows tell no duration, or 0 ms",
        "tokens_zero": "1 rows say 0 tokens in and out",
        "total_contradicts": "1 rows have a total_tokens that is not input + output",
        "sum_contradicts": "total_tokens is 63,000 as the file states it, and 62,000 as the sum of its rows",
        "not_parsed": "1 rows whose tokens interstat has not read yet",
    }
    assert [
        tuple(row[name] for name in STAGE) for row in sorted(lab.results.stages(), key=lambda row: row["stage"])
    ] == [
        ("executing", "claude-opus-4-6", 33_000, 13_000, 25_000, 2_000),
        ("run", "claude-sonnet-4-6", 10_000, 6_000, None, None),
        ("run", "x", None, None, None, None),
    ]
    assert {(job["target"], job["profile"]) for job in lab.results.jobs()} == {
        ("iv-1", "interflux-fd-quality-claude-opus-4-6"),
        ("session-s1", "main-session-claude-sonnet-4-6"),
        ("session-s1", "main-session-x"),
    }
    assert [row["wall_seconds"] for row in lab.results.attempts() if row["wall_seconds"]] == [90.5]
    with closing(sqlite3.connect(file)) as interstat:
        interstat.execute(
            "UPDATE agent_runs SET parsed_at = ?, input_tokens = 5, output_tokens = 7 WHERE id = 4", [AT]
        )
        interstat.commit()
        # As interstat's hooks leave it while they are at work: the newest rows are in the journal beside the file.
        reader = sqlite3.connect(file)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM agent_runs").fetchone()
        add_rows(interstat, [{"session_id": "s2", "input_tokens": 1, "output_tokens": 1}])
        assert (folder / "metrics.db-wal").stat().st_size > 0
        assert told(lab, "interstat", str(file))["added"] == 2
        reader.close()


def test_an_imported_log_is_priced_and_exported_like_our_own_runs(lab: Lab) -> None:
    make_interstat(lab.root / "metrics.db", RUNS[:1])
    told(lab, "interstat", "metrics.db")
    (lab.root / "p.toml").write_text(
        '[models."claude-opus-4-6"]\ndated = 2026-02-05\n'
        "input = 15.0\noutput = 75.0\ncache_read = 1.5\ncache_write = 18.75\n"
    )
    done = json.loads(lab.bakeoff("reprice", "interstat", "--prices", "p.toml", "--json").out)
    (profile,) = done["profiles"]
    assert profile["after_usd_micros"] == 33_000 * 15 + 13_000 * 75 + 37_500 + 37_500
    report = json.loads(lab.bakeoff("report", "interstat", "--json").out)
    assert [(one["jobs"], one["results"]) for one in report["profiles"]] == [(1, 0)], "nobody told of quality"
    assert lab.bakeoff("export", "jsonl", "interstat", "-o", "out").code == ExitCode.OK
    (stage,) = map(json.loads, (lab.root / "out" / "stages.jsonl").read_text().splitlines())
    assert (stage["cache_read_tokens"], stage["cost_usd_micros"]) == (25_000, None)
    assert lab.bakeoff("requeue", "interstat").code == ExitCode.OK
    assert {job["state"] for job in lab.results.jobs()} == {"failed"}, "nothing of it is ever run"


def test_a_schema_nobody_knows_is_refused(lab: Lab) -> None:
    make_interstat(lab.root / "metrics.db", [], version=9)
    done = lab.bakeoff("import", "interstat", "metrics.db")
    message = "has schema version 9, and known are 1, 2, 7: a newer Bakeoff may know it; nothing of it was read"
    assert (done.code, message in done.err) == (ExitCode.INVALID_INPUT, True), done.err
    assert lab.results.jobs() == []
    with pytest.raises(InvalidInput, match=r"schema version 0, .*: interstat's own scripts/init-db.sh brings it up"):
        open_interstat(make_interstat(lab.root / "old.db", [], version=0)).__enter__()


def test_a_shadow_log_tells_what_would_change_and_what_cannot_be_read(database: Database, tmp_path: Path) -> None:
    (tmp_path / "core.log").write_text(
        "2026-02-23T10:00:00Z [B2-shadow] complexity=C2 would change model: sonnet → haiku"
        " (phase=executing category=review)\n"
        "compiling\n"
        "[B2-shadow] complexity=C4 would change dispatch: deep(gpt) -> fast(gpt-mini)\n"
        "[B2-shadow] complexity=C2 would cha\n"
        "[interspect-shadow] fd-safety: base=opus, calibrated=sonnet\n"
        "[B5-shadow] would route locally: sonnet → local:qwen (complexity=C1 agent=fd-x)\n"
        "[safety-floor] agent=fd-quality resolved=haiku clamped_to=sonnet role=x\n"
    )
    first, again = twice(database, lambda: shadow.read_log([tmp_path / "core.log"], "x"))
    assert [
        (one["rows"], one["added"], one["known"], one["left_out"], one["unparsed"]) for one in (first, again)
    ] == [
        (7, 4, 0, 3, 1),
        (7, 0, 4, 3, 1),
    ]
    assert kinds(first)["unparsed"] == (
        "1 lines of the router that cannot be read: '[B2-shadow] complexity=C2 would cha'"
    )
    (target,) = first["routing"]
    assert (target["changed"], target["agreed"]) == (4, None), "agreement leaves no line"
    assert {(one["policy"], one["complexity"], one["change"]) for one in target["changes"]} == {
        ("B2", "C2", "sonnet → haiku"),
        ("B2", "C4", "deep → fast"),
        ("B5", "C1", "sonnet → local:qwen"),
        ("interspect", None, "opus → sonnet"),
    }
    assert {(job["target"], job["profile"]) for job in rows(database, "jobs")} >= {("core", "B2-sonnet-to-haiku")}


REVIEW = {
    "reviewed": "2026-02-14T08:42:15Z",
    "input": "/src/auth.ts",
    "agents_launched": ["fd-architecture", "fd-safety"],
    "agents_completed": ["fd-architecture"],
    "agents_failed": ["fd-safety"],
    "findings": [
        {"id": "P1-1", "severity": "P1", "agents": ["fd-architecture", "fd-quality"], "title": "a", "convergence": 3},
        {"id": "P2-1", "severity": "P2", "agent": "fd-architecture", "title": "b", "convergence": 2},
        {"severity": "awful", "agent": "fd-architecture"},
    ],
    "verdict": "safe",
    "cost_report": {"actual_total": 5, "agents": [{"name": "fd-architecture", "actual": 38_000}]},
}


def test_reviews_are_compared_by_what_was_found_and_held_against_themselves(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "findings.json").write_text(json.dumps(REVIEW))
    first, again = twice(database, lambda: review.read_log([tmp_path / "findings.json"], "x"))
    assert [(one["added"], one["known"], one["left_out"]) for one in (first, again)] == [(3, 0, 1), (0, 3, 1)]
    assert first["agents"] == [
        {"target": "auth.ts", "agent": agent, "P0": 0, "P1": high, "P2": low, "P3": 0, "alone": low, "tokens": tokens}
        for agent, high, low, tokens in (
            ("fd-architecture", 1, 1, 38_000),
            ("fd-safety", 0, 0, None),
            ("fd-quality", 1, 0, None),
        )
    ]
    assert kinds(first) == {
        "convergence_contradicts": "1 findings say that 3 agents agree, and name 2",
        "no_finding": "1 findings without a severity or an agent",
        "verdict_contradicts": "the verdict is 'safe', and by its findings it is 'needs-changes'",
        "sum_contradicts": "actual_total is 5, and its agents have 38,000",
        "agent_unknown": "1 agents found something and are not among those started",
    }
    ends = {job["profile"]: job["outcome"] for job in rows(database, "jobs")}
    assert ends == {"fd-architecture": "interrupted", "fd-safety": "agent_error", "fd-quality": "interrupted"}
    assert sorted(row["stream_total_tokens"] or 0 for row in rows(database, "stages")) == [0, 0, 38_000]


def test_a_token_log_is_held_against_its_own_sum(database: Database, tmp_path: Path) -> None:
    entry = {"timestamp": "2025-12-06T10:00:00.000Z", "sd_id": "SD-X", "phase": "LEAD", "tokens": 45_000}
    entries = [
        entry,
        entry,
        {**entry, "phase": "PLAN", "tokens": 78_000, "model": "haiku"},
        {"sd_id": "x", "tokens": -5},
    ]
    log = {"budget_limit": 500_000, "tokens_used": 130_000, "entries": entries}
    (tmp_path / "log.json").write_text(json.dumps(log))
    first, again = twice(database, lambda: token_log.read_log(tmp_path / "log.json", "x"))
    assert [(one["added"], one["known"], one["left_out"]) for one in (first, again)] == [(3, 0, 1), (0, 3, 1)]
    assert (first["sums"], first["stated"], first["budget_limit"]) == (
        {"tokens": 168_000},
        {"tokens": 130_000},
        500_000,
    )
    assert set(kinds(first)) == {"no_entry", "model_unknown", "sum_contradicts"}
    assert {(row["stage"], row["input_tokens"], row["stream_total_tokens"]) for row in rows(database, "stages")} == {
        ("LEAD", None, 45_000),
        ("PLAN", None, 78_000),
    }
