"""Lines of a spool file: written, and read back as records for the database."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pydantic_core

from orchestrator.storage.ledger import LedgerRecord, StatementRecord
from orchestrator.storage.tasks import TaskRecord
from orchestrator.storage.telemetry import EventRecord, Records, StageRecord

_StageKey = tuple[str, int]
_TIMES = ("started_at", "ended_at", "refused_at", "resets_at", "stated_at")


def as_line(record: Mapping[str, Any]) -> bytes:
    """One record as a line of JSON; what JSON does not know is written as text."""
    try:
        return pydantic_core.to_json(record, fallback=str) + b"\n"
    except pydantic_core.PydanticSerializationError:
        # A lone surrogate can be escaped, but not encoded.
        return json.dumps(record, default=_plain).encode() + b"\n"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read(line: bytes) -> Any:
    try:
        return pydantic_core.from_json(line)
    except ValueError:
        return json.loads(line)  # which takes a lone surrogate


class Batch:
    """Lines of a spool file as records; of those that replace each other the last one."""

    def __init__(self) -> None:
        self._stages: dict[_StageKey, StageRecord] = {}
        self._events: list[EventRecord] = []
        self._ledger: dict[tuple[str, int, int], LedgerRecord] = {}
        self._statements: dict[tuple[str, str], StatementRecord] = {}
        self._tasks: dict[tuple[str, str], TaskRecord] = {}

    def take(self, line: bytes) -> None:
        """Sort a line in. Raises ValueError, KeyError or TypeError for what is no record."""
        record = _read(line)
        match record["type"]:
            case "event":
                self._events.append(_event(record))
            case "ledger":
                used = _used(record)
                self._ledger[used.attempt_id, used.stage_ordinal, used.minute] = used
            case "statement":
                stated = _stated(record["values"])
                self._statements[stated.account, stated.name] = stated
            case "tasks":
                for row in record["tasks"]:
                    task = TaskRecord(attempt_id=record["attempt"], seq=record["seq"], **row)
                    self._tasks[task.attempt_id, task.task_id] = task
            case _:
                self._take_stage(record)

    def records(self) -> Records:
        """Everything that was taken."""
        return Records(
            stages=list(self._stages.values()),
            events=self._events,
            ledger=list(self._ledger.values()),
            statements=list(self._statements.values()),
            tasks=list(self._tasks.values()),
        )

    def _take_stage(self, record: Mapping[str, Any]) -> None:
        key = record["attempt"], record["ordinal"]
        values = _with_times(record["values"])
        earlier = self._stages.get(key)
        if earlier is not None and "ended_at" in earlier.values and "ended_at" not in values:
            return  # a finished stage stays as it ended: this was written by a slower thread
        merged = {**(earlier.values if earlier else {}), **values}
        self._stages[key] = StageRecord(attempt_id=key[0], ordinal=key[1], values=merged)


def _event(record: Mapping[str, Any]) -> EventRecord:
    return EventRecord(
        attempt_id=record["attempt"],
        seq=record["seq"],
        stage_ordinal=record["stage"],
        at=datetime.fromisoformat(record["at"]),
        kind=record["kind"],
        data=record["data"],
    )


def _used(record: Mapping[str, Any]) -> LedgerRecord:
    return LedgerRecord(
        attempt_id=record["attempt"],
        stage_ordinal=record["stage"],
        minute=record["minute"],
        seq=record["seq"],
        at=datetime.fromisoformat(record["at"]),
        **_with_times(record["values"]),
    )


def _stated(values: Mapping[str, Any]) -> StatementRecord:
    return StatementRecord(**_with_times(values))


def _with_times(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in _TIMES and value else value for name, value in values.items()
    }
