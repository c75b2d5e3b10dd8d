"""Claim, fence, renew, expire, finish: who owns a job, on both databases, also when many ask at once."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.lease import Beat
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts, breakers, control, tables
from orchestrator.storage.attempts import ArtifactRecord, AttemptResult, CheckRecord, Claim, Hinted, NoFreeSlot
from orchestrator.storage.control import Selection
from orchestrator.storage.dispatch import ensure_slots, queue_jobs
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import artifacts, checks
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
    attempt,
    claim,
    holders,
    job,
    order,
    parked,
    start,
    state,
)


def test_a_job_from_order_to_result(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    claimed = claim(database, one, order(database)[one])
    assert (claimed.job_id, claimed.fence, claimed.number, claimed.resources) == (one, 1, 1, (A,))
    assert state(database, one) == "running"
    assert holders(database) == {(A, 0): claimed.attempt_id}
    for event in ("prepare", "work"):
        attempts.advance(database, claimed.attempt_id, event)
    assert attempts.finish(database, claimed.attempt_id, COMPLETE, LATER) == "done"
    row = job(database, one)
    assert (row["state"], row["outcome"], row["attempt_id"], row["finished_at"]) == ("done", "complete", None, LATER)
    ended = attempt(database, claimed.attempt_id)
    assert (ended["state"], ended["outcome"], ended["ended_at"]) == ("ended", "complete", LATER)
    assert holders(database) == {}


def test_a_claim_needs_the_token_of_the_last_order(database: Database) -> None:
    [one] = add(database, [POOL], capacities={POOL: 3})
    token = order(database)[one]
    assert attempts.claim(database, one, "0" * 16, WORKER, NOW) is None
    assert attempts.claim(database, one + 1, token, WORKER, NOW) is None
    assert claim(database, one, token).fence == 1
    assert attempts.claim(database, one, token, WORKER, NOW) is None, "the same hint, delivered twice"
    assert len(holders(database)) == 1


def test_a_hint_of_an_earlier_order_is_stale(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    old = order(database)[one]
    attempts.withdraw(database, one, old)
    new = order(database)[one]
    assert old != new
    assert attempts.claim(database, one, old, WORKER, NOW) is None
    attempts.withdraw(database, one, old)
    assert state(database, one) == "queued", "a stale hint withdraws nothing"
    claim(database, one, new)


def test_a_claim_without_a_free_slot_changes_nothing(database: Database) -> None:
    one, two = add(database, [A, A], capacities={A: 1})
    with database.write() as connection:
        queue_jobs(connection, [one, two], [], "token")
    claim(database, one, "token")
    with pytest.raises(NoFreeSlot, match=A):
        attempts.claim(database, two, "token", WORKER, NOW)
    row = job(database, two)
    assert (row["state"], row["order_token"], row["fence"], row["attempts"]) == ("queued", "token", 0, 0)
    attempts.withdraw(database, two, "token")
    assert state(database, two) == "ready"


def test_both_slots_of_a_hybrid_or_none(database: Database) -> None:
    both = f"{A},{POOL}"
    one, two = add(database, [both, both], capacities={A: 2, POOL: 1})
    with database.write() as connection:
        queue_jobs(connection, [one, two], [], "token")
    first = claim(database, one, "token")
    with pytest.raises(NoFreeSlot, match=POOL):
        attempts.claim(database, two, "token", WORKER, NOW)
    assert set(holders(database).values()) == {first.attempt_id}
    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    second = claim(database, two, "token")
    assert holders(database) == {(A, 0): second.attempt_id, (POOL, 0): second.attempt_id}


def test_the_database_itself_refuses_a_second_live_attempt(database: Database) -> None:
    [one] = add(database, [POOL], capacities={POOL: 2})
    [claimed] = start(database)
    row = dict(attempt(database, claimed.attempt_id)) | {"id": "f" * 32, "number": 2, "fence": 2}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(tables.attempts.insert().values(row))
    assert state(database, one) == "running"


def stale_writes(database: Database) -> list[tuple[str, Callable[[Claim], object]]]:
    return [
        ("finish", lambda c: attempts.finish(database, c.attempt_id, COMPLETE, NOW)),
        ("advance", lambda c: attempts.advance(database, c.attempt_id, "prepare")),
        ("take", lambda c: attempts.take(database, c.attempt_id, POOL, NOW)),
    ]


def test_every_write_of_a_stale_attempt_is_refused(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1, POOL: 1})
    [old] = start(database)
    assert attempts.expire(database, Beat(old.attempt_id, 0), "silent", NOW)
    [new] = start(database)
    before = (dict(job(database, one)), dict(attempt(database, old.attempt_id)), holders(database))
    rich = replace(
        COMPLETE,
        checks=(check("c"),),
        artifacts=(ArtifactRecord(name="n", kind="patch", sha256="0" * 64, size_bytes=1),),
        resource=A,
        wake_at=LATER,
    )
    for name, write in [
        *stale_writes(database),
        ("rich finish", lambda c: attempts.finish(database, c.attempt_id, rich, NOW)),
    ]:
        with pytest.raises(StaleAttempt):
            pytest.fail(f"{name} was accepted: {write(old)}")
    assert attempts.renew(database, [old.attempt_id, new.attempt_id]) == {new.attempt_id}
    assert set(attempts.orders_among(database, [old.attempt_id, new.attempt_id])) == {old.attempt_id}
    assert not attempts.expire(database, Beat(old.attempt_id, 0), "again", NOW)
    assert (dict(job(database, one)), dict(attempt(database, old.attempt_id)), holders(database)) == before
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(checks)).scalar() == 0
        assert connection.execute(sa.select(sa.func.count()).select_from(artifacts)).scalar() == 0
    assert (new.fence, new.number) == (2, 2)


def check(name: str) -> CheckRecord:
    return CheckRecord(
        kind="final", name=name, status=CheckStatus.PASS, exit_code=0, seconds=1.0, reason=None, log_sha256=None
    )


def test_an_ended_attempt_cannot_end_twice(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    assert attempts.finish(database, claimed.attempt_id, replace(COMPLETE, checks=(check("c"),)), NOW) == "done"
    for name, write in stale_writes(database):
        with pytest.raises(StaleAttempt):
            pytest.fail(f"{name} was accepted: {write(claimed)}")
    assert state(database, one) == "done"


def test_a_lease_expires_only_with_the_heartbeat_that_was_seen(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    [seen] = attempts.live_beats(database)
    assert attempts.renew(database, [claimed.attempt_id]) == {claimed.attempt_id}
    assert not attempts.expire(database, seen, "silent", NOW)
    assert state(database, one) == "running"
    [seen] = attempts.live_beats(database)
    assert attempts.expire(database, seen, "silent", NOW)
    assert state(database, one) == "ready"
    assert attempts.live_beats(database) == []


def test_what_an_attempt_built_on_is_on_record_however_it_ends(database: Database) -> None:
    """Also when the database was away as it went to work, and when a scheduler ends it who knows nothing of it."""
    add(database, [POOL, POOL], capacities={POOL: 2})
    told_late, expired = start(database)
    said = replace(COMPLETE, resumed_from="e" * 32, resumed_stages=2)
    attempts.finish(database, told_late.attempt_id, said, NOW)
    attempts.advance(database, expired.attempt_id, "prepare")
    attempts.advance(database, expired.attempt_id, "work", resumed_from="f" * 32, resumed_stages=1)
    [seen] = attempts.live_beats(database)
    assert attempts.expire(database, seen, "silent", NOW)
    columns = sa.select(tables.attempts.c.resumed_from, tables.attempts.c.resumed_stages)
    with database.read() as connection:
        found = connection.execute(columns.order_by(tables.attempts.c.job_id)).all()
    assert [tuple(row) for row in found] == [("e" * 32, 2), ("f" * 32, 1)]


def test_infrastructure_gets_a_bounded_number_of_tries(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1}, max_infra=3)
    for expected in ("ready", "ready", "failed"):
        [claimed] = start(database)
        assert attempts.finish(database, claimed.attempt_id, INFRA, NOW) == expected
    assert order(database) == {}
    row = job(database, one)
    assert (row["infra_attempts"], row["outcome"], row["detail"]) == (3, "infra_error", INFRA.detail)
    assert control.requeue(database, Selection(job_ids=[one])) == 1
    row = job(database, one)
    assert (row["state"], row["infra_attempts"], row["outcome"], row["finished_at"]) == ("ready", 0, None, None)
    [claimed] = start(database)
    assert (claimed.number, claimed.fence) == (4, 4)
    assert attempts.finish(database, claimed.attempt_id, COMPLETE, NOW) == "done"


def test_an_interruption_counts_against_nobody(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1}, max_infra=1)
    for _ in range(3):
        [claimed] = start(database)
        result = replace(COMPLETE, outcome=Outcome.INTERRUPTED, detail="stopped")
        assert attempts.finish(database, claimed.attempt_id, result, NOW) == "ready"
    assert job(database, one)["infra_attempts"] == 0


def test_what_agents_write_is_stored_whatever_bytes_it_has(database: Database) -> None:
    """A NUL or half a surrogate in an agent's answer must not cost the result."""
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    text = "a\x00b\ud800c"
    result = replace(COMPLETE, detail=text, final_text=text, checks=(replace(check("c"), reason=text),))
    assert attempts.finish(database, claimed.attempt_id, result, NOW) == "done"
    assert job(database, one)["detail"] == "a�b�c"
    assert attempt(database, claimed.attempt_id)["final_text"] == "a�b�c"


def test_a_limit_without_a_known_reset_is_tried_again(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    result = AttemptResult(outcome=Outcome.QUOTA_PARKED, detail="limit", resource=A)
    assert attempts.finish(database, claimed.attempt_id, result, NOW) == "parked"
    assert NOW < job(database, one)["wake_at"] < LATER
    assert order(database) == {}


def race(count: int, act: Callable[[int], object]) -> list[object]:
    """The same moment for every thread; exceptions come back as results."""
    barrier = threading.Barrier(count)

    def run(index: int) -> object:
        barrier.wait()
        try:
            return act(index)
        except NoFreeSlot as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_many_workers_ask_for_one_job(database: Database) -> None:
    [one] = add(database, [POOL], capacities={POOL: 12})
    for number in range(1, 6):
        token = order(database)[one]
        got = [c for c in race(12, lambda _: attempts.claim(database, one, token, WORKER, NOW)) if c]  # noqa: B023
        assert len(got) == 1
        assert isinstance(got[0], Claim)
        assert got[0].fence == number
        assert len(holders(database)) == 1
        attempts.finish(
            database, got[0].attempt_id, replace(COMPLETE, outcome=Outcome.INTERRUPTED, detail="again"), NOW
        )


def test_many_workers_ask_for_the_last_slots(database: Database) -> None:
    mine = add(database, [POOL] * 12, capacities={POOL: 3})
    with database.write() as connection:
        queue_jobs(connection, mine, [], "token")
    while mine:
        results = race(len(mine), lambda i: attempts.claim(database, mine[i], "token", WORKER, NOW))  # noqa: B023
        got = [c for c in results if isinstance(c, Claim)]
        assert 1 <= len(got) <= 3
        assert sorted(holders(database).values()) == sorted(c.attempt_id for c in got)
        for c in got:
            attempts.finish(database, c.attempt_id, COMPLETE, NOW)
        mine = [one for one in mine if state(database, one) == "queued"]
    assert holders(database) == {}


def test_hybrids_and_plain_jobs_fight_over_slots(database: Database) -> None:
    """Claims, ends and renewals of pairs in every order: all or nothing, and no deadlock."""
    capacities = {A: 2, B: 2, POOL: 3}
    needs = [f"{A},{POOL}", f"{B},{POOL}", f"{A},{B}", A, POOL, B]
    mine = add(database, needs * 4, capacities=capacities)
    with database.write() as connection:
        queue_jobs(connection, mine, [], "token")
    open_jobs = dict.fromkeys(mine)
    guard, over = threading.Lock(), Counter[str]()

    def work(_: int) -> None:
        while open_jobs:
            with guard:
                one = next(iter(open_jobs), None)
                if one is None:
                    return
                del open_jobs[one]
            try:
                claimed = attempts.claim(database, one, "token", WORKER, NOW)
            except NoFreeSlot:
                with guard:
                    open_jobs[one] = None
                continue
            assert claimed is not None
            held = Counter(resource for resource, _ in holders(database))
            over.update(name for name, count in held.items() if count > capacities[name])
            attempts.renew(database, [claimed.attempt_id])
            mine_now = [name for (name, _), holder in holders(database).items() if holder == claimed.attempt_id]
            assert tuple(sorted(mine_now)) == claimed.resources
            attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)

    race(8, work)
    assert over == {}
    assert {state(database, one) for one in mine} == {"done"}
    assert holders(database) == {}


def test_an_expiry_and_a_result_race_and_one_wins(database: Database) -> None:
    add(database, [POOL] * 6, capacities={POOL: 6})
    for claimed in start(database):
        beat = Beat(claimed.attempt_id, 0)

        def act(index: int, claimed: Claim = claimed, beat: Beat = beat) -> object:
            if index:
                return attempts.expire(database, beat, "silent", NOW) and "expired"
            try:
                return attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)
            except StaleAttempt:
                return False

        winners = [one for one in race(2, act) if one]
        assert len(winners) == 1
        assert state(database, claimed.job_id) == {"expired": "ready", "done": "done"}[str(winners[0])]


def test_a_stage_waits_for_a_slot_and_no_new_job_gets_it_first(database: Database) -> None:
    two = f"{A}"
    one, other = add(database, [two, POOL], capacities={A: 1, POOL: 1})
    first, holder = start(database)
    assert (first.job_id, holder.job_id) == (one, other)
    [third] = add(database, [POOL], after=2)
    assert not attempts.take(database, first.attempt_id, POOL, NOW)
    attempts.finish(database, holder.attempt_id, COMPLETE, NOW)
    assert order(database) == {third: order_token} if (order_token := job(database, third)["order_token"]) else True
    assert attempts.take(database, first.attempt_id, POOL, NOW)
    assert holders(database)[(POOL, 0)] == first.attempt_id
    attempts.release(database, first.attempt_id, POOL)
    assert (POOL, 0) not in holders(database)
    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    assert holders(database) == {}


def test_slots_go_back_when_the_checks_begin(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    for event in ("prepare", "work", "check"):
        attempts.advance(database, claimed.attempt_id, event)
    assert holders(database) == {}
    assert state(database, one) == "running"
    [two] = add(database, [A], after=1)
    [second] = start(database)
    assert second.job_id == two
    assert attempts.finish(database, claimed.attempt_id, COMPLETE, NOW) == "done"
    assert holders(database) == {(A, 0): second.attempt_id}, "a late end frees only its own slots"


def test_a_parked_account_is_given_to_nobody(database: Database) -> None:
    one, two = add(database, [A, A], capacities={A: 2})
    tokens = order(database)
    first = claim(database, one, tokens[one])
    assert attempts.finish(database, first.attempt_id, parked(LATER), NOW) == "parked"
    with pytest.raises(attempts.Parked):
        attempts.claim(database, two, tokens[two], WORKER, NOW)
    attempts.withdraw(database, two, tokens[two])
    assert order(database) == {}
    breakers.wake(database, LATER)
    assert set(order(database, LATER)) == {two}


def test_a_later_reset_is_not_forgotten_for_an_earlier_one(database: Database) -> None:
    add(database, [A, A], capacities={A: 2})
    first, second = start(database)
    attempts.finish(database, first.attempt_id, parked(LATER), NOW)
    attempts.finish(database, second.attempt_id, parked(NOW), NOW)
    add(database, [A], after=2)
    assert order(database) == {}


def test_slots_shrink_while_they_are_in_use(database: Database) -> None:
    mine = add(database, [POOL] * 6, capacities={POOL: 4})
    tokens = order(database)
    first, second, third = (claim(database, one, tokens[one]) for one in mine[:3])
    ensure_slots(database, {POOL: 2})
    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    with pytest.raises(NoFreeSlot):
        attempts.claim(database, mine[3], tokens[mine[3]], WORKER, NOW)
    attempts.finish(database, second.attempt_id, COMPLETE, NOW)
    fourth = claim(database, mine[3], tokens[mine[3]])
    with pytest.raises(NoFreeSlot):
        attempts.claim(database, mine[4], tokens.get(mine[4], ""), WORKER, NOW) or pytest.fail("stale")
    assert len(holders(database)) == 2
    ensure_slots(database, {POOL: 3})
    ensure_slots(database, {POOL: 3})
    for one in (third, fourth):
        attempts.finish(database, one.attempt_id, COMPLETE, NOW)
    assert holders(database) == {}


def test_batches_renewals_and_cancellations_do_not_wait_for_each_other(database: Database) -> None:
    """Ends of many attempts lock many rows, as do renewals, orders of people and a fleet that changes."""
    names = [f"pool:{number}" for number in range(3)]
    capacities = dict.fromkeys(names, 8)
    mine = add(database, [",".join(names)] * 24, capacities=capacities, max_infra=10_000)
    stop = threading.Event()
    again = replace(COMPLETE, outcome=Outcome.INTERRUPTED, detail="again")

    def work(_: int) -> int:
        rounds = 0
        while not stop.is_set():
            hints = [Hinted(one, token, WORKER, NOW) for one, token in order(database).items()]
            got = [one for one in attempts.claim_many(database, hints) if isinstance(one, Claim)]
            attempts.renew(database, [one.attempt_id for one in got[::-1]])
            attempts.finish_many(database, [attempts.End(one.attempt_id, again, NOW) for one in got])
            rounds += 1
        return rounds

    def disturb() -> None:
        for _ in range(25):
            attempts.renew(database, [beat.attempt_id for beat in attempts.live_beats(database)])
            control.cancel(database, Selection(job_ids=mine), "x", NOW)
            ensure_slots(database, dict.fromkeys(names, 6))
            control.requeue(database, Selection(job_ids=mine[::-1]))
            ensure_slots(database, capacities)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(3)]
        try:
            pool.submit(disturb).result(timeout=120)
        finally:
            stop.set()
        assert all(worker.result(timeout=60) for worker in workers)
    assert holders(database) == {}
