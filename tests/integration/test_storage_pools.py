"""Pools in the database: what machines saw of the servers, and how many slots follow."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from orchestrator.domain.fleet import Fleet
from orchestrator.domain.model_server import Health, ServerReport
from orchestrator.domain.states import JobState
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.scheduling.pools import settle, wanted_slots
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import attempts, live, pools
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.pools import Moment, PoolServer, pool_server, report
from orchestrator.storage.submit import store_fleet
from orchestrator.storage.tables import stages
from tests.support.world import NOW, POOL, WORKER, add, hints, state

URL = "http://redbox:8080"
UP = ServerReport(health=Health.HEALTHY, kind="llama.cpp", version="b1", slots=2)
DOWN = ServerReport(health=Health.DOWN, detail="refused")
# Ten seconds later, and so on.
T = [NOW + timedelta(seconds=10 * number) for number in range(10)]


def fleet(database: Database, slots: int | None = None, url: str = URL) -> PoolServer:
    """The pool `p` as a fleet file makes it, with a job's worth of slots."""
    made = Fleet.model_validate(
        {
            "pools": {"p": {"base_url": url, "slots": slots, "key": "env:POOL_KEY"}},
            "models": {"m": {"name": "m", "pool": "p", "context_window": 8192}},
        }
    )
    store_fleet(database, made)
    ensure_slots(database, made.capacities() | wanted_slots(database, NOW))
    server = pool_server(database, "p")
    assert server == PoolServer("p", url, "env:POOL_KEY", slots)
    return server


def look(database: Database, server: PoolServer, found: ServerReport, at: int, machine: str = "box") -> bool:
    return report(database, server, machine, Moment(f"boot of {machine}", 100.0 + at), found, T[at])


def slots(database: Database) -> int:
    return live.slots_now(database)[POOL].total


def test_the_server_decides_how_many_slots_a_pool_has(database: Database) -> None:
    server = fleet(database)
    assert slots(database) == 1, "until somebody has looked"
    look(database, server, UP, 0)
    assert [str(change) for change in settle(database, T[0])] == ["resource=pool:p before=1 slots=2"]
    assert settle(database, T[0]) == []
    assert slots(database) == 2
    look(database, server, UP.model_copy(update={"slots": 1}), 1)
    settle(database, T[1])
    assert slots(database) == 1


def test_the_file_is_the_maximum_and_submitting_again_opens_nothing_that_is_closed(database: Database) -> None:
    server = fleet(database, 1)
    look(database, server, UP, 0)
    assert settle(database, T[0]) == []
    look(database, server, DOWN, 1)
    settle(database, T[1])
    assert slots(database) == 0
    fleet(database, 1)  # within the time for which the look is fresh
    assert slots(database) == 0


def test_a_pool_whose_server_dies_closes_with_the_reason_and_opens_when_it_is_back(database: Database) -> None:
    server = fleet(database)
    look(database, server, UP, 0)
    settle(database, T[0])
    first, second, third = add(database, [POOL] * 3)
    assert len(dispatch(database, T[0])) >= 2
    claimed = attempts.claim(database, first, hints(database)[0].order_token, WORKER, T[0])
    assert claimed is not None

    look(database, server, DOWN, 1)
    look(database, server, DOWN, 2)
    settle(database, T[2])
    assert [state(database, one) for one in (second, third)] == [JobState.READY] * 2, "hints came back"
    assert state(database, first) == JobState.RUNNING, "what runs is left alone"
    assert dispatch(database, T[2]) == []
    reason = "pool p: its server http://redbox:8080 does not answer since 2026-07-01 12:00:10 UTC"
    found = live.slots_now(database)
    assert waiting_reason(JobState.READY, "", (POOL,), found, {}) == reason
    assert found[POOL].busy == 1

    look(database, server, UP, 3)
    settle(database, T[3])
    assert slots(database) == 2
    assert live.slots_now(database)[POOL].note == ""
    assert [hint.job_id for hint in dispatch(database, T[3])][:1] == [second]


def test_a_look_that_comes_late_changes_nothing(database: Database) -> None:
    server = fleet(database)
    assert look(database, server, UP, 5)
    assert not look(database, server, DOWN, 4), "another worker of the machine has looked since"
    assert report(database, server, "box", Moment("next boot", 1.0), DOWN, T[6]), "its clock began anew"


def test_a_server_that_a_machine_cannot_reach_is_up_while_another_machine_can(database: Database) -> None:
    server = fleet(database)
    look(database, server, DOWN, 0, "far")
    look(database, server, UP, 0, "near")
    assert wanted_slots(database, T[0]) == {POOL: 2}


def test_each_machine_has_a_server_of_its_own_under_a_loopback_address(database: Database) -> None:
    server = fleet(database, url="http://127.0.0.1:8080")
    look(database, server, UP, 0, "one")
    look(database, server, UP, 0, "two")
    assert wanted_slots(database, T[0]) == {POOL: 4}
    look(database, server, DOWN, 1, "two")
    assert wanted_slots(database, T[1]) == {POOL: 2}


def test_what_was_seen_long_ago_or_at_another_address_says_nothing(database: Database) -> None:
    server = fleet(database, 3)
    look(database, server, DOWN, 0)
    assert wanted_slots(database, T[0]) == {POOL: 0}
    assert wanted_slots(database, T[0] + timedelta(minutes=5)) == {POOL: 3}, "its worker is gone"
    fleet(database, 3, "http://other:8080")
    assert wanted_slots(database, T[0]) == {POOL: 3}


def test_a_pool_that_no_fleet_file_has_named_is_left_alone(database: Database) -> None:
    add(database, [POOL], capacities={POOL: 4})
    assert settle(database, NOW) == []
    assert slots(database) == 4
    assert pool_server(database, "p") is None
    assert pools.all_pools(database) == []


@pytest.mark.parametrize(
    ("resource", "ended", "expected"), [(POOL, False, 1), (POOL, True, 0), ("account:a", False, 0)]
)
def test_attempts_on_a_pool_are_those_in_a_stage_with_one_of_its_models(
    database: Database, resource: str, ended: bool, expected: int
) -> None:
    (job,) = add(database, [POOL], capacities={POOL: 1})
    (hint,) = dispatch(database, NOW)
    claim = attempts.claim(database, job, hint.order_token, WORKER, NOW)
    assert claim is not None
    row = {"attempt_id": claim.attempt_id, "ordinal": 1, "stage": "build", "role": "build", "agent": "a"}
    row |= {"model_asked": "m", "resource": resource, "started_at": NOW, "context_window": 1, "prompt_bytes": 1}
    with database.write() as connection:
        connection.execute(sa.insert(stages).values(row | {"ended_at": NOW if ended else None}))
    assert len(attempts.attempts_on(database, WORKER, "pool:p")) == expected
