"""Pause, resume, drain and cancel, by everything that they can be aimed at, on the real storage code."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.broker import celery_app
from orchestrator.clock import boot_id, start_ticks
from orchestrator.daemon import Scheduler
from orchestrator.domain.outcome import Outcome
from orchestrator.settings import Settings, load_settings
from orchestrator.storage import attempts, control, drains
from orchestrator.storage.attempts import AttemptResult, Claim, WorkerIdentity
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database
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
    job,
    order,
    start,
    state,
)
from tests.support.world import parked as parked_result

PAUSED = AttemptResult(outcome=Outcome.PAUSED, detail="paused on request")


def settings_of(database: Database, home: Path, **more: str) -> Settings:
    url = database.url.render_as_string(hide_password=False)
    return load_settings(
        {"BAKEOFF_HOME": str(home), "BAKEOFF_DATABASE_URL": url, "BAKEOFF_MACHINE": "box"} | dict(more)
    )


# -- pause --


def test_a_running_job_is_paused_by_its_worker_and_put_back_by_resume(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    assert control.pause(database, Selection(job_ids=[one]), "lunch") == (0, 1)
    assert attempts.orders_among(database, [claimed.attempt_id]) == {claimed.attempt_id: Outcome.PAUSED}
    assert state(database, one) == "running", "until its worker has committed"
    assert attempts.finish(database, claimed.attempt_id, PAUSED, NOW) == "paused"
    row = job(database, one)
    assert (row["pause_requested"], row["infra_attempts"], row["outcome"]) == (False, 0, None)
    assert order(database) == {}
    assert control.resume(database, Selection(job_ids=[one]), NOW) == 1
    assert set(order(database)) == {one}


@pytest.mark.parametrize("result", [INFRA, parked_result(LATER)])
def test_a_pause_holds_whatever_ends_the_attempt(database: Database, result: AttemptResult) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.pause(database, Selection(), "x")
    assert attempts.finish(database, claimed.attempt_id, result, NOW) == "paused"
    assert job(database, one)["wake_at"] is None


def test_a_job_that_completes_first_stays_complete(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.pause(database, Selection(), "x")
    assert attempts.finish(database, claimed.attempt_id, COMPLETE, NOW) == "done"
    assert control.resume(database, Selection(), NOW) == 0
    assert state(database, one) == "done"


def test_a_job_that_is_resumed_while_it_ends_goes_on(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.pause(database, Selection(), "x")
    assert control.resume(database, Selection(), NOW) == 1
    assert attempts.orders_among(database, [claimed.attempt_id]) == {}
    assert attempts.finish(database, claimed.attempt_id, PAUSED, NOW) == "ready", "its worker had heard the pause"
    assert job(database, one)["infra_attempts"] == 0


def test_cancel_goes_before_pause(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    control.pause(database, Selection(), "x")
    control.cancel(database, Selection(), "enough", NOW)
    assert attempts.orders_among(database, [claimed.attempt_id]) == {claimed.attempt_id: Outcome.CANCELLED}
    assert attempts.finish(database, claimed.attempt_id, PAUSED, NOW) == "cancelled"
    assert state(database, one) == "cancelled"


def test_by_resource_and_by_machine(database: Database) -> None:
    mixed, cloud, gpu, waits = add(database, [f"{A},{POOL}", B, POOL, POOL], capacities={A: 1, B: 1, POOL: 2})
    orders = order(database)
    for job_id, worker in ((mixed, WORKER), (cloud, replace(WORKER, machine="other")), (gpu, WORKER)):
        assert attempts.claim(database, job_id, orders[job_id], worker, NOW)
    assert control.pause(database, Selection(resources=[A]), "x") == (0, 1)
    assert job(database, mixed)["pause_requested"]
    assert control.pause(database, Selection(resources=["account:"]), "x") == (0, 0), "no part of a name"
    assert control.cancel(database, Selection(machine="other"), "x", NOW) == (0, 1)
    assert job(database, cloud)["cancel_requested"]
    assert control.pause(database, Selection(resources=[POOL]), "x") == (1, 2)
    assert state(database, waits) == "paused"
    assert control.cancel(database, Selection(machine="box"), "x", NOW) == (0, 2), "what waits is on no machine"


# -- drain --


def test_a_drained_resource_ends_what_runs_and_starts_nothing(database: Database) -> None:
    one, two, three = add(database, [A, A, B], capacities={A: 2, B: 1})
    tokens = order(database)
    assert attempts.claim(database, one, tokens[one], WORKER, NOW)
    assert drains.drain(database, [A], "for people", NOW) == 1
    assert drains.drain(database, [A], "for people, still", LATER) == 0
    assert drains.drained(database)[A] == drains.Drain(A, "for people, still", NOW)
    assert state(database, two) == "ready", "its hint was taken back"
    assert state(database, three) == "queued"
    assert attempts.claim(database, two, tokens[two], WORKER, NOW) is None
    assert order(database) == {}
    assert state(database, one) == "running"
    assert drains.lift(database, [A]) == 1
    assert set(order(database)) == {two}


def test_a_stage_of_a_running_attempt_may_still_take_a_drained_resource(database: Database) -> None:
    add(database, [A], capacities={A: 1, POOL: 1})
    [claimed] = start(database)
    drains.drain(database, [POOL], "x", NOW)
    assert attempts.take(database, claimed.attempt_id, POOL, NOW)


def test_a_claim_is_refused_on_a_drained_machine_and_granted_on_another(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1})
    token = order(database)[one]
    drains.drain(database, ["machine:box"], "new fan", NOW)
    with pytest.raises(attempts.Drained, match="machine:box is drained"):
        attempts.claim(database, one, token, WORKER, NOW)
    assert attempts.claim(database, one, token, replace(WORKER, machine="other"), NOW)


# -- cancel without a worker --


def claimed_by(database: Database, worker: WorkerIdentity) -> Claim:
    [job_id] = add(database, [A], capacities={A: 1})
    claim = attempts.claim(database, job_id, order(database)[job_id], worker, NOW)
    assert claim is not None
    return claim


def dead_worker(machine: str) -> WorkerIdentity:
    """The identity of a process that has just ended."""
    process = subprocess.Popen(["sleep", "60"])
    ticks = start_ticks(process.pid)
    assert ticks is not None
    process.kill()
    process.wait()
    return WorkerIdentity(machine=machine, boot_id=boot_id(), pid=process.pid, start_ticks=ticks)


def test_a_cancelled_attempt_of_a_dead_worker_ends_with_the_next_pass(database: Database, tmp_path: Path) -> None:
    claim = claimed_by(database, dead_worker("box"))
    settings = settings_of(database, tmp_path)
    scheduler = Scheduler(settings, database, celery_app(settings))
    scheduler.decide()
    assert state(database, claim.job_id) == "running", "nobody has asked; it waits for its lease or its worker"
    control.cancel(database, Selection(), "enough", NOW)
    Scheduler(settings, database, celery_app(settings)).decide()
    assert state(database, claim.job_id) == "cancelled"
    assert attempt(database, claim.attempt_id)["outcome"] == "cancelled"
    assert job(database, claim.job_id)["infra_attempts"] == 0


@pytest.mark.parametrize("who", ["alive", "elsewhere", "another boot"])
def test_an_attempt_whose_worker_may_live_keeps_its_slots(database: Database, tmp_path: Path, who: str) -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    worker = {
        "alive": WorkerIdentity(machine="box", boot_id=boot_id(), pid=os.getpid(), start_ticks=ticks),
        "elsewhere": dead_worker("other"),
        "another boot": replace(dead_worker("box"), boot_id="an earlier one"),
    }[who]
    claim = claimed_by(database, worker)
    control.cancel(database, Selection(), "enough", NOW)
    settings = settings_of(database, tmp_path)
    Scheduler(settings, database, celery_app(settings)).decide()
    assert state(database, claim.job_id) == "running"


def test_an_infrastructure_failure_of_a_cancelled_job_is_no_failure(database: Database) -> None:
    [one] = add(database, [A], capacities={A: 1}, max_infra=1)
    [claimed] = start(database)
    control.cancel(database, Selection(), "enough", NOW)
    assert attempts.finish(database, claimed.attempt_id, INFRA, NOW) == "cancelled"
    assert state(database, one) == "cancelled"
