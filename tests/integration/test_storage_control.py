"""Cancel, pause, resume, requeue, park and wake: what people and clocks do to jobs in every state."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from orchestrator.analysis.variants import labels
from orchestrator.domain.errors import InvalidInput, StaleAttempt
from orchestrator.domain.limits import Limits
from orchestrator.domain.order import Turn
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts, breakers, control, dispatch
from orchestrator.storage import machines as machine_registry
from orchestrator.storage.attempts import AttemptResult, NoFreeSlot
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.history import turns
from orchestrator.storage.retune import retune
from orchestrator.storage.tables import attempts as attempt_table
from orchestrator.storage.tables import jobs, machines
from tests.support.databases import PostgresDatabases
from tests.support.waiting import until
from tests.support.world import (
    COMPLETE,
    INFRA,
    LATER,
    NOW,
    POOL,
    WORKER,
    A,
    B,
    add,
    claim,
    holders,
    job,
    order,
    parked,
    start,
    state,
)

EVERYTHING = Selection(experiment="demo")
SECOND = timedelta(seconds=1)


def test_cancel_in_every_state(database: Database) -> None:
    """Waiting jobs end at once, the running one is asked, the final ones stay as they are."""
    needs = [A, A, POOL, POOL, POOL, A]
    ready, paused, queued, running, done, parked_one = add(database, needs, capacities={A: 1, POOL: 3})
    tokens = order(database)
    attempts.withdraw(database, ready, tokens[ready])
    control.pause(database, Selection(job_ids=[ready, paused]), "wait")
    first = start(database)
    assert [c.job_id for c in first] == [parked_one]
    attempts.finish(database, first[0].attempt_id, parked(LATER), NOW)
    control.resume(database, Selection(job_ids=[ready]), NOW)
    live = claim(database, running, tokens[running])
    ended = claim(database, done, tokens[done])
    attempts.finish(database, ended.attempt_id, COMPLETE, NOW)
    states = {one: state(database, one) for one in (ready, paused, queued, running, done, parked_one)}
    assert list(states.values()) == ["ready", "paused", "queued", "running", "done", "parked"]

    assert control.cancel(database, EVERYTHING, "enough", LATER) == (4, 1)
    assert control.cancel(database, EVERYTHING, "enough", LATER) == (0, 1), "asking again changes nothing"
    for one in (ready, paused, queued, parked_one):
        row = job(database, one)
        assert (row["state"], row["outcome"], row["detail"], row["finished_at"]) == (
            "cancelled",
            "cancelled",
            "enough",
            LATER,
        )
        assert (row["order_token"], row["wake_at"], row["waiting_reason"]) == (None, None, None)
    assert state(database, done) == "done"
    assert attempts.claim(database, queued, tokens[queued], WORKER, NOW) is None
    assert set(attempts.orders_among(database, [live.attempt_id])) == {live.attempt_id}
    cancelled = replace(COMPLETE, outcome=Outcome.CANCELLED, detail="enough")
    assert attempts.finish(database, live.attempt_id, cancelled, LATER) == "cancelled"
    assert order(database, LATER) == {}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.COMPLETE, "done"),
        (Outcome.INFRA_ERROR, "cancelled"),
        (Outcome.QUOTA_PARKED, "cancelled"),
        (Outcome.INTERRUPTED, "cancelled"),
        (Outcome.PAUSED, "cancelled"),
        (Outcome.WALL_TIMEOUT, "failed"),
    ],
)
def test_a_job_that_shall_be_cancelled_does_not_come_back(
    database: Database, outcome: Outcome, expected: str
) -> None:
    add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.cancel(database, EVERYTHING, "enough", NOW)
    result = replace(COMPLETE, outcome=outcome, detail="end", wake_at=LATER)
    assert attempts.finish(database, claimed.attempt_id, result, NOW) == expected
    assert order(database, LATER) == {}


def test_a_cancelled_job_gets_another_try_on_request(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.cancel(database, EVERYTHING, "enough", NOW)
    attempts.finish(database, claimed.attempt_id, INFRA, NOW)
    assert control.requeue(database, EVERYTHING) == 1
    assert control.requeue(database, EVERYTHING) == 0
    [again] = start(database)
    assert again.job_id == one
    assert set(attempts.orders_among(database, [again.attempt_id])) == set()
    assert attempts.finish(database, again.attempt_id, INFRA, NOW) == "ready", "its bound begins anew"


def test_pause_holds_back_and_resume_lets_go(database: Database) -> None:
    one, two = add(database, [A, A], capacities={A: 2})
    tokens = order(database)
    live = claim(database, one, tokens[one])
    assert control.hold(database, EVERYTHING, "lunch") == 1
    assert (state(database, one), state(database, two)) == ("running", "paused")
    assert job(database, two)["waiting_reason"] == "lunch"
    assert attempts.claim(database, two, tokens[two], WORKER, NOW) is None
    assert order(database) == {}
    assert control.resume(database, EVERYTHING, NOW) == 1
    assert job(database, two)["waiting_reason"] is None
    assert set(order(database)) == {two}
    attempts.finish(database, live.attempt_id, COMPLETE, NOW)


def test_a_selection_means_all_of_its_conditions(database: Database) -> None:
    mine = add(database, [A] * 6, capacities={A: 1})
    other = add(database, [A], experiment="other")
    assert control.hold(database, Selection(experiment="demo", profile="profile-1"), "x") == 2
    assert control.hold(database, Selection(experiment="demo", target="t", job_ids=[mine[0], *other]), "x") == 1
    assert control.hold(database, Selection(experiment="nothing"), "x") == 0
    assert control.hold(database, Selection(target="nothing"), "x") == 0
    assert control.resume(database, Selection(), NOW) == 3


def test_parked_until_the_reset_and_then_awake(database: Database) -> None:
    one, two = add(database, [A, A], capacities={A: 1, B: 1})
    [claimed] = start(database)
    assert attempts.finish(database, claimed.attempt_id, parked(LATER), NOW) == "parked"
    row = job(database, one)
    assert (row["wake_at"], row["waiting_reason"]) == (LATER, "quota_parked: usage_limit")
    [three] = add(database, [B], after=2)
    assert set(order(database)) == {three}, "another account goes on"
    assert dispatch.wake_parked(database, LATER - SECOND) == 0
    assert order(database, LATER - SECOND) == {}
    assert breakers.wake(database, LATER) == 1
    assert dispatch.wake_parked(database, LATER) == 1
    assert dispatch.wake_parked(database, LATER) == 0
    row = job(database, one)
    assert (row["state"], row["wake_at"], row["waiting_reason"]) == ("ready", None, None)
    assert list(order(database, LATER)) == [one]
    assert state(database, two) == "ready"


def test_times_come_back_as_they_were_given_in_utc(database: Database) -> None:
    moment = datetime(2026, 7, 1, 23, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-7)))
    machine_registry.announce(database, WORKER, "w", {}, moment)
    with database.read() as connection:
        [found] = connection.execute(sa.select(machines.c.seen_at)).scalars()
        assert found == moment
        assert found.tzinfo is UTC
        late = sa.select(machines.c.worker).where(machines.c.seen_at > moment.astimezone(UTC) - SECOND)
        assert list(connection.execute(late).scalars()) == ["w"]


def test_a_person_who_speaks_for_an_account_wakes_what_is_parked_there(database: Database) -> None:
    """And the time for which it was parked ends then, in the report and for the machine that keeps its tree."""
    [mine, hybrid, theirs] = add(database, [A, f"{A},{POOL}", B], capacities={A: 2, B: 1, POOL: 1})
    for one in start(database):
        attempts.finish(database, one.attempt_id, parked(LATER, "b" if one.job_id == theirs else "a"), NOW)
    soon = NOW + timedelta(minutes=5)
    assert control.resume(database, Selection(resources=[A]), soon) == 0
    assert control.resume(database, Selection(resources=[A]), soon, parked=True) == 2
    assert [state(database, job_id) for job_id in (mine, hybrid, theirs)] == ["ready", "ready", "parked"]
    rows = load_evidence(database, "demo", LATER).jobs
    assert [row.parked_seconds for row in rows] == [300, 300, (LATER - NOW).total_seconds()]
    breakers.reset(database, [A], soon)
    assert set(order(database, soon)) == {mine, hybrid}


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a time zone"), database.write() as connection:
        connection.execute(machines.update().values(seen_at=datetime(2026, 7, 1)))  # noqa: DTZ001


INTERRUPTED = AttemptResult(outcome=Outcome.INTERRUPTED, detail="stopped")


def test_cancel_misses_no_job_while_jobs_move_from_state_to_state(database: Database) -> None:
    """Workers and a dispatcher move jobs on while a person cancels everything: nothing slips through."""
    add(database, [POOL] * 30, capacities={POOL: 4})
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for one, token in order(database).items():
                try:
                    claimed = attempts.claim(database, one, token, WORKER, NOW)
                except NoFreeSlot:
                    attempts.withdraw(database, one, token)
                    continue
                if claimed:
                    attempts.finish(database, claimed.attempt_id, INTERRUPTED, NOW)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work) for _ in range(3)]
        control.cancel(database, EVERYTHING, "enough", NOW)
        with database.read() as connection:
            waiting = sa.select(jobs.c.id).where(jobs.c.state != "cancelled", ~jobs.c.cancel_requested)
            escaped = list(connection.execute(waiting).scalars())
        stop.set()
        for future in futures:
            future.result(timeout=60)
    assert escaped == []
    assert holders(database) == {}


def test_changes_of_many_rows_in_opposite_orders_do_not_deadlock(database: Database) -> None:
    mine = add(database, [POOL] * 200, capacities={POOL: 100})
    barrier = threading.Barrier(4)

    def turn(act: int) -> None:
        barrier.wait()
        for _ in range(6):
            if act == 0:
                order(database)
            elif act == 1:
                control.pause(database, Selection(job_ids=mine[::-1]), "x")
            elif act == 2:
                control.resume(database, Selection(experiment="demo"), NOW)
            else:
                dispatch.ensure_slots(database, {POOL: 100, A: 2})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(turn, range(4)))


def _pause(database: Database) -> object:
    return control.pause(database, EVERYTHING, "x")


def _renew(database: Database) -> object:
    return attempts.renew(database, [beat.attempt_id for beat in attempts.live_beats(database)])


@pytest.mark.parametrize("many", [_pause, _renew])
def test_many_rows_are_locked_in_the_order_of_their_jobs(
    postgres_databases: PostgresDatabases, many: Callable[[Database], object]
) -> None:
    """While it waits for the first row it must not hold the second: so two of them would block each other."""
    with postgres_databases.fresh() as database:
        one, two = add(database, [POOL] * 2, capacities={POOL: 2})
        if many is _renew:
            start(database)
        table, key = (attempt_table, attempt_table.c.job_id) if many is _renew else (jobs, jobs.c.id)
        # A new version of the first row goes behind the second one, and a plain scan meets them so.
        for plan in ("indexscan", "bitmapscan", "nestloop", "mergejoin"):
            postgres_databases.server.execute(f"ALTER DATABASE {database.url.database} SET enable_{plan} = off")
        database.close()
        with database.write() as connection:
            connection.execute(sa.update(table).where(key == one).values(fence=1))
        with ThreadPoolExecutor(1) as pool, database.write() as connection:
            connection.execute(sa.select(key).where(key == one).with_for_update())
            waiting = pool.submit(many, database)
            until(lambda: _blocked(database), "the change of many rows to wait")
            connection.execute(sa.select(key).where(key == two).with_for_update(nowait=True))
            connection.commit()
            waiting.result(timeout=60)


def _blocked(database: Database) -> int:
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = :name")
    with database.read() as connection:
        return int(connection.execute(query, {"name": database.url.database}).scalar_one())


def test_an_expired_attempt_hears_of_it(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    [beat] = attempts.live_beats(database)
    attempts.expire(database, beat, "silent", NOW)
    control.cancel(database, Selection(job_ids=[one]), "enough", NOW)
    assert set(attempts.orders_among(database, [claimed.attempt_id])) == {claimed.attempt_id}
    with pytest.raises(StaleAttempt):
        attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)
    assert state(database, one) == "cancelled"


# -- priority --


def started(database: Database, count: int) -> list[int]:
    """Let so many jobs run on one slot, one after the other."""
    done = []
    for _ in range(count):
        [claimed] = start(database)
        attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)
        done.append(claimed.job_id)
    return done


def test_a_higher_priority_goes_first_whatever_the_positions_say(database: Database) -> None:
    usual = add(database, [A] * 2, capacities={A: 1})
    low = add(database, [A], experiment="low", priority=-1)
    high = add(database, [A] * 2, experiment="high", after=100, priority=5)
    assert started(database, 5) == [*high, *usual, *low]


def test_jobs_that_change_their_priority_take_turns_with_those_that_are_there(database: Database) -> None:
    usual = add(database, [A] * 4, capacities={A: 1})
    other = add(database, [A] * 4, experiment="other", after=1000, priority=3)
    assert started(database, 1) == [other[0]]
    assert control.prioritize(database, Selection(experiment="other"), 0) == 3
    assert started(database, 4) == [usual[0], other[1], usual[1], other[2]]
    assert control.prioritize(database, Selection(experiment="other"), 0) == 0, "idempotent"
    assert control.prioritize(database, Selection(job_ids=[usual[3]]), 1) == 1
    assert started(database, 3) == [usual[3], usual[2], other[3]]
    assert job(database, other[0])["priority"] == 3, "what has ended is left alone"


def test_only_jobs_of_its_priority_tell_a_new_experiment_its_place(database: Database) -> None:
    add(database, [A] * 3, after=50, capacities={A: 1})
    assert turns(database) == {(A,): Turn(51, 53)}
    assert turns(database, 7) == {}


# -- limits --


def test_waiting_and_running_jobs_get_other_limits_and_ended_ones_do_not(database: Database) -> None:
    ended, running, waiting = add(database, [A] * 3, capacities={A: 1})
    [first] = start(database)
    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    [second] = start(database)
    assert second.retuned is None
    assert retune(database, Selection(), {"wall_timeout": 10800.0, "max_tokens": None}) == (1, 1)
    assert attempts.retuned_among(database, [first.attempt_id, second.attempt_id]) == {
        second.attempt_id: {"wall_timeout": 10800.0, "max_tokens": None}
    }
    assert job(database, ended)["retuned"] is None
    assert job(database, waiting)["retuned"] == {"wall_timeout": 10800.0}, "unlimited already"
    assert retune(database, Selection(job_ids=[running]), {"idle_timeout": 5.0}) == (0, 1)
    assert job(database, running)["retuned"] == {"wall_timeout": 10800.0, "max_tokens": None, "idle_timeout": 5.0}
    attempts.finish(database, second.attempt_id, COMPLETE, NOW)
    [third] = start(database)
    assert third.retuned == {"wall_timeout": 10800.0}


def test_a_job_that_was_never_tried_gets_its_own_limits_back(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    retune(database, Selection(), {"wall_timeout": 10.0})
    assert job(database, one)["retuned"] == {"wall_timeout": 10.0}
    retune(database, Selection(), {"wall_timeout": Limits().wall_timeout})
    assert job(database, one)["retuned"] is None
    [claimed] = start(database)
    retune(database, Selection(), {"wall_timeout": 10.0})
    attempts.finish(database, claimed.attempt_id, INFRA, NOW)
    retune(database, Selection(), {"wall_timeout": Limits().wall_timeout})
    assert job(database, one)["retuned"] == {"wall_timeout": Limits().wall_timeout}, "it ran under others"


def test_limits_that_do_not_fit_each_other_change_nothing(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    with pytest.raises(InvalidInput, match=r"context_compact_percent \(97\) is not less than context_kill_percent"):
        retune(database, Selection(), {"context_compact_percent": 97.0})
    assert job(database, one)["retuned"] is None


def test_a_retuned_job_is_a_variant_of_its_own(database: Database) -> None:
    one, _ = add(database, [A] * 2, capacities={A: 1})
    retune(database, Selection(job_ids=[one]), {"wall_timeout": 10800.0})
    rows = load_evidence(database, "demo", NOW).jobs
    alike = [replace(row, profile="p", profile_hash="h") for row in rows]
    assert sorted(labels(alike).values()) == ["p", "p [retuned wall_timeout=3h]"]
