"""Breakers with real workers: a refused key stops its account instead of burning through every job."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from orchestrator.domain.breaker import POLICIES
from tests.support.lab import Lab, interrupt
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
        threshold = POLICIES["account"].threshold
        assert lab.results.outcomes() == ["auth_error"] * threshold
        told = json.loads(lab.bakeoff("status", "--json").out)
        [breaker] = [one for one in told["breakers"] if one["scope"] == "account:cloud"]
        assert (breaker["state"], breaker["failures"]) == ("open", threshold)
        reasons = {job["waiting_reason"] for job in told["jobs"]}
        assert any("account cloud is stopped after 3 failures running" in reason for reason in reasons), reasons
        with closing(sqlite3.connect(lab.home / "bakeoff.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE breakers SET until = opened_at WHERE state = 'open'")  # its time has come
        until(lambda: len(lab.results.attempts()) > threshold, "the probe")
        until(
            lambda: len(lab.results.rows("SELECT 1 FROM breaker_events WHERE to_state = 'open'")) == 2, "its failure"
        )
        assert len(lab.results.attempts()) == threshold + 1, "one probe, and no more"
        assert json.loads(lab.bakeoff("resume", "--account", "cloud", "--json").out)["breakers_closed"] == 1
        until(lambda: len(lab.results.attempts()) > threshold + 1, "the next attempt")
        interrupt(process)
        lab.end_of(process)
