"""Open formats: every table comes back as it was stored, unknown stays unknown, and agents' texts stay at home."""

import csv
import importlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.analysis.reprice import reprice
from orchestrator.domain.errors import Conflict, ExitCode
from orchestrator.domain.usage import Prices
from orchestrator.interop.mlflow_files import write_runs
from orchestrator.interop.open_files import write_spans, write_trajectories
from orchestrator.interop.open_tables import WRITERS, write_tables
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials import SOURCE, Counts, to_results
from orchestrator.interop.trials_file import read_lines
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.export import Column, Kind
from orchestrator.storage.imports import store_imported
from orchestrator.storage.tables import attempts, check_cases, events, stages
from tests.support.lab import Lab

TRIALS = """submission,task,trial,resolved,failure_mode,in_tok,out_tok,started,ended
20250101_droid_gpt-5,x,1,1,unset,100,20,2025-01-01T00:00:00+00:00,2025-01-01T00:01:00+00:00
20250101_droid_gpt-5,x,2,0,agent_timeout,,,2025-01-01T01:00:00+00:00,2025-01-01T01:01:00+00:00
"""
NOW = datetime(2026, 11, 28, tzinfo=UTC)
SECRET = "=SUM(what the agent said)"
# From the text of ATIF v1.4: what it requires, and nothing beside what it names.
ATIF_METRICS = {"prompt_tokens": int, "completion_tokens": int, "cached_tokens": int, "cost_usd": float}
ATIF_STEP = {
    *("step_id", "timestamp", "source", "model_name", "reasoning_effort", "message", "reasoning_content"),
    *("tool_calls", "observation", "metrics", "extra"),
}


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Database:
    """Two imported trials, of which the first has an agent's words."""
    (tmp_path / "trials.csv").write_text(TRIALS)
    tally = Tally()
    runs = to_results("trials", "trials.csv", read_lines(tmp_path / "trials.csv", tally), tally, Counts())
    store_imported(database, name="trials", source=SOURCE, runs=runs, now=NOW)
    _as_if_an_agent_had_spoken(database)
    return database


def _as_if_an_agent_had_spoken(database: Database) -> None:
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


class Exports:
    """Writes what is in a database in every form, each into a folder of its own."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database, self._root = database, root

    def __call__(self, form: str, *, agent_text: bool = False, force: bool = False) -> Path:
        folder, words = self._root / form, {"agent_text": agent_text, "force": force}
        if form == "atif":
            write_trajectories(self.database, "trials", folder, **words)
        elif form == "otel":
            write_spans(self.database, "trials", folder, force=force)
        elif form == "mlflow":
            write_runs(self.database, "trials", folder, force=force)
        else:
            write_tables(self.database, "trials", folder, form, **words)
        return folder


@pytest.fixture
def export(filled: Database, tmp_path: Path) -> Exports:
    return Exports(filled, tmp_path / "out")


def rows_of(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tables_say_the_same_in_every_form(export: Exports) -> None:
    folders = {form: export(form, agent_text=True) for form in ("csv", "jsonl")}
    for table, count in {"jobs": 2, "attempts": 2, "stages": 2, "checks": 2, "cases": 1}.items():
        rows = lines(folders["jsonl"] / f"{table}.jsonl")
        assert len(rows) == count
        with (folders["csv"] / f"{table}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{name: _cell(value) for name, value in row.items()} for row in rows]
    assert [(row["target"], row["outcome"], row["repeat"]) for row in lines(folders["jsonl"] / "jobs.jsonl")] == [
        ("x", "complete", 1),
        ("x", "wall_timeout", 2),
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
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return f"'{value}" if value == SECRET else f"{value}"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd()|' /C calc'!A0", "'=cmd()|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("'=1", "''=1"),
        ("\t=1", "'\t=1"),
        ("it's", "it's"),
        ("a=b", "a=b"),
    ],
)
def test_no_spreadsheet_takes_a_text_for_a_formula(tmp_path: Path, text: str, cell: str) -> None:
    columns = [
        Column(name="text", kind=Kind.TEXT, by_agent=True),
        Column(name="n", kind=Kind.INTEGER, by_agent=False),
    ]
    assert WRITERS["csv"](tmp_path / "t.csv", columns, [(text, -1)]) == 1
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["text", "n"], [cell, "-1"]]


def test_parquet_is_read_back_with_its_types(export: Exports) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    folder, plain = export("parquet"), export("jsonl")
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


def test_the_command_says_what_is_missing_and_what_it_wrote(lab: Lab) -> None:
    (lab.root / "trials.csv").write_text(TRIALS)
    assert lab.bakeoff("import", "trials", "trials.csv").code == ExitCode.OK
    done = lab.bakeoff("export", "mlflow", "trials", "-o", "mlruns")
    assert (done.code, done.out.startswith("mlruns: 2 runs.")) == (ExitCode.OK, True), done.err
    blocked = lab.root / "blocked"
    (blocked / "pyarrow").mkdir(parents=True)
    (blocked / "pyarrow" / "__init__.py").write_text("raise ImportError('not here')")
    lab.env["PYTHONPATH"] = f"{blocked}:{lab.env['PYTHONPATH']}"
    done = lab.bakeoff("export", "parquet", "trials", "-o", "out")
    assert done.code == ExitCode.NOT_FOUND
    assert "pip install 'bakeoff[parquet]'" in done.err
    assert not (lab.root / "out").exists()


@pytest.mark.parametrize("form", ["csv", "jsonl", "atif"])
def test_what_agents_wrote_is_withheld_until_it_is_asked_for(export: Exports, form: str) -> None:
    def seen() -> bool:
        return any(SECRET in file.read_text() for file in export(form, force=True).iterdir())

    assert not seen()
    folder = export(form, agent_text=True, force=True)
    assert any(SECRET in file.read_text() for file in folder.iterdir())


@pytest.mark.parametrize("form", ["csv", "mlflow"])
def test_nothing_is_written_over_unless_that_is_said(export: Exports, form: str) -> None:
    def content(folder: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = content(export(form))
    with pytest.raises(Conflict, match="is there already"):
        export(form)
    assert content(export(form, force=True)) == before, "and what is exported again is the same"


def test_trajectories_are_as_the_format_wants_them(export: Exports) -> None:
    found = {path.stem: json.loads(path.read_text()) for path in export("atif", agent_text=True).iterdir()}
    assert set(found) == {row["id"] for row in rows_of(export.database, attempts)}
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


def test_spans_follow_the_conventions(export: Exports) -> None:
    traces = lines(export("otel") / "spans.jsonl")
    assert traces == lines(export("otel", force=True) / "spans.jsonl"), "ids are the same every time"
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


def test_a_run_for_mlflow_lies_where_its_file_store_looks(export: Exports) -> None:
    folder = export("mlflow")
    (own,) = folder.iterdir()
    first = min(rows_of(export.database, attempts), key=lambda row: str(row["started_at"]))["id"]
    found = {
        str(path.relative_to(own)).replace(first, "RUN"): path.read_text().replace(folder.as_uri(), "HERE")
        for path in own.rglob("*")
        if path.is_file() and (path.parent == own or first in path.parts)
    }
    assert found.pop("RUN/tags/bakeoff.job").isdigit()
    meta = found.pop("RUN/meta.yaml").replace(first, "RUN").splitlines()
    at, end = 1735689600000, 1735689660000
    assert meta == [
        f'artifact_uri: "HERE/{own.name}/RUN/artifacts"',
        f"end_time: {end}",
        'entry_point_name: ""',
        f'experiment_id: "{own.name}"',
        'lifecycle_stage: "active"',
        'run_id: "RUN"',
        'run_name: "x/20250101_droid_gpt-5#1"',
        'run_uuid: "RUN"',
        'source_name: ""',
        "source_type: 4",
        'source_version: ""',
        f"start_time: {at}",
        "status: 3",
        "tags: []",
        'user_id: ""',
    ]
    assert found == {
        "meta.yaml": f'artifact_location: "HERE/{own.name}"\nexperiment_id: "{own.name}"\n'
        'lifecycle_stage: "active"\nname: "trials"\n',
        **{
            f"RUN/params/{name}": value
            for name, value in {
                **{"target": "x", "profile": "20250101_droid_gpt-5", "repeat": "1", "attempt": "1", "agent": "droid"},
                **{"loop": "external", "model.reasoning": "gpt-5", "model.build": "gpt-5"},
            }.items()
        },
        **{
            f"RUN/metrics/{name}": f"{end} {value} {step}\n"
            for name, value, step in (
                *(
                    ("wall_seconds", 60.0, 0),
                    ("stages", 1.0, 0),
                    ("checks_passed", 1.0, 0),
                    ("checks_failed", 0.0, 0),
                ),
                *(("input_tokens", 100.0, 0), ("output_tokens", 20.0, 0)),
                *(("stage.input_tokens", 100.0, 1), ("stage.output_tokens", 20.0, 1)),
            )
        },
        **{
            f"RUN/tags/{name}": value
            for name, value in {
                "mlflow.runName": "x/20250101_droid_gpt-5#1",
                "mlflow.source.name": "bakeoff",
                "mlflow.source.type": "LOCAL",
                "bakeoff.outcome": "complete",
                "bakeoff.machine": "imported",
            }.items()
        },
    }, "what is unknown has no file"


def test_past_runs_are_priced_again(filled: Database) -> None:
    evidence = load_evidence(filled, "trials", NOW)
    (row,) = reprice(evidence.jobs, evidence.stages, {"gpt-5": Prices(input=5.0, output=25.0)})
    assert (row.stages, row.before.known, row.after.known, row.after.total, row.undivided) == (2, 0, 1, 1000, 1)
