"""What a submit forgets: accounts and pools that are gone from the fleet file, and never what an open job may use."""

import pytest
import sqlalchemy as sa

from orchestrator.domain.fleet import Fleet
from orchestrator.storage import attempts, drains, forget, tables
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.machines import resources
from orchestrator.storage.submit import store_fleet
from tests.support.world import COMPLETE, INFRA, NOW, POOL, A, B, add, holders, start

URL = "http://localhost:1"


def fleet(*names: str) -> Fleet:
    """A fleet of these; A is always one of them."""
    window = {"name": "5h", "length": "5h", "requests": 9}
    return Fleet.model_validate(
        {
            "accounts": {name[8:]: {"base_url": URL, "windows": [window]} for name in names if name[0] == "a"},
            "pools": {name[5:]: {"base_url": URL, "slots": 2} for name in names if name[0] == "p"},
            "models": {"m": {"name": "m", "account": "a", "context_window": 100_000}},
        }
    )


def store(database: Database, *names: str) -> None:
    store_fleet(database, fleet(*names))
    ensure_slots(database, dict.fromkeys(names, 2))


def rows_about(database: Database, resource: str) -> int:
    """In every table that is not history."""
    kind, _, name = resource.partition(":")
    wanted = [(tables.leases.c.resource, resource), (tables.drains.c.scope, resource)]
    wanted += [(tables.breakers.c.scope, resource)]
    of_account = [tables.accounts.c.name, tables.windows.c.account, tables.quota_gates.c.account]
    wanted += [(column, name) for column in (of_account if kind == "account" else [tables.pools.c.name])]
    with database.read() as connection:
        counts = [
            connection.execute(sa.select(sa.func.count()).where(column == value)).scalar_one()
            for column, value in wanted
        ]
    return sum(counts)


@pytest.mark.parametrize("gone", [B, POOL])
def test_what_is_gone_and_not_needed_is_forgotten_and_history_stays(database: Database, gone: str) -> None:
    store(database, A, B, POOL)
    add(database, [gone])
    [one] = start(database)
    attempts.finish(database, one.attempt_id, COMPLETE, NOW)
    drains.drain(database, [gone], "lunch", NOW)
    left = fleet(*({A, B, POOL} - {gone}))
    assert rows_about(database, gone) > 3
    assert forget.unneeded(database, left) == [gone]
    assert forget.forget_unneeded(database, left) == [gone]
    assert forget.forget_unneeded(database, left) == []
    assert rows_about(database, gone) == 0
    assert set(resources(database)) == {A, B, POOL} - {gone}
    with database.read() as connection:
        assert list(connection.execute(sa.select(tables.attempts.c.id)).scalars()) == [one.attempt_id]
    store(database, A, B, POOL)
    assert set(resources(database)) == {A, B, POOL}, "it may come back"


def test_what_an_open_job_of_another_experiment_needs_stays(database: Database) -> None:
    store(database, A, B, POOL)
    add(database, [f"{B},{POOL}"], experiment="other", max_infra=9)
    assert forget.forget_unneeded(database, fleet(A)) == []
    [one] = start(database)
    assert forget.forget_unneeded(database, fleet(A)) == [], "while it runs"
    assert {resource for resource, _ in holders(database)} == {B, POOL}
    attempts.finish(database, one.attempt_id, INFRA, NOW)
    assert forget.forget_unneeded(database, fleet(A)) == [], "and while it waits for another try"
    [one] = start(database)
    attempts.finish(database, one.attempt_id, COMPLETE, NOW)
    assert forget.forget_unneeded(database, fleet(A)) == [B, POOL]


def test_what_a_later_stage_takes_stays(database: Database) -> None:
    """Held per stage, it is not among the needs of the job."""
    store(database, A, B, POOL)
    add(database, [A])
    models = {"reasoning": {"resource": A}, "build": {"resource": POOL}}
    with database.write() as connection:
        spec = connection.execute(sa.select(tables.cells.c.spec)).scalar_one()
        connection.execute(tables.cells.update().values(spec=spec | {"models": models}))
    assert forget.forget_unneeded(database, fleet(A)) == [B]
