"""A shared fleet: schedulers that stand by, workers that do not fit, brokers and messages nobody should trust."""

import json
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.broker import KEY_PREFIX, TASK_NAME, celery_app
from orchestrator.daemon import Scheduler
from orchestrator.domain.errors import Conflict, ExitCode, InvalidInput
from orchestrator.embedded import EmbeddedBroker
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.settings import load_settings
from orchestrator.storage import machines
from orchestrator.storage.engine import Database
from orchestrator.storage.leader import Leadership, fleet_version
from orchestrator.storage.tables import attempts as attempt_table
from orchestrator.storage.tables import leaders
from tests.support.databases import PostgresDatabases
from tests.support.lab import Lab, shared
from tests.support.waiting import until
from tests.support.world import NOW, A, add, hints, state
from workers.envelopes import envelope_fault
from workers.registrar import require_fit, wrong_version
from workers.tasks import parse_hint

# -- schedulers --


def leader(database: Database) -> sa.RowMapping | None:
    with database.read() as connection:
        return connection.execute(sa.select(leaders)).mappings().one_or_none()


def test_one_leads_and_the_next_takes_over_at_once_when_it_resigns(database: Database) -> None:
    first, second = (Leadership(database, f"box-{number}") for number in (1, 2))
    assert first.lead()
    assert not second.lead()
    assert fleet_version(database)
    first.resign()
    second._next_look = 0.0
    assert second.lead()
    first.resign()
    row = leader(database)
    assert row is not None
    assert row["holder"] == second.holder, "a former leader resigns from nothing"


def test_a_leader_that_was_replaced_while_it_was_stopped_does_no_harm(database: Database, tmp_path: Path) -> None:
    """It wakes in the middle of a pass: what it decides from old rows changes nothing twice, then it stands by."""
    settings = load_settings({"BAKEOFF_HOME": str(tmp_path)})
    mine = add(database, [A] * 3, capacities={A: 3})
    old = Scheduler(settings, database, celery_app(settings), Leadership(database, "old"))
    assert old.decide() == 3
    tokens = {hint.job_id: hint.order_token for hint in hints(database)}
    with database.write() as connection:  # as a takeover leaves the row
        connection.execute(leaders.update().values(holder="new", heartbeat=0, machine="new"))
    assert dispatch(database, NOW) == [], "its pass goes on once more"
    assert {hint.job_id: hint.order_token for hint in hints(database)} == tokens
    assert [state(database, one) for one in mine] == ["queued"] * 3
    leadership = old._leadership
    assert leadership is not None
    leadership._next_look = 0.0
    assert old.decide() == 0
    assert not old.leads
    assert old.send() == 0


def schedulers(lab: Lab, env: dict[str, str], count: int) -> dict[int, "subprocess.Popen[str]"]:
    started = [lab.start("scheduler", env=env | {"BAKEOFF_MACHINE": f"box-{number}"}) for number in range(count)]
    return {process.pid: process for process in started}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_a_standby_scheduler_takes_over(
    lab: Lab, broker: EmbeddedBroker, postgres_databases: PostgresDatabases, how: signal.Signals
) -> None:
    """Real processes, that believe to be on different machines, so that only silence tells them of a death."""
    with postgres_databases.fresh() as database:
        env = shared(database, broker.url)
        running = schedulers(lab, env, 3)
        until(lambda: leader(database), "the first leader")
        first = leader(database)
        assert first is not None
        add(database, [A], capacities={A: 9})
        until(lambda: len(hints(database)) == 1, "its dispatch")
        os.kill(first["pid"], how)

        def successor() -> bool:
            row = leader(database)
            return row is not None and row["pid"] != first["pid"]

        until(successor, "a successor", 10)
        add(database, [A], after=1)
        until(lambda: len(hints(database)) == 2, "the successor's dispatch")
        if how is signal.SIGSTOP:
            os.kill(first["pid"], signal.SIGCONT)
            running[first["pid"]].send_signal(signal.SIGTERM)
            told = lab.end_of(running[first["pid"]]).err
            assert "scheduler_leads" in told
        row = leader(database)
        assert row is not None
        assert row["pid"] != first["pid"], "what woke again has not taken its place back"


# -- brokers --


def options_for(url: str, **env: str) -> dict[str, Any]:
    app = celery_app(load_settings({"BAKEOFF_BROKER_URL": url} | env))
    return dict(app.conf)


@pytest.mark.parametrize(
    "url", ["redis://10.0.0.7:6379/0", "redis://queue.lan", "rediss://queue.lan", "amqp://mq.lan//"]
)
def test_a_broker_without_password_off_this_machine_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"has no password.*BAKEOFF_ALLOW_OPEN_BROKER=1"):
        options_for(url)
    assert options_for(url, BAKEOFF_ALLOW_OPEN_BROKER="1")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@10.0.0.7:6379/0",
        "redis://127.0.0.1:6379/0",
        "redis://localhost",
        "redis://[::1]:6379",
        "redis+socket:///run/valkey.sock",
        "amqp://user:secret@mq.lan//",
    ],
)
def test_brokers_that_are_guarded(url: str) -> None:
    assert options_for(url)


def test_every_command_says_what_is_wrong_with_the_broker(lab: Lab) -> None:
    done = lab.bakeoff("scheduler", env={"BAKEOFF_BROKER_URL": "redis://10.0.0.7/0"})
    assert done.code == ExitCode.INVALID_INPUT
    assert "the broker on 10.0.0.7 has no password" in done.err
    worker = lab.bakeoff("worker", "gpu", "--pool", "box", env={"BAKEOFF_BROKER_URL": "redis://10.0.0.7/0"})
    assert worker.code == ExitCode.INVALID_INPUT
    assert "BAKEOFF_ALLOW_OPEN_BROKER=1" in worker.err


def test_rabbitmq_gets_none_of_the_options_of_redis() -> None:
    assert options_for("amqp://user:secret@mq.lan//")["broker_transport_options"] == {
        "confirm_publish": True,
        "connect_timeout": 5,
    }


def test_tls_checks_the_certificate_with_the_authority_that_is_set(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    with pytest.raises(InvalidInput, match="BAKEOFF_BROKER_CA: no such file"):
        options_for("rediss://:x@mq.lan", BAKEOFF_BROKER_CA=str(ca))
    ca.touch()
    redis = options_for("rediss://:x@mq.lan", BAKEOFF_BROKER_CA=str(ca))
    assert redis["broker_use_ssl"] == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(ca)}
    assert options_for("amqps://u:x@mq.lan")["broker_use_ssl"] == {"cert_reqs": ssl.CERT_REQUIRED}


# -- workers that do not fit --


def test_a_worker_of_another_version_is_refused_with_the_fix(database: Database, tmp_path: Path) -> None:
    settings = load_settings({"BAKEOFF_HOME": str(tmp_path), "BAKEOFF_BROKER_URL": "redis://127.0.0.1/0"})
    require_fit(database, settings)
    assert Leadership(database, "box").lead()
    require_fit(database, settings)
    with database.write() as connection:
        connection.execute(leaders.update().values(version="99.1"))
    with pytest.raises(Conflict, match=r"pip install bakeoff==99.1 here"):
        require_fit(database, settings)
    embedded = load_settings({"BAKEOFF_HOME": str(tmp_path), "BAKEOFF_BROKER_URL": "redis+socket:///run/x.sock"})
    assert wrong_version(database, embedded) is None


@pytest.mark.parametrize(("revision", "fix"), [("0000", "bakeoff scheduler. first"), ("9999", "newer than this")])
def test_a_worker_of_another_schema_is_refused_with_the_fix(
    database: Database, tmp_path: Path, revision: str, fix: str
) -> None:
    settings = load_settings({"BAKEOFF_HOME": str(tmp_path)})
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    with pytest.raises(Conflict, match=fix):
        require_fit(database, settings)
    assert database.revision() == revision, "a worker does not migrate what others use"


def test_whoever_only_looks_does_not_migrate_what_a_fleet_uses(
    lab: Lab, postgres_databases: PostgresDatabases
) -> None:
    with postgres_databases.fresh() as database:
        with database.write() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
        env = {"BAKEOFF_DATABASE_URL": database.url.render_as_string(hide_password=False)}
        status = lab.bakeoff("status", env=env)
        assert (status.code, "`bakeoff scheduler`, which migrates" in status.err) == (ExitCode.CONFLICT, True), status
        doctor = lab.bakeoff("doctor", env=env)
        assert (doctor.code, "MISS conflict: the database is at schema 0000" in doctor.out) == (4, True), doctor
        assert database.revision() == "0000"


def test_resources_that_nobody_serves_are_named(database: Database) -> None:
    from tests.support.world import LATER, WORKER

    machines.announce(database, WORKER, "cloud.a@1", {"resource": A}, NOW)
    assert machines.unserved(database, [A, "pool:x"], NOW) == ["pool:x"]
    assert machines.unserved(database, [A], LATER) == [A], "a silent worker serves nothing"


# -- messages --


@pytest.mark.parametrize(
    "args",
    [
        [],
        [1],
        [1, "ab", 3],
        ["1", "ab"],
        [True, "ab"],
        [1.0, "ab"],
        [0, "ab"],
        [-1, "ab"],
        [2**31, "ab"],
        [1, ""],
        [1, "x" * 5],
        [1, "a" * 33],
        [1, "a" * 10_000_000],
        [1, "ab\n"],
        [1, None],
        [{"a": 1}, "ab"],
        [[1], ["ab"]],
    ],
)
def test_malformed_arguments_name_no_job(args: list[object]) -> None:
    assert parse_hint(args) is None
    assert parse_hint([17, "00ff"]) == (17, "00ff")


def forged(body: str, **headers: object) -> str:
    """A message as Celery lays it into Redis, with a body of anybody's choice."""
    named = {"lang": "py", "task": TASK_NAME, "id": "forged", "root_id": "forged", "parent_id": None, "group": None}
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": named | headers,
            "properties": {
                "correlation_id": "forged",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "cloud.cloud"},
                "priority": 0,
                "delivery_tag": "forged",
            },
        }
    )


def test_forged_and_broken_messages_are_dropped_and_the_job_behind_them_runs(
    lab: Lab, broker: EmbeddedBroker, postgres_databases: PostgresDatabases
) -> None:
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    lies = [
        forged(json.dumps([["x" * 1_000_000, 3], {}, embed])),
        forged(json.dumps([[1, "0" * 16], {}, embed])),
        forged(json.dumps([[1, "0" * 16], {"more": 1}, embed])),
        forged("no json"),
        forged(json.dumps({"no": "list"})),
        forged(json.dumps([[1], {}, embed]), task="os.system"),
        forged(json.dumps([[1], {}, embed]), argsrepr=["no", "text"]),
    ]
    pickled = json.loads(forged("gASVBQAAAAAAAACMAXiULg=="))
    pickled["content-type"], pickled["content-encoding"] = "application/x-python-serialize", "binary"
    with broker.client() as client:
        for lie in (*lies, json.dumps(pickled)):
            client.lpush(f"{KEY_PREFIX}cloud.cloud", lie)
    with postgres_databases.fresh() as database:
        env = shared(database, broker.url)
        lab.write()
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        lab.start("scheduler", env=env)
        worker = lab.start("worker", "cloud", "--account", "cloud", env=env)
        until(lambda: state(database, 1) == "done", "the real job")
        worker.send_signal(signal.SIGTERM)
        _, told = worker.communicate(timeout=60)  # Celery logs an unknown task with a traceback
        assert told.count("message_dropped reason=malformed") == 6, told
        assert len(told) < 100_000, "a huge message does not fill the log"


NO_ENVELOPES = [
    b"",
    b"garbage",
    b"\xff\xfe\x00",
    b"null",
    b"17",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"__type__": "uuid", "__value__": {}}',
    b'{"properties": {"delivery_tag": "x","delivery_info":{}, "body_encoding":"base64"}, "body": "=", "headers": {}}',
    b'{"properties": {"delivery_tag": "x","delivery_info":{}, "body_encoding":"rot13"}, "body": "", "headers": {}}',
    b'{"properties": {"delivery_tag": "x","delivery_info":{}}, "body": "", "headers": {"task": ["x"], "id": "1"}}',
    b'{"properties": {"delivery_tag": "x","delivery_info":{}}, "body": "", "headers": {}}',
    b'{"properties": {"delivery_tag": [], "delivery_info": {}}, "body": "", "headers": {}}',
]


def test_what_is_no_message_at_all_does_not_end_the_worker(
    lab: Lab, broker: EmbeddedBroker, postgres_databases: PostgresDatabases
) -> None:
    with postgres_databases.fresh() as database:
        env = shared(database, broker.url)
        lab.write()
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        worker = lab.start("worker", "cloud", "--account", "cloud", env=env)
        with broker.client() as client:
            queue = f"{KEY_PREFIX}cloud.cloud"
            for entry in NO_ENVELOPES:
                client.lpush(queue, entry)
            until(lambda: client.llen(queue) == 0, "the worker to read them")
        (before,) = until(lambda: machines.workers(database), "the worker to announce itself")
        lab.start("scheduler", env=env)
        until(lambda: state(database, 1) == "done", "the real job")
        assert machines.workers(database)[0].worker == before.worker, "the same process"
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        _, told = worker.communicate(timeout=60)
        assert told.count("message_dropped reason=malformed") == len(NO_ENVELOPES), told
        assert "Traceback" not in told


def test_a_machine_without_room_takes_nothing_and_says_so(
    lab: Lab, broker: EmbeddedBroker, postgres_databases: PostgresDatabases
) -> None:
    with postgres_databases.fresh() as database:
        env = shared(database, broker.url)
        lab.write()
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        full = env | {"BAKEOFF_MACHINE": "full", "BAKEOFF_MIN_FREE_MEMORY_MIB": "1e9"}
        lab.start("worker", "cloud", "--account", "cloud", env=full)
        until(
            lambda: [one for one in machines.workers(database) if one.capabilities.get("closed_for")],
            "the worker to see that its machine is full",
        )
        assert "takes no new jobs" in lab.bakeoff("status", env=env).out
        lab.start("scheduler", env=env)
        lab.start("worker", "cloud", "--account", "cloud", env=env | {"BAKEOFF_MACHINE": "roomy"})
        until(lambda: state(database, 1) == "done", "the job")
        with database.read() as connection:
            assert set(connection.execute(sa.select(attempt_table.c.machine)).scalars()) == {"roomy"}


def test_what_celery_sends_is_an_envelope() -> None:
    assert envelope_fault(json.loads(forged("anything")), "cloud.cloud") is None
    control = json.loads(forged("anything"))
    control["headers"] = {"clock": 3, "expires": None}
    assert envelope_fault(control, "worker@box.celery.pidbox") is None
    assert envelope_fault(control, "cloud.cloud") == "task"
