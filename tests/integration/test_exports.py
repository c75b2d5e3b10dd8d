"""Open formats: every table comes back as it was stored, unknown stays unknown, and agents' texts stay at home."""

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import ExitCode
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import check_cases, events, stages
from tests.support.lab import Lab

TRIALS = """submission,task,trial,resolved,failure_mode,in_tok,out_tok,started,ended
20250101_droid_gpt-5,x,1,1,unset,100,20,2025-01-01T00:00:00+00:00,2025-01-01T00:01:00+00:00
20250101_droid_gpt-5,x,2,0,agent_timeout,,,2025-01-01T01:00:00+00:00,2025-01-01T01:01:00+00:00
"""
SECRET = "=SUM(what the agent said)"
# From the text of ATIF v1.4: what it requires, and nothing beside what it names.
ATIF_METRICS = {"prompt_tokens": int, "completion_tokens": int, "cached_tokens": int, "cost_usd": float}
ATIF_STEP = {
    *("step_id", "timestamp", "source", "model_name", "reasoning_effort", "message", "reasoning_content"),
    *("tool_calls", "observation", "metrics", "extra"),
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        (tmp_path / "trials.csv").write_text(TRIALS)
        assert one.bakeoff("import", "trials", "trials.csv").code == ExitCode.OK
        _as_if_an_agent_had_spoken(one)
        yield one


def _as_if_an_agent_had_spoken(lab: Lab) -> None:
    database = Database(f"sqlite:///{lab.home / 'bakeoff.db'}")
    said: list[tuple[str, dict[str, Any]]] = [
        ("MessageSaid", {"text": SECRET}),
        ("ToolCalled", {"tool": "bash", "signature": "ls"}),
        ("TurnEnded", {"usage": {"input": 10, "output": 5, "cache_read": 90, "reasoning": 2}, "model": "gpt-5"}),
        ("Compacted", {}),
        ("MessageSaid", {"text": "last"}),
    ]
    with database.write() as connection:
        query = sa.select(stages.c.attempt_id, stages.c.started_at).order_by(stages.c.started_at)
        attempt, at = connection.execute(query).first() or ("", None)
        mine = {"attempt_id": attempt, "stage_ordinal": 1, "at": at}
        rows = [{**mine, "seq": seq, "kind": kind, "data": data} for seq, (kind, data) in enumerate(said, 100)]
        insert_many(connection, events, rows)
        connection.execute(stages.update().where(stages.c.attempt_id == attempt).values(error_text=SECRET))
        case = {"kind": "final", "name": "tests", "run": 1, "ordinal": 1, "case_name": SECRET, "status": "pass"}
        insert_many(connection, check_cases, [{"attempt_id": attempt, **case}])
    database.close()


def export(lab: Lab, form: str, *more: str) -> Path:
    done = lab.bakeoff("export", form, "trials", "-o", form, *more)
    assert done.code == ExitCode.OK, done.err
    return lab.root / form


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tables_say_the_same_in_every_form(lab: Lab) -> None:
    folders = {form: export(lab, form) for form in ("csv", "jsonl")}
    for table, count in {"jobs": 2, "attempts": 2, "stages": 2, "checks": 2, "cases": 1}.items():
        rows = lines(folders["jsonl"] / f"{table}.jsonl")
        assert len(rows) == count
        with (folders["csv"] / f"{table}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{name: _cell(value) for name, value in row.items()} for row in rows]
    jobs, kept = lines(folders["jsonl"] / "jobs.jsonl"), lab.results.jobs()
    assert [(row["target"], row["outcome"], row["repeat"]) for row in jobs] == [
        (row["target"], row["outcome"], row["repeat"]) for row in kept
    ]
    assert [(row["input_tokens"], row["cost_usd_micros"]) for row in lines(folders["jsonl"] / "stages.jsonl")] == [
        (100, None),
        (None, None),
    ]
    assert {row["started_at"] for row in lines(folders["jsonl"] / "attempts.jsonl")} == {
        "2025-01-01T00:00:00+00:00",
        "2025-01-01T01:00:00+00:00",
    }


def _cell(value: object) -> str:
    return (
        {None: "", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else f"{value}"
    )


def test_parquet_is_read_back_with_its_types(lab: Lab) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, plain = export(lab, "parquet"), export(lab, "jsonl")
    for table in ("jobs", "attempts", "stages", "checks", "cases"):
        found = parquet.read_table(folder / f"{table}.parquet")
        rows = [
            {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
            for row in found.to_pylist()
        ]
        assert rows == lines(plain / f"{table}.jsonl")
    types = parquet.read_schema(folder / "stages.parquet")
    assert [str(types.field(name).type) for name in ("input_tokens", "started_at", "resumed", "stage")] == [
        "int64",
        "timestamp[us, tz=UTC]",
        "bool",
        "string",
    ]


def test_without_pyarrow_it_is_said_what_to_install(lab: Lab) -> None:
    blocked = lab.root / "blocked"
    (blocked / "pyarrow").mkdir(parents=True)
    (blocked / "pyarrow" / "__init__.py").write_text("raise ImportError('not here')")
    lab.env["PYTHONPATH"] = f"{blocked}:{lab.env['PYTHONPATH']}"
    done = lab.bakeoff("export", "parquet", "trials", "-o", "out")
    assert done.code == ExitCode.NOT_FOUND
    assert "pip install 'bakeoff[parquet]'" in done.err
    assert not (lab.root / "out").exists()


@pytest.mark.parametrize("form", ["csv", "jsonl", "atif"])
def test_what_agents_wrote_is_withheld_until_it_is_asked_for(lab: Lab, form: str) -> None:
    def seen() -> bool:
        return any(SECRET in file.read_text() for file in (lab.root / form).iterdir())

    export(lab, form)
    assert not seen()
    export(lab, form, "--with-agent-text", "--force")
    assert seen()


def test_nothing_is_written_over_unless_that_is_said(lab: Lab) -> None:
    export(lab, "csv")
    before = (lab.root / "csv" / "jobs.csv").read_bytes()
    again = lab.bakeoff("export", "csv", "trials", "-o", "csv")
    assert (again.code, "is there already" in again.err) == (ExitCode.CONFLICT, True)
    assert (lab.root / "csv" / "jobs.csv").read_bytes() == before
    assert [path.name for path in (lab.root / "csv").iterdir() if path.suffix != ".csv"] == []


def test_trajectories_are_as_the_format_wants_them(lab: Lab) -> None:
    found = {path.stem: json.loads(path.read_text()) for path in export(lab, "atif", "--with-agent-text").iterdir()}
    assert set(found) == {row["id"] for row in lab.results.attempts()}
    for session, one in found.items():
        assert (one["schema_version"], one["session_id"]) == ("ATIF-v1.4", session)
        assert {"name", "version"} <= set(one["agent"])
        assert [step["step_id"] for step in one["steps"]] == list(range(1, len(one["steps"]) + 1))
        for step in one["steps"]:
            assert set(step) <= ATIF_STEP
            assert isinstance(step["message"], str)
            assert step["source"] in ("system", "user", "agent")
            assert step["source"] == "agent" or not {"metrics", "tool_calls", "model_name"} & set(step)
            assert all(isinstance(value, ATIF_METRICS[name]) for name, value in step.get("metrics", {}).items())
    spoken = next(one for one in found.values() if len(one["steps"]) > 1)
    assert [(step["source"], step["message"]) for step in spoken["steps"]] == [
        ("user", ""),
        ("agent", SECRET),
        ("system", "the agent compacted its context"),
        ("agent", "last"),
    ]
    turn = spoken["steps"][1]
    assert turn["metrics"] == {"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 90}
    assert turn["tool_calls"] == [
        {"tool_call_id": "call-101", "function_name": "bash", "arguments": {"signature": "ls"}}
    ]
    assert spoken["final_metrics"] == {"total_prompt_tokens": 100, "total_completion_tokens": 20, "total_steps": 4}


def test_spans_follow_the_conventions(lab: Lab) -> None:
    traces = lines(export(lab, "otel") / "spans.jsonl")
    assert traces == lines(export(lab, "otel", "--force") / "spans.jsonl"), "ids are the same every time"
    spans = [trace["resourceSpans"][0]["scopeSpans"][0]["spans"] for trace in traces]
    root, stage = spans[0]
    assert (stage["parentSpanId"], stage["traceId"]) == (root["spanId"], root["traceId"])
    assert (len(root["traceId"]), len(root["spanId"])) == (32, 16)
    assert (stage["startTimeUnixNano"], stage["endTimeUnixNano"]) == ("1735689600000000000", "1735689660000000000")
    told = {pair["key"]: pair["value"] for pair in stage["attributes"]}
    assert told["gen_ai.operation.name"] == {"stringValue": "invoke_agent"}
    assert told["gen_ai.request.model"] == {"stringValue": "gpt-5"}
    assert told["gen_ai.usage.input_tokens"] == {"intValue": "100"}
    assert "gen_ai.usage.cache_read.input_tokens" not in told, "unknown is left out"
    timed_out = {pair["key"]: pair["value"] for pair in spans[1][1]["attributes"]}
    assert (timed_out["error.type"], spans[1][1]["status"]) == ({"stringValue": "wall_timeout"}, {"code": 2})
