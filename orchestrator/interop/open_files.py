"""Trajectories and spans of an experiment, attempt by attempt: the shell around `atif` and `otel`."""

import json
from pathlib import Path

from orchestrator.interop.atif import trajectory
from orchestrator.interop.open_tables import make_room, whole, write_lines
from orchestrator.interop.otel import spans
from orchestrator.storage.engine import Database
from orchestrator.storage.export import attempt_ids, attempt_parts
from orchestrator.storage.telemetry import timeline


def write_trajectories(database: Database, experiment: str, folder: Path, *, agent_text: bool, force: bool) -> int:
    """One ATIF file for each attempt, `ATTEMPT.json`; returns how many. Raises Conflict and Unavailable."""
    ids = attempt_ids(database, experiment)
    make_room(folder, (folder / f"{one}.json" for one in ids), force=force)
    for one in ids:
        document = trajectory(attempt_parts(database, one), timeline(database, one), agent_text=agent_text)
        with whole(folder / f"{one}.json") as part:
            part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(ids)


def write_spans(database: Database, experiment: str, folder: Path, *, force: bool) -> int:
    """`spans.jsonl`, a trace for each attempt; returns how many. Raises Conflict and Unavailable."""
    path = folder / "spans.jsonl"
    make_room(folder, [path], force=force)
    ids = attempt_ids(database, experiment)
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        return write_lines(file, (spans(attempt_parts(database, one)) for one in ids))
