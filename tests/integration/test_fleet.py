"""A shared fleet: schedulers that stand by, workers that do not fit, brokers and messages nobody should trust."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.broker import celery_app
from orchestrator.daemon import Scheduler
from orchestrator.embedded import EmbeddedBroker
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.settings import load_settings
from orchestrator.storage.engine import Database
from orchestrator.storage.leader import Leadership, fleet_version
from orchestrator.storage.tables import leaders
from tests.support.databases import PostgresDatabases
from tests.support.lab import Lab
from tests.support.waiting import until
from tests.support.world import NOW, A, add, hints, state


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    made = EmbeddedBroker(tmp_path / "broker.log")
    yield made
    made.stop()


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
        env = {
            "BAKEOFF_DATABASE_URL": database.url.render_as_string(hide_password=False),
            "BAKEOFF_BROKER_URL": broker.url,
        }
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
