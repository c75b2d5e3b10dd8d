"""Submit and dispatch: what is stored once stays, what starts next, and what a pass costs when much waits."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.preflight import Answer, TargetAnswer
from orchestrator.files import load_experiment
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.scheduling.submit import Plan, make_plan, submit
from orchestrator.storage import attempts
from orchestrator.storage import dispatch as store
from orchestrator.storage.engine import Database
from orchestrator.storage.submit import existing_jobs
from orchestrator.storage.tables import jobs, leases
from tests.support.world import (
    COMPLETE,
    LATER,
    NOW,
    POOL,
    A,
    B,
    add,
    claim,
    job,
    order,
    parked,
    start,
    state,
)

FLEET = """
[accounts.a]
base_url = "http://localhost:1"
[models.m]
name = "m"
account = "a"
context_window = 1000
"""


def planned(folder: Path, database: Database, *, targets: int, repeats: int = 1, seed: int = 2**63 - 1) -> Plan:
    """A plan of `targets` x 2 profiles x repeats, with a preflight that found everything."""
    (folder / "fleet.toml").write_text(FLEET)
    lines = "\n".join(f"  - {{repo: /r{i}, name: t{i}, prompt: p}}" for i in range(targets))
    text = (
        f"experiment: e\nagent: reference\nseed: {seed}\nrepeats: {repeats}\ntargets:\n{lines}\n"
        "profiles:\n  x: m\n  y: {model: m, env: {Y: '1'}}\n"
    )
    (folder / "e.yaml").write_text(text)
    loaded = load_experiment(folder / "e.yaml")
    pinned = {f"t{i}": TargetAnswer(sha=f"{i:040d}", task_text="p") for i in range(targets)}
    answer = Answer(targets=pinned, agents={}, problems=(), prompts_hash="h")
    return make_plan(loaded, answer, existing_jobs(database, "e"))


def positions(database: Database) -> dict[tuple[str, int], int]:
    return {(row.cell_hash, row.repeat): row.position for row in existing_jobs(database, "e")}


def test_submitting_again_adds_only_what_is_new(database: Database, tmp_path: Path) -> None:
    assert submit(planned(tmp_path, database, targets=2), database, NOW).added == 4
    first = positions(database)
    assert sorted(first.values()) == [1, 2, 3, 4]
    assert submit(planned(tmp_path, database, targets=2), database, NOW).added == 0
    assert submit(planned(tmp_path, database, targets=3, repeats=2), database, NOW).added == 8
    second = positions(database)
    assert {key: second[key] for key in first} == first
    assert sorted(second.values()) == list(range(1, 13))
    plan = planned(tmp_path, database, targets=1)
    assert (len(plan.new), plan.stale) == (0, 10)
    assert submit(plan, database, NOW).added == 0


def test_submitting_at_once_adds_every_job_once(database: Database, tmp_path: Path) -> None:
    plan = planned(tmp_path, database, targets=3, repeats=2)
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: submit(plan, database, NOW).added, range(4)))
    assert sorted(added) == [0, 0, 0, 12]
    assert len(positions(database)) == 12


def test_jobs_start_in_order_as_slots_allow(database: Database) -> None:
    mine = add(database, [A, B, A, B, A], capacities={A: 1, B: 2})
    assert list(order(database)) == [mine[0], mine[1], mine[3]]
    assert order(database) == {}, "an account is never hinted ahead"


def test_a_pool_is_hinted_ahead_by_its_slots_once(database: Database) -> None:
    mine = add(database, [POOL] * 9, capacities={POOL: 2})
    assert list(order(database)) == mine[:4]
    assert order(database) == {}
    [first, *_] = [claim(database, hint.job_id, hint.order_token) for hint in _hints(database)[:2]]
    assert order(database) == {}
    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    assert list(order(database)) == [mine[4]]


def _hints(database: Database) -> list[store.Hint]:
    with database.read() as connection:
        return store.open_hints(connection)


def test_a_job_whose_resource_nobody_set_up_waits(database: Database) -> None:
    one, two = add(database, ["pool:unknown", A], capacities={A: 1})
    assert list(order(database)) == [two]
    store.ensure_slots(database, {"pool:unknown": 1})
    assert list(order(database)) == [one]


def test_a_pair_is_not_starved_by_plain_jobs(database: Database) -> None:
    """Jobs of one account end at other times than those of the other; the pair still comes to its turn."""
    pair, *_ = add(database, [f"{A},{B}", *[A, B] * 20], capacities={A: 1, B: 1})
    store.ensure_slots(database, {A: 1, B: 1})
    [blocker] = [c for c in start(database) if c.job_id == pair]
    attempts.finish(database, blocker.attempt_id, INTERRUPTED, NOW)
    with database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == pair).values(state="paused"))
    live = start(database)
    with database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == pair).values(state="ready"))
    for turn in range(12):
        live.sort(key=lambda c: c.job_id)
        ended = live.pop(turn % len(live))
        attempts.finish(database, ended.attempt_id, COMPLETE, NOW)
        live += start(database)
        if any(c.job_id == pair for c in live):
            return
    pytest.fail("the pair never started")


INTERRUPTED = attempts.AttemptResult(outcome=Outcome.INTERRUPTED, detail="")


def test_nothing_is_kept_for_a_pair_whose_account_is_parked(database: Database) -> None:
    """It cannot start for hours: the other account must not wait with it."""
    blocker, pair, *_ = add(database, [A, f"{A},{B}", *[B] * 8], capacities={A: 1, B: 1})
    live = start(database)
    [first] = [c for c in live if c.job_id == blocker]
    attempts.finish(database, first.attempt_id, parked(LATER), NOW)
    done = [c for c in live if c.job_id != blocker]
    for _ in range(7):
        for claimed in done:
            attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)
        done = start(database)
        assert done, f"nothing started although {B} is free"
    assert job(database, pair)["passed_over"] == 1, "only while the account was open"
    assert state(database, pair) == "ready"


def test_the_classes_of_ready_jobs(database: Database) -> None:
    assert _classes(database) == []
    mine = add(database, [B, A, f"{A},{POOL}", A, "pool:ü", "pool:Z", "account:b-2"])
    expected = {A, f"{A},{POOL}", B, "account:b-2", "pool:Z", "pool:ü"}
    classes = _classes(database)
    assert set(classes) == expected
    assert len(classes) == len(expected)
    with database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == mine[0]).values(state="paused"))
    assert set(_classes(database)) == expected - {B}


def _classes(database: Database) -> list[str]:
    with database.read() as connection:
        return store.ready_classes(connection)


def test_labels_name_jobs_for_people_also_very_many(database: Database) -> None:
    mine = add(database, [POOL] * 3, capacities={POOL: 3})
    [claimed] = [claim(database, one, token) for one, token in order(database).items() if one == mine[0]]
    with database.read() as connection:
        found = store.labels(connection, [*mine, *range(100_000, 180_000)])
    assert str(found[mine[1]]) == "demo t/demo-1 #1"
    assert (found[mine[0]].number, found[mine[1]].number, len(found)) == (2, 1, 3)
    assert claimed.number == 1


def _pad(database: Database, count: int) -> None:
    """`count` waiting jobs more, copied inside the database."""
    with database.write() as connection:
        columns = [c for c in jobs.c if c.name not in ("id", "repeat", "position")]
        source = sa.select(jobs.c.id + 10, jobs.c.position, *columns).where(jobs.c.state == "ready").limit(1)
        one = connection.execute(source).one()
        rows = [
            dict(zip([c.name for c in columns], one[2:], strict=True)) | {"repeat": n + 2, "position": n + 1000}
            for n in range(count)
        ]
        connection.execute(jobs.insert(), rows)


@pytest.mark.parametrize("analysed", [True, False])
def test_queries_of_every_pass_use_an_index(database: Database, analysed: bool) -> None:
    """The plans, so that a change that makes a pass read every job is seen even on a fast machine."""
    add(database, [A] * 3, capacities={A: 1})
    start(database)
    _pad(database, 5_000)
    if analysed:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    seen: list[tuple[str, tuple[str, ...]]] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def _note(_c: object, _cursor: object, statement: str, parameters: tuple[str, ...], _x: object, _m: bool) -> None:
        seen.append((statement, parameters))

    dispatch(database, NOW)
    store.wake_parked(database, NOW)
    attempts.live_beats(database)
    attempts.orders_among(database, ["0" * 32])
    sa.event.remove(database.engine, "before_cursor_execute", _note)
    explain = "EXPLAIN QUERY PLAN " if database.sqlite else "EXPLAIN "
    with database.engine.connect() as connection:
        if not database.sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, parameters in [one for one in seen if one[0].startswith(("SELECT", "WITH"))]:
            rows = connection.exec_driver_sql(explain + statement, parameters).all()
            plan = "\n".join(str(row) for row in rows)
            for bad in ("SCAN jobs'", "Seq Scan on jobs", "SCAN attempts'", "Seq Scan on attempts"):
                assert bad not in plan, f"{statement}\n{plan}"


def test_growing_and_shrinking_leaves_the_right_number_of_slots(database: Database) -> None:
    for capacity in (3, 1, 5, 5, 2, 4):
        store.ensure_slots(database, {POOL: capacity})
        with database.read() as connection:
            slots = store.slots(connection)[POOL]
            rows = connection.execute(sa.select(sa.func.count()).select_from(leases)).scalar()
        assert slots == store.Slots(capacity, 0, 0)
        assert rows is not None
        assert rows <= 5
