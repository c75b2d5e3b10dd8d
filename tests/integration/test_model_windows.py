"""A quota window of one model: it holds back the jobs that use the model on that account, and nothing else."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.domain.fleet import Account, Fleet, FleetModel, Window
from orchestrator.domain.matrix import model_spec
from orchestrator.domain.order import Candidate, pick, worth_reading
from orchestrator.domain.states import JobState
from orchestrator.reports.quota_table import quota_json
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import attempts, breakers, control, quota, tables
from orchestrator.storage.control import Selection
from orchestrator.storage.dispatch import ensure_slots, ready_classes, slots, split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import StatementRecord
from orchestrator.storage.submit import NewCell, NewJob, NewTarget, store_experiment, store_fleet
from orchestrator.storage.tables import quota_events
from orchestrator.storage.telemetry import Records, ship
from tests.support.world import INFRA, NOW, WORKER, claim, job, order, start, state

MAX, SCOPE = "account:max", "model:max/opus"
RESET = NOW + timedelta(hours=1)
WEEK = Window(name="7d-opus", length=7 * 86_400.0, model="opus")
# Profiles as (loop, reasoning, build).
OPUS, SONNET = ("single", "opus", "opus"), ("single", "sonnet", "sonnet")
HYBRID, UNASKED = ("staged", "opus", "sonnet"), ("single", "opus", "sonnet")
NAMESAKE = ("single", "Opus", "Opus")


def fleet(concurrency: int) -> Fleet:
    account = Account(base_url="http://max.test", concurrency=concurrency, windows=(WEEK,))
    models = {name: FleetModel(name=name, account="max", context_window=1000) for name in ("opus", "sonnet", "Opus")}
    return Fleet(accounts={"max": account}, models=models)


def set_up(database: Database, profiles: Sequence[tuple[str, str, str]], *, concurrency: int = 9) -> list[int]:
    """One job for each, in order."""
    store_fleet(database, fleet(concurrency))
    ensure_slots(database, {MAX: concurrency})
    return submit(database, profiles)


def submit(database: Database, profiles: Sequence[tuple[str, str, str]], *, after: int = 0) -> list[int]:
    cells = {f"c{after + number}": profile for number, profile in enumerate(profiles)}
    store_experiment(
        database,
        name="demo",
        file_text="",
        spec={},
        seed=0,
        new_targets=[NewTarget(label="t", sha="0" * 40, content_hash="t", spec={})],
        new_cells=[
            NewCell(
                target_hash="t",
                profile="-".join(profile),
                key=f"t/{name}",
                cell_hash=name,
                profile_hash="-".join(profile),
                params={},
                spec=stored(profile),
            )
            for name, profile in cells.items()
        ],
        new_jobs=[
            NewJob(cell_hash=name, repeat=1, position=after + number, needs=MAX, queue="cloud.max")
            for number, name in enumerate(cells, 1)
        ],
        now=NOW,
    )
    with database.read() as connection:
        return list(connection.execute(sa.select(tables.jobs.c.id).order_by(tables.jobs.c.id)).scalars())[after:]


def stored(profile: tuple[str, str, str]) -> dict[str, Any]:
    loop, reasoning, build = profile
    models = {"reasoning": model_spec(reasoning, fleet(1)), "build": model_spec(build, fleet(1))}
    told = {role: model.model_dump(mode="json") for role, model in models.items()}
    return {"loop": loop, "models": told, "agent": "reference", "limits": {"max_infra_attempts": 2}}


def used(database: Database, percent: int, at: datetime = NOW) -> list[str]:
    """What the provider says about the model's window, judged. Returns what changed, in words."""
    said = StatementRecord(
        account="max",
        name="7d-opus",
        used_ppm=percent * 10_000,
        resets_at=RESET,
        length_seconds=7 * 86_400.0,
        stated_at=at,
        source="headers",
    )
    ship(database, Records(statements=[said]), at)
    return quota.judge(database, at)


def needs(database: Database, jobs: Sequence[int]) -> list[str]:
    return [job(database, one)["needs"] for one in jobs]


def test_a_red_window_of_a_model_defers_its_jobs_and_ends_by_itself(database: Database) -> None:
    opus, sonnet, hybrid, unasked, namesake = set_up(database, [OPUS, SONNET, HYBRID, UNASKED, NAMESAKE])
    reason = "7d-opus window at 96 % (red), deferred until 2026-07-01 13:00:00 UTC"
    assert used(database, 96) == [f"model max/opus: {reason}"]
    assert used(database, 96, NOW + timedelta(seconds=1)) == [], "said once"
    assert set(order(database)) == {sonnet, unasked, namesake}
    with database.read() as connection:
        found = slots(connection)
        assert ready_classes(connection) == [f"{MAX},{SCOPE}"], "one class, that no pass reads"
    waiting = split_needs(job(database, hybrid)["needs"])
    assert waiting_reason(JobState.READY, "", waiting, found, {}) == f"model max/opus: {reason}"
    (account,) = quota_json(quota.quotas(database, NOW))
    assert account["sessions"] is None
    assert account["models"] == [{"model": "opus", "sessions": 0, "reason": reason, "until": RESET}]

    assert quota.judge(database, RESET) == ["model max/opus: all sessions are open again"]
    assert set(order(database, RESET)) == {opus, hybrid}
    assert set(needs(database, [opus, sonnet, hybrid, unasked, namesake])) == {MAX}
    with database.read() as connection:
        rows = connection.execute(sa.select(quota_events).order_by(quota_events.c.id)).all()
        assert slots(connection).keys() == {MAX}
    assert [(row.account, row.model, row.sessions, row.reason) for row in rows] == [
        ("max", "opus", 0, reason),
        ("max", "opus", None, "all sessions are open again"),
    ]


def test_a_hint_that_is_out_already_is_not_claimed(database: Database) -> None:
    opus, sonnet = set_up(database, [OPUS, SONNET])
    tokens = order(database)
    used(database, 100)
    with pytest.raises(attempts.NoFreeSlot, match=r"model:max/opus is free: 7d-opus window at 100 % \(red\)"):
        claim(database, opus, tokens[opus])
    claim(database, sonnet, tokens[sonnet])
    quota.judge(database, RESET)
    assert claim(database, opus, tokens[opus], RESET).resources == (MAX,)


def test_jobs_that_are_added_or_come_back_meanwhile_wait_too(database: Database) -> None:
    first, second = set_up(database, [OPUS, OPUS])
    running, broken = start(database)
    control.cancel(database, Selection(job_ids=(second,)), "because", NOW)
    attempts.finish(database, broken.attempt_id, INFRA, NOW)
    assert state(database, second) == "cancelled"
    used(database, 96)
    attempts.finish(database, running.attempt_id, INFRA, NOW)
    control.requeue(database, Selection(job_ids=(second,)))
    late, other = submit(database, [OPUS, SONNET], after=2)
    assert {state(database, one) for one in (first, second, late)} == {"ready"}
    assert list(order(database)) == [other]
    quota.judge(database, RESET)
    assert set(order(database, RESET)) == {first, second, late}


def test_a_submit_at_the_moment_of_the_change_leaves_no_job_out(database: Database) -> None:
    known = set_up(database, [OPUS])
    for number in range(6):
        at = NOW + timedelta(seconds=number)
        together = Barrier(2)

        def add(after: int = len(known), together: Barrier = together) -> None:
            together.wait()
            submit(database, [OPUS, OPUS], after=after)

        def change(percent: int = 10 if number % 2 else 96, at: datetime = at, together: Barrier = together) -> None:
            together.wait()
            used(database, percent, at)

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(add), threads.submit(change)]:
                done.result()
        with database.read() as connection:
            known = list(connection.execute(sa.select(tables.jobs.c.id)).scalars())
        assert set(needs(database, known)) == {MAX if number % 2 else f"{MAX},{SCOPE}"}


def test_an_orange_window_of_a_model_lets_one_of_its_sessions_in(database: Database) -> None:
    jobs = set_up(database, [OPUS, OPUS, HYBRID, SONNET, SONNET], concurrency=4)
    tokens = order(database)
    used(database, 90)
    claim(database, jobs[0], tokens[jobs[0]])
    with pytest.raises(attempts.NoFreeSlot, match="one session at a time"):
        claim(database, jobs[1], tokens[jobs[1]])
    attempts.withdraw(database, jobs[1], tokens[jobs[1]])
    attempts.withdraw(database, jobs[2], tokens[jobs[2]])
    assert list(order(database)) == [jobs[4]], "a session of opus is live, and others need not wait for that"
    with database.read() as connection:
        found = slots(connection)
    assert (found[SCOPE].total, found[SCOPE].busy) == (1, 1)
    assert "one session at a time" in waiting_reason(JobState.READY, "", (MAX, SCOPE), found, {})


def test_a_profile_and_a_model_may_hold_back_the_same_job(database: Database) -> None:
    """Whatever ends first, the other one stays."""
    (opus,) = set_up(database, [OPUS])
    scope = "profile:demo/single-opus-opus"
    stopped = {"scope": scope, "state": "open", "failures": 5, "keys": [], "until": NOW + timedelta(minutes=5)}
    for first in ("profile", "model"):
        with database.write() as connection:
            connection.execute(tables.breakers.insert().values(stopped))
        breakers.wake(database, NOW)
        used(database, 96)
        assert set(split_needs(job(database, opus)["needs"])) == {MAX, scope, SCOPE}
        if first == "profile":
            breakers.reset(database, [scope], NOW)
            assert needs(database, [opus]) == [f"{MAX},{SCOPE}"]
            quota.judge(database, RESET)
        else:
            quota.judge(database, RESET)
            assert needs(database, [opus]) == [f"{MAX},{scope}"]
            breakers.reset(database, [scope], NOW)
        assert needs(database, [opus]) == [MAX]


def test_a_window_that_leaves_the_fleet_file_holds_nothing_back(database: Database) -> None:
    (opus,) = set_up(database, [OPUS])
    used(database, 96)
    account = Account(base_url="http://max.test")
    store_fleet(database, Fleet(accounts={"max": account}, models=fleet(1).models))
    assert quota.judge(database, NOW) == ["model max/opus: all sessions are open again"]
    assert list(order(database)) == [opus]


def test_an_account_that_is_forgotten_holds_nothing_back(database: Database) -> None:
    (opus,) = set_up(database, [OPUS])
    used(database, 96)
    with database.write() as connection:
        connection.execute(tables.accounts.delete())
    assert quota.judge(database, NOW) == ["model max/opus: all sessions are open again"]
    assert needs(database, [opus]) == [MAX]


def test_what_a_model_holds_back_keeps_no_account_for_itself() -> None:
    held = Candidate(job_id=1, needs=(MAX, SCOPE), position=1, passed_over=9)
    free = {MAX: 1, SCOPE: 0}
    assert worth_reading(held.needs, free, {}) == 0
    other = Candidate(job_id=2, needs=(MAX,), position=2)
    assert pick([held, other], free) == ((2,), ())


def test_two_claims_at_once_let_one_session_of_the_model_in(database: Database) -> None:
    jobs = set_up(database, [OPUS, OPUS, SONNET])
    tokens = order(database)
    used(database, 90)
    hints = [attempts.Hinted(one, tokens[one], WORKER, NOW) for one in jobs]
    one, two, three = attempts.claim_many(database, hints)
    assert isinstance(one, attempts.Claim)
    assert isinstance(two, attempts.NoFreeSlot)
    assert isinstance(three, attempts.Claim)
