"""Breakers with real workers: a refused key and a broken machine are stopped instead of burning through every job."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.breaker import POLICIES
from orchestrator.domain.errors import ExitCode
from orchestrator.embedded import EmbeddedBroker
from orchestrator.storage import machines
from orchestrator.storage.breakers import all_breakers
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, jobs
from tests.support.databases import PostgresDatabases
from tests.support.doorkeeper import Doorkeeper
from tests.support.lab import Lab, interrupt, shared
from tests.support.scripted import scripted_models
from tests.support.waiting import until


def test_a_wrong_key_stops_the_account_and_a_person_lets_it_go_on(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with scripted_models(tmp_path / "models") as url:
        lab.base_url = url
        lab.write_fleet(models={"locked": {"account": "cloud"}})
        lab.write(agent="reference", profiles={"one": "locked"}, repeats=10, limits={"max_infra_attempts": 9})
        process = lab.start("run", str(lab.file))
        until(lambda: lab.results.rows("SELECT 1 FROM breakers WHERE state = 'open'"), "the account to be stopped")
        # A slot goes to the next job before its last holder's end is on record.
        until(lambda: "live" not in lab.results.outcomes(), "what ran beside it to end")
        threshold = POLICIES["account"].threshold
        refused = len(lab.results.attempts())
        assert lab.results.outcomes() == ["auth_error"] * refused
        assert threshold <= refused <= threshold + 1
        told = json.loads(lab.bakeoff("status", "--json").out)
        [breaker] = [one for one in told["breakers"] if one["scope"] == "account:cloud"]
        assert (breaker["state"], breaker["failures"]) == ("open", threshold)
        reasons = {job["waiting_reason"] for job in told["jobs"]}
        assert any("account cloud is stopped after 3 failures running" in reason for reason in reasons), reasons
        with closing(sqlite3.connect(lab.home / "bakeoff.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE breakers SET until = opened_at WHERE state = 'open'")  # its time has come
        until(lambda: len(lab.results.attempts()) > refused, "the probe")
        until(
            lambda: len(lab.results.rows("SELECT 1 FROM breaker_events WHERE to_state = 'open'")) == 2, "its failure"
        )
        assert lab.results.outcomes() == ["auth_error"] * (refused + 1), "one probe, and no more"
        assert json.loads(lab.bakeoff("resume", "--account", "cloud", "--json").out)["breakers_closed"] == 1
        until(lambda: len(lab.results.attempts()) > refused + 1, "the next attempt")
        interrupt(process)
        lab.end_of(process)


def test_a_key_that_is_made_right_needs_no_person_more(lab: Lab, tmp_path: Path) -> None:
    """One probe goes first; when its first request is answered the rest follows."""
    key = tmp_path / "key"
    key.write_text("revoked")
    (tmp_path / "models").mkdir()
    with scripted_models(tmp_path / "models") as url, closing(Doorkeeper(url, "sound")) as door:
        lab.base_url = door.url
        lab.write_fleet(concurrency=2, account={"key": f"file:{key}"})
        lab.write(agent="reference", repeats=6, limits={"max_infra_attempts": 9})
        process = lab.start("run", str(lab.file))
        until(lambda: lab.results.rows("SELECT 1 FROM breakers WHERE state = 'open'"), "the account to be stopped")
        until(lambda: "live" not in lab.results.outcomes(), "what ran beside it to end")
        refused = lab.results.outcomes()
        assert set(refused) == {"auth_error"}
        key.write_text("sound")
        with closing(sqlite3.connect(lab.home / "bakeoff.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE breakers SET until = opened_at WHERE state = 'open'")  # its time has come
        assert lab.end_of(process).code == ExitCode.OK
        moves = lab.results.rows("SELECT from_state, to_state, at FROM breaker_events ORDER BY id")
        assert [(move["from_state"], move["to_state"]) for move in moves] == [
            ("closed", "open"),
            ("open", "half_open"),
            ("half_open", "closed"),
        ]
        tried_again, closed = moves[1]["at"], moves[2]["at"]
        later = lab.results.attempts()[len(refused) :]
        assert {one["outcome"] for one in later} == {"complete"}
        assert len(later) == 6
        assert len([one for one in later if tried_again <= one["started_at"] < closed]) == 1, "one probe"


def test_a_broken_machine_is_stopped_and_costs_no_job_more_than_one_try(
    lab: Lab, broker: EmbeddedBroker, postgres_databases: PostgresDatabases
) -> None:
    """Its mirrors are unusable. The other machine is busy while that one breaks what it gets."""
    with postgres_databases.fresh() as database:
        env = shared(database, broker.url)
        lab.write_fleet(models={"local": {}})
        lab.write(agent="wait", profiles={"one": "local"}, repeats=8)
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        lab.start("scheduler", env=env)
        worker = ("worker", "gpu", "--pool", "box", "--slots", "1")
        lab.start(*worker, env=env | {"BAKEOFF_MACHINE": "sound"})
        lab.await_start()
        home = lab.root / "broken"
        home.mkdir()
        (home / "mirrors").write_text("no folder")
        lab.start(*worker, env=env | {"BAKEOFF_MACHINE": "broken", "BAKEOFF_HOME": str(home)})

        until(lambda: "broken" in closed_machines(database), "the broken machine's worker to stop listening")
        assert all_breakers(database)["machine:broken"].state == "open"
        told = lab.bakeoff("status", env=env).out
        assert "machine broken is stopped after 5 failures running" in told
        assert "takes no new jobs" in told
        lab.gate.touch()
        until(lambda: set(column(database, jobs.c.state)) == {"done"}, "the jobs to be done elsewhere")
        tries = sa.select(attempts.c.outcome).where(attempts.c.machine == "broken")
        with database.read() as connection:
            assert list(connection.execute(tries).scalars()) == ["infra_error"] * POLICIES["machine"].threshold
        assert Counter(column(database, jobs.c.infra_attempts)) == {0: 3, 1: 5}


def closed_machines(database: Database) -> set[str]:
    """The machines with a worker that takes nothing."""
    return {one.machine for one in machines.workers(database) if one.capabilities.get("closed_for")}


def column(database: Database, of: sa.Column[Any]) -> list[object]:
    """Every value of a column."""
    with database.read() as connection:
        return list(connection.execute(sa.select(of)).scalars())
