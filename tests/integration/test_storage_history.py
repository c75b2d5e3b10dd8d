"""What ended before, as plans read it, on both databases."""

import pytest

from orchestrator.analysis.estimate import Source
from orchestrator.analysis.known import SECONDS, Subject
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.history import known, turns
from tests.support.world import LATER, NOW, POOL, A, add, order, start


def test_an_empty_database_knows_nothing(database: Database) -> None:
    assert turns(database) == {}
    assert known(database).expect(Subject("cell", "target", "profile", "agent"), SECONDS) is None


def test_only_results_tell_how_long_the_work_takes(database: Database) -> None:
    add(database, [POOL] * 4, capacities={POOL: 4})
    claims = start(database)
    seconds = {0: 10.0, 1: 20.0, 2: 60.0}
    for index, claim in enumerate(claims):
        outcome = Outcome.COMPLETE if index in seconds else Outcome.INFRA_ERROR
        result = AttemptResult(outcome=outcome, detail="", wall_seconds=seconds.get(index, 9999.0))
        attempts.finish(database, claim.attempt_id, result, LATER)
    found = known(database).expect(Subject("another cell", "t", "another profile", "another agent"), SECONDS)
    assert found is not None
    assert (found.source, found.runs, found.spread) == (Source.TARGET, 3, None)
    assert found.mean == pytest.approx(30.0)


def test_a_turn_is_where_the_order_of_a_class_has_come(database: Database) -> None:
    add(database, [A, POOL, A], capacities={A: 1, POOL: 1})
    before = turns(database)
    order(database, NOW)
    after = turns(database)
    assert set(before) == set(after) == {(A,), (POOL,)}
    assert before[(A,)].next is not None
    assert after[(POOL,)].next is None
    assert before[(A,)].last == after[(A,)].last
