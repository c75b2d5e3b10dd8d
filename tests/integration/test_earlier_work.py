"""What a later attempt may build on, from the real tables."""

from datetime import timedelta

from orchestrator.domain.harness import inner_ordinal
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import stages
from tests.support.world import NOW, A, add, claim, order

_STAGE = {
    "stage": "build",
    "role": "build",
    "agent": "reference",
    "model_asked": "m",
    "resource": A,
    "context_window": 1000,
    "prompt_bytes": 1,
    "outcome": "infra_error",
    "changed": True,
    "commit_sha": "1" * 40,
}


def test_a_clock_that_was_set_takes_no_time_from_a_job(database: Database) -> None:
    [job] = add(database, [A], capacities={A: 1})
    first = claim(database, job, order(database)[job])
    attempts.advance(database, first.attempt_id, "prepare")
    attempts.advance(database, first.attempt_id, "work", run_dir="/kept")
    hour = timedelta(hours=1)
    measured = {"working_seconds": 20.0, "rate_limit_wait_seconds": 4.0}
    with database.write() as connection:
        for ordinal, ended in ((1, NOW + hour), (2, NOW - hour)):
            row = {"attempt_id": first.attempt_id, "ordinal": ordinal, "started_at": NOW, "ended_at": ended}
            connection.execute(stages.insert().values(**_STAGE, **measured, **row))
    result = AttemptResult(outcome=Outcome.INFRA_ERROR, detail="the disk went away")
    attempts.finish(database, first.attempt_id, result, NOW)
    earlier = attempts.earlier_work(database, job, 2)
    assert earlier is not None
    assert [stage.ordinal for stage in earlier.stages] == [1, 2]
    assert earlier.wall_seconds == 48.0


def test_stages_of_a_harness_are_its_use_and_no_stages_to_go_on_after(database: Database) -> None:
    [job] = add(database, [A], capacities={A: 1})
    first = claim(database, job, order(database)[job])
    attempts.advance(database, first.attempt_id, "prepare")
    attempts.advance(database, first.attempt_id, "work", run_dir="/kept")
    use = {"input_tokens": 100, "stated_cost_usd_micros": 7}
    with database.write() as connection:
        for ordinal in (1, inner_ordinal(1, 1), inner_ordinal(1, 2)):
            own = {"changed": None, "commit_sha": None, "context_window": None, "prompt_bytes": None}
            row = {"attempt_id": first.attempt_id, "ordinal": ordinal, "started_at": NOW, "ended_at": NOW}
            connection.execute(stages.insert().values(**_STAGE | (own if ordinal > 1 else {}), **use, **row))
    attempts.finish(database, first.attempt_id, AttemptResult(outcome=Outcome.INFRA_ERROR, detail="gone"), NOW)
    earlier = attempts.earlier_work(database, job, 2)
    assert earlier is not None
    assert [(stage.ordinal, stage.tokens, stage.spent_usd_micros) for stage in earlier.stages] == [(1, 300, 21)]
