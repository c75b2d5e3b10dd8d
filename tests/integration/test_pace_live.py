"""Refusals without a reset, with real workers: an account settles at fewer sessions and has all again later."""

import json
from datetime import timedelta
from pathlib import Path

from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.pace import RAISE_SECONDS
from orchestrator.embedded import EmbeddedBroker
from orchestrator.storage import quota
from orchestrator.storage.engine import Database
from tests.support.lab import Lab
from tests.support.results import Row
from tests.support.scripted import scripted_models
from tests.support.waiting import until

MINUTE = timedelta(seconds=RAISE_SECONDS + 1)


def test_sessions_follow_what_a_provider_bears(lab: Lab, broker: EmbeddedBroker, tmp_path: Path) -> None:
    """It answers two requests at a time and refuses the others with a plain 429."""
    url = f"sqlite:///{lab.home}/bakeoff.db"
    env = {"BAKEOFF_DATABASE_URL": url, "BAKEOFF_BROKER_URL": broker.url}
    (tmp_path / "models").mkdir()
    with scripted_models(tmp_path / "models", at_once=2) as lab.base_url:
        lab.write_fleet(concurrency=4, models={"busy": {"account": "cloud"}})
        lab.write(agent="reference", profiles={"one": "busy"}, repeats=30)
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        for _ in range(4):
            lab.start("worker", "cloud", "--account", "cloud", env=env)
        scheduler = lab.start("scheduler", env=env)
        [lowered] = until(lambda: lab.results.rows("SELECT * FROM quota_events"), "the sessions to be lowered")
        assert (lowered["account"], lowered["sessions"]) == ("cloud", 2)
        assert lowered["reason"] == "2 session(s) at a time after refusals"
        known = f"{utc_now():%Y-%m-%d %H:%M:%S.%f}"
        until(lambda: len(sessions_since(lab, known, ended=True)) >= 3, "three later sessions to end")
        later = sessions_since(lab, known)
        assert max(live_at(lab, one["started_at"]) for one in later) == 2
        (account,) = json.loads(lab.bakeoff("status", "--json", env=env).out)["accounts"]
        assert (account["concurrency"], account["sessions"], account["pace_sessions"]) == (4, 2, 2)

        scheduler.terminate()
        lab.end_of(scheduler)
        database = Database(url)
        peace = utc_now() + MINUTE  # two minutes without a refusal, of which the test waits for none
        assert quota.judge(database, peace) == ["account cloud: 3 session(s) at a time after refusals"]
        assert quota.judge(database, peace + MINUTE) == ["account cloud: all sessions are open again"]
        database.close()
        lab.start("scheduler", env=env)
        until(lambda: len(lab.results.rows("SELECT 1 FROM attempts WHERE state <> 'ended'")) == 4, "four sessions")
        moves = lab.results.rows("SELECT sessions FROM quota_events ORDER BY id")
        assert [one["sessions"] for one in moves][:3] == [2, 3, None]
        assert set(lab.results.outcomes()) <= {"complete", "live"}, "nobody's result suffered"


def sessions_since(lab: Lab, moment: str, *, ended: bool = False) -> list[Row]:
    """Stages of attempts that began after a moment (and that have ended)."""
    begun = {one["id"] for one in lab.results.attempts() if one["started_at"] > moment}
    rows = [one for one in lab.results.stages() if one["attempt_id"] in begun]
    return [one for one in rows if not ended or one["ended_at"]]


def live_at(lab: Lab, moment: str) -> int:
    """How many sessions were live then."""
    return sum(one["started_at"] <= moment and (one["ended_at"] or "~") > moment for one in lab.results.stages())
