"""A job's course is replayed from the database alone, whole and in order, on both databases."""

from datetime import timedelta
from typing import Any

from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.telemetry import EventRecord, Records, StageRecord, ship
from orchestrator.storage.timeline import Moment, job_timeline
from tests.support.world import NOW, POOL, add, start

HARMFUL = "\x1b[31m\udcff\u202e"


def stage(attempt_id: str, ordinal: int, **values: Any) -> StageRecord:
    begun = {
        "stage": f"s{ordinal}",
        "role": "build",
        "agent": "a",
        "model_asked": "m",
        "resource": POOL,
        "context_window": 1000,
        "prompt_bytes": 1,
        "started_at": NOW + timedelta(seconds=10 * ordinal),
    }
    return StageRecord(attempt_id=attempt_id, ordinal=ordinal, values=begun | values)


def event(attempt_id: str, seq: int, ordinal: int | None, kind: str = "ToolCalled", **data: Any) -> EventRecord:
    # Somebody set the clock back meanwhile: the numbers tell the order.
    at = NOW + timedelta(seconds=100 - seq)
    return EventRecord(attempt_id=attempt_id, seq=seq, stage_ordinal=ordinal, at=at, kind=kind, data=data)


def short(moments: list[Moment]) -> list[tuple[int, int | None, str]]:
    return [(one.attempt, one.stage, one.kind) for one in moments]


def test_attempts_stages_and_events_come_in_the_order_in_which_they_happened(database: Database) -> None:
    (job_id,) = add(database, [POOL], capacities={POOL: 1})
    first = start(database)[0]
    ended = NOW + timedelta(seconds=60)
    events = [
        event(first.attempt_id, 1, None, "Resumed"),
        event(first.attempt_id, 2, 1, signature=HARMFUL),
        event(first.attempt_id, 3, 1, "FileSkipped", path=HARMFUL),
        event(first.attempt_id, 4, 3),
    ]
    stages = [
        stage(first.attempt_id, 1, ended_at=ended, outcome=None, turns=0),
        stage(first.attempt_id, 2, ended_at=ended),
        stage(first.attempt_id, 3),  # its worker died in it
    ]
    ship(database, Records(stages=stages, events=events), NOW)
    attempts.finish(database, first.attempt_id, AttemptResult(outcome=Outcome.INFRA_ERROR, detail="died"), ended)
    second = start(database)[0]
    ship(database, Records(stages=[stage(second.attempt_id, 1)]), NOW)
    moments = list(job_timeline(database, job_id))
    assert short(moments) == [
        (1, None, "AttemptBegan"),
        (1, None, "Resumed"),
        (1, 1, "StageBegan"),
        (1, 1, "ToolCalled"),
        (1, 1, "FileSkipped"),
        (1, 1, "StageEnded"),
        (1, 2, "StageBegan"),
        (1, 2, "StageEnded"),
        (1, 3, "StageBegan"),
        (1, 3, "ToolCalled"),
        (1, None, "AttemptEnded"),
        (2, None, "AttemptBegan"),
        (2, 1, "StageBegan"),
    ]
    assert moments[3].data == {"signature": HARMFUL}
    assert moments[5].data["turns"] == 0
    assert "exit_code" not in moments[5].data, "unknown is left out and not 0"
    assert (moments[10].at, moments[10].data["detail"]) == (ended, "died")
    assert short(list(job_timeline(database, job_id, attempt=2))) == [(2, None, "AttemptBegan"), (2, 1, "StageBegan")]
    assert list(job_timeline(database, job_id + 1)) == []


def test_pages_leave_nothing_out_and_read_nothing_twice(database: Database) -> None:
    (job_id,) = add(database, [POOL], capacities={POOL: 1})
    claim = start(database)[0]
    stages = [stage(claim.attempt_id, ordinal, ended_at=NOW) for ordinal in range(1, 8)]
    events = [event(claim.attempt_id, seq, seq) for seq in range(1, 8)]
    ship(database, Records(stages=stages, events=events), NOW)
    _, *moments = job_timeline(database, job_id, page_rows=3)
    assert short(moments) == [
        (1, n, kind) for n in range(1, 8) for kind in ("StageBegan", "ToolCalled", "StageEnded")
    ]
