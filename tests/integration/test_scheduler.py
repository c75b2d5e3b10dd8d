"""One pass of the scheduler with a real broker: hints go out, are repeated, survive a wiped or dead broker."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from orchestrator.broker import KEY_PREFIX, celery_app
from orchestrator.clock import boot_seconds, utc_now
from orchestrator.daemon import Scheduler
from orchestrator.domain.outcome import Outcome
from orchestrator.embedded import EmbeddedBroker
from orchestrator.settings import Settings
from orchestrator.storage import attempts
from orchestrator.storage.control import Selection, cancel
from orchestrator.storage.engine import Database
from tests.support.waiting import until
from tests.support.world import POOL, A, add, claim, hints, job, start, state
from workers.heartbeat import Heartbeats, Held
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView

QUEUE = f"{KEY_PREFIX}cloud.a"


def settings_for(home: Path, database: Database, broker: EmbeddedBroker | None = None) -> Settings:
    return Settings(
        home=home,
        database_url=database.url.render_as_string(hide_password=False),
        broker_url=broker.url if broker else None,
        heartbeat_seconds=0.1,
        lease_ttl_seconds=1.0,
        lease_margin_seconds=0.2,
        tick_seconds=0.05,
        rehint_seconds=1000.0,
        visibility_timeout_seconds=3600,
        machine="box",
        flower_password=None,
    )


@pytest.fixture
def settings(tmp_path: Path, database: Database, broker: EmbeddedBroker) -> Settings:
    return settings_for(tmp_path, database, broker)


@pytest.fixture
def scheduler(settings: Settings, database: Database) -> Scheduler:
    return Scheduler(settings, database, celery_app(settings))


def messages(broker: EmbeddedBroker, queue: str = QUEUE) -> list[tuple[int, str]]:
    """Job ids and tokens that wait in a queue, oldest first."""
    with broker.client() as client:
        raw: Any = client.lrange(queue, 0, -1)
    bodies = [json.loads(json.loads(one)["body"] if _is_plain(one) else _decoded(one)) for one in raw]
    return [(body[0][0], body[0][1]) for body in reversed(bodies)]


def _is_plain(raw: bytes) -> bool:
    return bool(json.loads(raw)["properties"].get("body_encoding") != "base64")


def _decoded(raw: bytes) -> str:
    return base64.b64decode(json.loads(raw)["body"]).decode()


def test_hints_go_out_once_with_the_tokens_of_the_database(
    database: Database, broker: EmbeddedBroker, scheduler: Scheduler
) -> None:
    mine = add(database, [A] * 5, capacities={A: 3})
    assert scheduler.tick() == 3
    assert messages(broker) == [(hint.job_id, hint.order_token) for hint in hints(database)]
    assert [job_id for job_id, _ in messages(broker)] == mine[:3]
    assert scheduler.tick() == 0
    assert len(messages(broker)) == 3


def test_a_message_says_nothing_but_job_and_token(
    database: Database, broker: EmbeddedBroker, scheduler: Scheduler
) -> None:
    add(database, [A], capacities={A: 1})
    scheduler.tick()
    with broker.client() as client:
        raw: Any = client.lindex(QUEUE, 0)
    header = json.loads(raw)["headers"]
    assert header["argsrepr"] == "demo t/demo-0 #1"
    assert messages(broker) == [(1, hints(database)[0].order_token)]


def test_unclaimed_hints_are_repeated(settings: Settings, database: Database, broker: EmbeddedBroker) -> None:
    one, two = add(database, [A] * 2, capacities={A: 2})
    scheduler = Scheduler(replace(settings, rehint_seconds=0.0), database, celery_app(settings))
    assert scheduler.tick() == 2
    assert scheduler.tick() == 2
    claim(database, one, hints(database)[0].order_token)
    assert scheduler.tick() == 1
    assert [job_id for job_id, _ in messages(broker)] == [one, two, one, two, two]


def test_a_scheduler_that_starts_again_sends_everything_that_is_owed(
    settings: Settings, database: Database, broker: EmbeddedBroker, scheduler: Scheduler
) -> None:
    add(database, [A] * 4, capacities={A: 2})
    assert scheduler.tick() == 2
    sent = messages(broker)
    with broker.client() as client:
        client.flushall()
    again = Scheduler(settings, database, celery_app(settings))
    assert again.tick() == 2
    assert messages(broker) == sent


def test_a_wiped_broker_costs_one_repetition(settings: Settings, database: Database, broker: EmbeddedBroker) -> None:
    scheduler = Scheduler(replace(settings, rehint_seconds=0.2), database, celery_app(settings))
    add(database, [A] * 2, capacities={A: 2})
    assert scheduler.tick() == 2
    with broker.client() as client:
        client.flushall()
    until(lambda: scheduler.tick() == 2, "the hints to be sent again")
    assert len(messages(broker)) == 2


def test_a_dead_broker_does_not_stop_the_database_part(
    database: Database, broker: EmbeddedBroker, scheduler: Scheduler
) -> None:
    """Jobs are queued and silent leases expire all the same; what is owed goes out when the broker is back."""
    one, two = add(database, [A, POOL], capacities={A: 1, POOL: 1})
    start(database)
    [three] = add(database, [POOL], after=2)
    broker._child.stop(1.0)
    with pytest.raises(OperationalError):
        scheduler.tick()
    assert state(database, three) == "queued"
    with running(scheduler):
        until(lambda: {job(database, one)["infra_attempts"], job(database, two)["infra_attempts"]} == {1}, "expiry")
        until(lambda: state(database, one) == state(database, two) == "queued", "the next orders")
        broker.restart()
        until(lambda: [job_id for job_id, _ in messages(broker)] == [one], "the account's hint")
        until(lambda: {job_id for job_id, _ in messages(broker, f"{KEY_PREFIX}gpu.p")} == {two, three}, "the pool's")


def test_the_loop_goes_on_through_a_broker_that_dies(
    database: Database, broker: EmbeddedBroker, scheduler: Scheduler
) -> None:
    with running(scheduler) as thread:
        [one] = add(database, [A], capacities={A: 2})
        until(lambda: messages(broker), "the first hint")
        broker._child.stop(1.0)
        [two] = add(database, [A], after=1)
        until(lambda: state(database, two) == "queued", "the second job to be queued")
        broker.restart()
        until(lambda: two in {job_id for job_id, _ in messages(broker)}, "the second hint")
        assert thread.is_alive()
        assert state(database, one) == "queued"
    assert not thread.is_alive()


@contextmanager
def running(scheduler: Scheduler) -> Iterator[threading.Thread]:
    """The scheduler's loops."""
    stop = threading.Event()
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=60)


def test_a_worker_that_renews_keeps_its_job_and_one_that_stops_loses_it(
    settings: Settings, database: Database, scheduler: Scheduler
) -> None:
    add(database, [A, POOL], capacities={A: 1, POOL: 1})
    kept, lost = start(database)
    heartbeats = Heartbeats(settings, database)
    inbox = StageInbox()
    lease = LeaseView(heartbeats.deadline(boot_seconds()))
    first_deadline = lease.deadline
    heartbeats.hold(kept.attempt_id, Held(lease, inbox))
    heartbeats.start()

    def gone() -> bool:
        scheduler.tick()
        return state(database, lost.job_id) != "running"

    until(gone, "the silent attempt to be expired")
    assert state(database, kept.job_id) == "running"
    assert lease.deadline > first_deadline
    heartbeats.stop()
    inbox.close()


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_the_heartbeat_passes_orders_on(database: Database, tmp_path: Path, how: str) -> None:
    add(database, [A], capacities={A: 1})
    [held] = start(database)
    heartbeats = Heartbeats(settings_for(tmp_path, database), database)
    inbox = StageInbox()
    lease = LeaseView(heartbeats.deadline(boot_seconds()))
    heartbeats.hold(held.attempt_id, Held(lease, inbox))
    if how == "cancelled":
        cancel(database, Selection(), "enough", utc_now())
    else:
        [beat] = attempts.live_beats(database)
        assert attempts.expire(database, beat, "silent", utc_now())
    deadline = lease.deadline
    heartbeats.start()
    order = until(lambda: inbox.order, "the order to end")
    expected = {"cancelled": Outcome.CANCELLED, "expired": Outcome.LEASE_LOST}[how]
    assert order is not None
    assert order.outcome is expected
    heartbeats.stop()
    assert (lease.deadline > deadline) is (how == "cancelled")
    inbox.close()


def test_a_worker_hears_a_cancellation_while_the_database_is_busy(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rounds that fail are logged and followed by others."""
    add(database, [A], capacities={A: 1})
    [held] = start(database)
    heartbeats = Heartbeats(settings_for(tmp_path, database), database, clock=_Flaky())
    inbox = StageInbox()
    lease = LeaseView(0.0)
    heartbeats.hold(held.attempt_id, Held(lease, inbox))
    heartbeats.start()
    until(lambda: lease.deadline > 0, "a renewal after a failed one")
    heartbeats.stop()
    inbox.close()
    assert "heartbeat_failed" in caplog.text


class _Flaky:
    """A clock whose first reading fails."""

    def __init__(self) -> None:
        self._readings = 0

    def __call__(self) -> float:
        self._readings += 1
        if self._readings == 1:
            raise ValueError("a bug")
        return boot_seconds()
