"""Breakers on the real tables: what opens them, who is refused, the one probe, and the record of it all."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.domain.breaker import POLICIES
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import attempts, breakers, dispatch, machines, tables
from orchestrator.storage.attempts import AttemptResult, Claim, Elsewhere, Parked
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import jobs, leases
from tests.support.world import COMPLETE, INFRA, NOW, POOL, WORKER, A, B, add, claim, job, order, parked, start, state

AUTH = AttemptResult(outcome=Outcome.AUTH_ERROR, detail="HTTP 401", resource=A)
BROKEN = AttemptResult(outcome=Outcome.FAILURE_BREAKER, detail="crashes at once")
OTHER = replace(WORKER, machine="other", pid=101)
MINUTE = timedelta(minutes=1)


def finish_all(database: Database, claims: Iterable[Claim], result: AttemptResult, now: datetime = NOW) -> None:
    for one in claims:
        attempts.finish(database, one.attempt_id, result, now)


def moves(database: Database) -> list[tuple[str, str, str]]:
    """Oldest first."""
    return [(one.scope, one.from_state, one.to_state) for one in reversed(breakers.history(database))]


def open_account(database: Database) -> datetime:
    """Three refused keys; when it is tried again."""
    for _ in range(3):
        finish_all(database, start(database), AUTH)
    until = breakers.all_breakers(database)[A].until
    assert until is not None
    return until


def test_a_wrong_key_stops_the_account_and_one_probe_goes_first(database: Database) -> None:
    add(database, [A] * 20, capacities={A: 1, B: 1})
    until = open_account(database)
    assert order(database) == {}
    assert until == NOW + timedelta(seconds=POLICIES["account"].open_seconds)
    assert breakers.wake(database, until - timedelta(seconds=1)) == 0
    assert breakers.wake(database, until) == 1
    dispatch.ensure_slots(database, {A: 3})
    [probe] = start(database, until)
    assert probe.probes == (A,)
    assert order(database, until) == {}, "one at a time, whatever slots there are"
    assert not breakers.answered(database, "somebody else", A, until)
    assert breakers.answered(database, probe.attempt_id, A, until)
    assert not breakers.answered(database, probe.attempt_id, A, until)
    assert len(start(database, until)) == 2
    assert breakers.all_breakers(database) == {}
    assert moves(database) == [(A, "closed", "open"), (A, "open", "half_open"), (A, "half_open", "closed")]


def test_a_probe_that_fails_makes_the_wait_longer(database: Database) -> None:
    add(database, [A] * 20, capacities={A: 1})
    until = open_account(database)
    breakers.wake(database, until)
    finish_all(database, start(database, until), AUTH, until)
    again = breakers.all_breakers(database)[A].until
    assert again == until + timedelta(seconds=2 * POLICIES["account"].open_seconds)


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.SETUP_FAILED, Outcome.LEASE_LOST])
def test_a_probe_that_proves_nothing_makes_room_for_the_next(database: Database, outcome: Outcome) -> None:
    add(database, [A] * 20, capacities={A: 2})
    until = open_account(database)
    breakers.wake(database, until)
    [first] = start(database, until)
    attempts.finish(database, first.attempt_id, AttemptResult(outcome=outcome, detail=""), until)
    assert breakers.all_breakers(database)[A].probe is None
    [second] = start(database, until)
    assert second.probes == (A,)


def test_a_second_claim_beside_the_probe_is_refused(database: Database) -> None:
    one, two = add(database, [POOL, POOL], capacities={POOL: 2})
    tokens = order(database)
    with database.write() as connection:
        row = {"scope": POOL, "state": "half_open", "failures": 3, "keys": []}
        connection.execute(sa.insert(tables.breakers).values(row))
    assert claim(database, one, tokens[one]).probes == (POOL,)
    with pytest.raises(Parked, match="one attempt tries it again"):
        claim(database, two, tokens[two])


def test_a_stopped_profile_waits_by_itself_and_the_others_go_on(database: Database) -> None:
    mine = add(database, [A] * 30, capacities={A: 3})
    ours, scope = set(mine[1::3]), "profile:demo/profile-1"
    while (now := breakers.all_breakers(database).get(scope)) is None or now.state != "open":
        for one in start(database):
            attempts.finish(database, one.attempt_id, BROKEN if one.job_id in ours else COMPLETE, NOW)
    tokens = order(database)
    [early] = ours & set(tokens)  # hinted before the scheduler has marked the profile's jobs
    with pytest.raises(Parked, match="profile demo/profile-1 is stopped after 5 failures running"):
        claim(database, early, tokens[early])
    attempts.withdraw(database, early, tokens[early])
    breakers.wake(database, NOW)
    finish_all(database, [claim(database, one, token) for one, token in tokens.items() if one != early], COMPLETE)
    while live := start(database):
        assert not ours & {one.job_id for one in live}
        finish_all(database, live, COMPLETE)
    waiting = [one for one in mine if state(database, one) == "ready"]
    assert (len(waiting), set(waiting) <= ours) == (5, True)
    with database.read() as connection:
        slots = dispatch.slots(connection)
    needs = dispatch.split_needs(job(database, waiting[0])["needs"])
    assert waiting_reason(JobState.READY, "", needs, slots, {}) == (
        "profile demo/profile-1 is stopped after 5 failures running, tried again at 2026-07-01 12:05:00 UTC: "
        "failure_breaker: crashes at once"
    )
    until = NOW + timedelta(seconds=POLICIES["profile"].open_seconds)
    breakers.wake(database, until)
    [probe] = start(database, until)
    assert (probe.resources, probe.probes) == ((A,), (scope,))
    assert order(database, until) == {}
    attempts.finish(database, probe.attempt_id, COMPLETE, until)
    breakers.wake(database, until)
    assert len(order(database, until)) == 3
    assert {job(database, one)["needs"] for one in mine} == {A}
    assert breakers.all_breakers(database) == {}


def test_jobs_that_are_added_to_a_stopped_profile_wait_too_and_a_person_lets_them_go(database: Database) -> None:
    add(database, [A] * 20, capacities={A: 1})
    for _ in range(5):
        while (one := start(database)) and (one[0].job_id - 1) % 3 != 1:
            finish_all(database, one, COMPLETE)
        finish_all(database, one, BROKEN)
    breakers.wake(database, NOW)
    late = add(database, [A] * 3, after=20)
    marked = [one for one in late if "profile:demo/profile-1" in job(database, one)["needs"]]
    assert len(marked) == 1
    assert breakers.reset(database, ["profile:demo/profile-1"], NOW) == 1
    assert job(database, marked[0])["needs"] == A
    assert breakers.reset(database, ["profile:demo/profile-1"], NOW) == 0


def test_a_machine_on_which_everything_breaks_is_refused_and_its_jobs_go_elsewhere(database: Database) -> None:
    mine = add(database, [A] * 5, capacities={A: 5})
    finish_all(database, start(database), INFRA)
    assert breakers.all_breakers(database)["machine:box"].state == "open"
    tokens = order(database)
    assert set(tokens) == set(mine), "the jobs themselves are not stopped"
    for one in mine:
        with pytest.raises(Parked, match="machine box is stopped after 5 failures running"):
            attempts.claim(database, one, tokens[one], WORKER, NOW)
        taken = attempts.claim(database, one, tokens[one], OTHER, NOW)
        assert taken is not None
        attempts.finish(database, taken.attempt_id, COMPLETE, NOW)
    until = NOW + timedelta(seconds=POLICIES["machine"].open_seconds)
    add(database, [A] * 2, after=5)
    breakers.wake(database, until)
    first, second = order(database, until).items()
    probe = claim(database, *first, until)
    assert probe.probes == ("machine:box",)
    with pytest.raises(Parked, match="one attempt tries it again"):
        claim(database, *second, until)
    attempts.finish(database, probe.attempt_id, COMPLETE, until)
    assert claim(database, *second, until).probes == ()


@pytest.mark.parametrize("well", [False, True])
def test_a_job_that_broke_goes_to_another_machine_for_a_while(database: Database, well: bool) -> None:
    """And for as long as nothing goes well where it broke."""
    [one] = add(database, [A], capacities={A: 1}, max_infra=9)
    finish_all(database, start(database), INFRA)
    finish_all(database, start(database), INFRA)  # nobody else is there
    if well:
        add(database, [POOL], after=1, capacities={POOL: 1})
        [(other, token)] = [pair for pair in order(database).items() if pair[0] != one]
        attempts.finish(database, claim(database, other, token).attempt_id, COMPLETE, NOW)
    machines.announce(database, OTHER, "w", {"resource": A}, NOW + MINUTE / 4)
    token = job(database, one)["order_token"] or order(database)[one]
    with pytest.raises(Elsewhere):
        claim(database, one, token)
    if well:
        assert claim(database, one, token, NOW + MINUTE / 2).number == 3
        return
    with pytest.raises(Elsewhere):
        claim(database, one, token, NOW + MINUTE / 2)
    assert claim(database, one, token, NOW + MINUTE).number == 3, "the other one is silent"


@pytest.mark.parametrize("places", [1, 3])
def test_a_broken_machine_is_stopped_before_it_has_used_up_the_tries_of_any_job(
    database: Database, places: int
) -> None:
    """Also when it is the only one. Jobs that wait for it alone are tried once each, in their order."""
    mine = add(database, [A] * 7, capacities={A: places}, max_infra=3)
    while (now := breakers.all_breakers(database).get("machine:box")) is None or now.state != "open":
        finish_all(database, start(database), INFRA)
    rows = [job(database, one) for one in mine]
    assert [row["infra_attempts"] for row in rows][:5] == [1] * 5
    assert max(row["infra_attempts"] for row in rows) == 1
    assert {row["state"] for row in rows} == {"ready"}


def test_a_job_that_broke_lets_no_more_others_pass_than_it_must(database: Database) -> None:
    mine = add(database, [A] * 9, capacities={A: 1})
    finish_all(database, start(database), INFRA)
    assert job(database, mine[0])["position"] == job(database, mine[5])["position"] + 1


@pytest.mark.parametrize(
    ("kept_on", "says", "later", "refused"),
    [
        ("box", {}, 0, True),
        ("box", {}, 61, False),
        ("box", {"closed_for": "no disk"}, 0, False),
        ("other", {}, 0, False),
        (None, {}, 0, False),
    ],
)
def test_an_interrupted_job_waits_a_while_for_the_machine_that_keeps_its_tree(
    database: Database, kept_on: str | None, says: dict[str, str], later: int, refused: bool
) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [(_, token)] = order(database).items()
    first = attempts.claim(database, one, token, OTHER if kept_on == "other" else WORKER, NOW)
    assert first is not None
    attempts.advance(database, first.attempt_id, "prepare")
    attempts.advance(database, first.attempt_id, "work", run_dir="/kept" if kept_on else None)
    attempts.finish(database, first.attempt_id, AttemptResult(outcome=Outcome.INTERRUPTED, detail="stopped"), NOW)
    now = NOW + timedelta(seconds=later)
    machines.announce(database, WORKER, "w", {"resource": A, **says}, now)
    [(_, token)] = order(database, now).items()
    if refused:
        with pytest.raises(Elsewhere):
            attempts.claim(database, one, token, OTHER, now)
        assert attempts.claim(database, one, token, WORKER, now) is not None
    else:
        assert attempts.claim(database, one, token, OTHER, now) is not None


@pytest.mark.parametrize("outcome", [Outcome.INFRA_ERROR, Outcome.INTERRUPTED])
def test_a_clock_that_was_set_back_keeps_no_job_waiting_for_a_machine_that_is_gone(
    database: Database, outcome: Outcome
) -> None:
    [one] = add(database, [A], capacities={A: 1}, max_infra=9)
    ahead = NOW + 60 * MINUTE
    [(_, token)] = order(database, ahead).items()
    broke, kept = outcome is Outcome.INFRA_ERROR, outcome is Outcome.INTERRUPTED
    first = attempts.claim(database, one, token, WORKER if broke else OTHER, ahead)
    assert first is not None
    attempts.advance(database, first.attempt_id, "prepare")
    attempts.advance(database, first.attempt_id, "work", run_dir="/kept" if kept else None)
    attempts.finish(database, first.attempt_id, AttemptResult(outcome=outcome, detail="broke"), ahead)
    machines.announce(database, OTHER, "w", {"resource": A}, ahead)
    assert claim(database, one, order(database)[one]).number == 2


def test_an_account_that_is_stopped_between_two_stages_parks_and_a_pool_is_waited_for(database: Database) -> None:
    add(database, [POOL] * 2, capacities={A: 1, POOL: 2})
    first, second = start(database)
    until = NOW + MINUTE
    attempts.finish(database, second.attempt_id, parked(until), NOW)
    with pytest.raises(Parked) as refused:
        attempts.take(database, first.attempt_id, A, NOW)
    assert refused.value.until == until
    breakers.wake(database, until)
    assert attempts.take(database, first.attempt_id, A, until)
    assert breakers.all_breakers(database)[A].probe == first.attempt_id
    assert breakers.answered(database, first.attempt_id, A, until)


def test_ends_that_come_together_count_each(database: Database) -> None:
    add(database, [POOL] * 4, capacities={POOL: 4})
    live = start(database)
    gone = AttemptResult(outcome=Outcome.MODEL_UNAVAILABLE, detail="no answer", resource=POOL)
    attempts.finish_many(database, [attempts.End(one.attempt_id, gone, NOW) for one in live])
    assert (breakers.all_breakers(database)[POOL].failures, order(database)) == (3, {})
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count(leases.c.attempt_id))).scalar() == 0
        assert set(connection.execute(sa.select(jobs.c.state)).scalars()) == {"ready"}
