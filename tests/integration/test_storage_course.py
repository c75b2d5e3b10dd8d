"""Stages as columns and the course of a night, read from both databases."""

from dataclasses import asdict
from datetime import timedelta
from itertools import groupby
from typing import Any

from orchestrator.analysis.course import AttemptSpan, ContextCurve
from orchestrator.analysis.rows import StageRow
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.window import WindowSpec
from orchestrator.storage import attempts
from orchestrator.storage.attempts import Claim
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.ledger import LedgerRecord
from orchestrator.storage.tables import windows
from orchestrator.storage.telemetry import EventRecord, Records, StageRecord, ship
from tests.support.world import COMPLETE, LATER, NOW, A, add, start

BEGAN = NOW + timedelta(microseconds=250_001)
STAGE: dict[str, Any] = {
    "stage": "build",
    "role": "build",
    "agent": "reference",
    "model_asked": "m",
    "resource": A,
    "started_at": BEGAN,
    "input_tokens": 7,
    "rate_limit_wait_seconds": 1.5,
    "context_peak_tokens": 900,
    "context_window": 1000,
}


def run(database: Database, claim: Claim) -> None:
    """A stage that ended, with three turns and a compaction, and one that goes on."""
    turns: list[tuple[str, dict[str, Any]]] = [
        ("TurnEnded", {"usage": {"input": 300, "cache_read": 100}}),
        ("TurnEnded", {"usage": {"input": 5}, "subagent": True}),
        ("TurnEnded", {"usage": {"output": 5}}),
        ("TurnEnded", {"usage": {"input": 900}}),
        ("Compacted", {}),
        ("MessageSaid", {"text": "hello"}),
        ("TurnEnded", {"usage": {"input": 200}}),
    ]
    made = [
        EventRecord(attempt_id=claim.attempt_id, seq=seq, stage_ordinal=1, at=NOW, kind=kind, data=data)
        for seq, (kind, data) in enumerate(turns, 1)
    ]
    ended = {"ended_at": BEGAN + timedelta(seconds=90), "outcome": "idle_timeout", "error_text": "it\u0000broke"}
    open_stage = {**STAGE, "stage": "plan", "context_peak_tokens": None, "input_tokens": None}
    stages = [
        StageRecord(attempt_id=claim.attempt_id, ordinal=1, values=STAGE | ended),
        StageRecord(attempt_id=claim.attempt_id, ordinal=2, values=open_stage),
    ]
    ship(database, Records(stages=stages, events=made, ledger=[use(claim, 10, 2), use(claim, 40, 3)]), NOW)


def use(claim: Claim, minute: int, requests: int) -> LedgerRecord:
    at = NOW + timedelta(minutes=minute)
    return LedgerRecord(
        attempt_id=claim.attempt_id,
        stage_ordinal=1,
        minute=int(at.timestamp() // 60),
        seq=minute,
        account="a",
        model="m",
        at=at,
        requests=requests,
        requests_without_usage=0,
        seconds=1.0,
        input_tokens=1,
        output_tokens=1,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        refused_at=None,
    )


def test_a_night_is_read_as_it_was(database: Database) -> None:
    add(database, [A], capacities={A: 1})
    spec = WindowSpec(name="1h", length_seconds=3600, requests=10, reserve_ppm=100_000)
    unlimited = WindowSpec(name="7d", length_seconds=7 * 86400)
    with database.write() as connection:
        for one in (spec, unlimited):
            connection.execute(windows.insert().values(account="a", name=one.name, spec=asdict(one)))
    (claim,) = start(database)
    run(database, claim)
    attempts.finish(database, claim.attempt_id, COMPLETE, NOW + timedelta(minutes=90))
    found = load_evidence(database, "demo", LATER)

    first, second = found.stages
    assert first == StageRow(
        job_id=claim.job_id,
        attempt=1,
        order=1,
        stage="build",
        role="build",
        model_asked="m",
        resource=A,
        started_at=BEGAN,
        ended_at=BEGAN + timedelta(seconds=90),
        rate_limit_wait_seconds=1.5,
        usage=TokenUsage(input=7),
        context_peak_tokens=900,
        context_window=1000,
        outcome=Outcome.IDLE_TIMEOUT,
        error_text="it\ufffdbroke",
    )
    assert (second.stage, second.ended_at, second.usage.total, second.outcome) == ("plan", None, None, None)
    assert (found.jobs[0].tokens, found.jobs[0].context_peak_fill) == (TokenUsage(input=7), 0.9)

    (span,) = found.course.attempts
    assert (span.job_id, span.machine, span.started_at) == (claim.job_id, "box", NOW)
    assert (span.ended_at, span.parked_until) == (NOW + timedelta(minutes=90), None)
    assert isinstance(span, AttemptSpan)
    assert found.course.contexts == (
        ContextCurve(
            job_id=claim.job_id,
            attempt=1,
            order=1,
            window_tokens=1000,
            turns=((1, 400), (2, 900), (3, 200)),
            compactions=(2,),
        ),
    )
    hour, week = found.course.windows
    assert (hour.account, hour.window, hour.ceiling_ppm) == ("a", "1h", 900_000)
    # 2 of 10 requests from the tenth minute, 5 from the fortieth, nothing after the hour's reset.
    seen = [used for used, _ in groupby(point.used_ppm for point in hour.points)]
    assert seen == [0, 200_000, 500_000, 0]
    assert hour.resets == (NOW + timedelta(hours=1),)
    assert {point.used_ppm for point in week.points} == {None}


def test_without_cases_no_course_is_read(database: Database) -> None:
    add(database, [A], capacities={A: 1})
    (claim,) = start(database)
    run(database, claim)
    found = load_evidence(database, "demo", LATER, with_cases=False)
    assert (len(found.stages), found.course.attempts, found.course.contexts) == (2, (), ())
