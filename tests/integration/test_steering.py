"""Commands that explain and steer, against a run that goes on: retune."""

import json
import re
from dataclasses import replace

import pytest

from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.storage import machines
from orchestrator.storage.engine import Database
from tests.support.lab import Lab
from tests.support.world import WORKER


def test_a_running_job_is_guarded_by_the_limits_it_is_given(lab: Lab) -> None:
    lab.write(agent="wait")
    process = lab.start("run", str(lab.file))
    lab.await_start()
    told = lab.bakeoff("retune", "--set", "wall_timeout=1ms", "--json")
    assert (told.code, json.loads(told.out)) == (ExitCode.OK, {"waiting": 0, "running": 1})
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err
    assert lab.results.outcomes() == ["wall_timeout"]
    (profile,) = json.loads(lab.bakeoff("report", "--json").out)["profiles"]
    assert profile["label"] == "one [retuned wall_timeout=1ms]"
    (event,) = lab.results.rows("SELECT data FROM events WHERE kind = 'LimitsChanged'")
    assert json.loads(event["data"]) == {"changes": {"wall_timeout": 0.001}}
    lab.assert_clean()


def test_limits_hold_for_what_has_not_started(lab: Lab) -> None:
    lab.write(agent="wait")
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    assert lab.bakeoff("retune", "lab", "--set", "stage_timeout=200ms").code == ExitCode.OK
    assert lab.run().code == ExitCode.OK
    assert lab.results.outcomes() == ["stage_timeout"]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("wall_timeout", ("LIMIT=VALUE",)),
        ("wal_timeout=3h", ("wal_timeout", "wall_timeout")),
        ("wall_timeout=soon", ("90s, 15m or 1h30m", "soon")),
        ("wall_timeout=-3", ("greater than 0", "-3")),
        ("wall_timeout=unlimited", ("wall_timeout", "unlimited")),
        ("max_turns=1.5", ("max_turns", "1.5")),
        ("max_turns=true", ("max_turns", "a number")),
        ("max_infra_attempts=9", ("limits are",)),
    ],
)
def test_limits_that_are_none(lab: Lab, pair: str, words: tuple[str, ...]) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    done = lab.bakeoff("retune", "--set", pair)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    for word in words:
        assert word in done.err


# -- why --


def why(lab: Lab, job: str, *options: str) -> str:
    done = lab.bakeoff("why", job, *options)
    assert (done.code, done.err) == (ExitCode.OK, ""), done
    return done.out


def test_why_speaks_of_jobs_in_every_state(lab: Lab) -> None:
    lab.write(repeats=3, agent="wait")
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    assert "because: starts with the next pass" in why(lab, "target/one#1")
    told = why(lab, "2")
    assert "job 2, target/one#2 of lab: ready" in told
    assert "go first" in told
    assert "no live worker serves account:cloud; start one: bakeoff worker cloud --account cloud" in told
    assert lab.bakeoff("drain", "--account", "cloud").code == ExitCode.OK
    assert "bakeoff resume --account cloud" in why(lab, "2")
    assert re.search(r"account:cloud is drained since \S+ \S+ UTC: drained on request", lab.bakeoff("status").out)
    [drain] = json.loads(lab.bakeoff("status", "--json").out)["drains"]
    assert drain["scope"] == "account:cloud"
    assert lab.bakeoff("resume", "--account", "cloud").code == ExitCode.OK
    assert lab.bakeoff("pause", "--job", "3", "--reason", "lunch").code == ExitCode.OK
    told = why(lab, "target/one #3", "--experiment", "lab")
    assert "paused" in told
    assert "because: lunch" in told
    assert "bakeoff resume --job 3" in told
    process = lab.start("run", str(lab.file))
    lab.await_start()
    running = str(lab.await_job("running")["id"])
    told = why(lab, running)
    assert f"job {running}" in told
    assert "attempt 1 on" in told
    assert lab.bakeoff("cancel", "--job", running, "--reason", "no more").code == ExitCode.OK
    lab.await_job("cancelled")
    document = json.loads(why(lab, running, "--json"))
    assert (document["state"], document["outcome"]) == ("cancelled", "cancelled")
    assert document["next_step"].endswith(f"bakeoff requeue --job {running}")
    (attempt,) = document["attempts"]
    assert attempt["outcome"] == "cancelled"
    lab.gate.touch()
    assert lab.bakeoff("resume", "--job", "3").code == ExitCode.OK
    assert lab.end_of(process).code == ExitCode.OK
    done = next(str(row["id"]) for row in lab.results.jobs() if row["state"] == "done")
    assert "ended as: complete" in why(lab, done)


@pytest.mark.parametrize(("job", "words"), [("99", "no job 99"), ("target/oen#1", "target/one#1"), ("x", "status")])
def test_why_of_jobs_that_are_none(lab: Lab, job: str, words: str) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    done = lab.bakeoff("why", job)
    assert (done.code, done.out) == (ExitCode.NOT_FOUND, "")
    assert words in done.err


# -- simulate --


def test_a_file_is_simulated_on_its_fleet_with_its_guesses_told(lab: Lab) -> None:
    lab.write(repeats=4, limits={"wall_timeout": "10m"})
    told = lab.bakeoff("simulate", str(lab.file))
    assert told.code == ExitCode.OK, told.err
    assert "4 of 4 durations are guesses of 10m00s: their longest wall_timeout" in told.out
    document = json.loads(lab.bakeoff("simulate", str(lab.file), "--unknown", "1m", "--json").out)
    assert (document["makespan_seconds"], document["ratio"], document["guessed"]) == (240.0, 1.0, 4)
    document = json.loads(
        lab.bakeoff("simulate", str(lab.file), "--unknown", "1m", "--with", "account:cloud=2", "--json").out
    )
    assert document["makespan_seconds"] == 120.0
    [cloud] = [one for one in document["resources"] if one["name"] == "account:cloud"]
    assert (cloud["slots"], cloud["utilisation"]) == (2, 1.0)
    closed = lab.bakeoff("simulate", str(lab.file), "--with", "account:cloud=0")
    assert "4 jobs never start: what they need has no slot" in closed.out
    assert lab.results.jobs() == [], "nothing is stored"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "FILE, --trials and --jobs"),
        (("--jobs", "5", "--trials", "x.csv"), "name one of"),
        (("--jobs", "0"), "--jobs"),
        (("experiment.yaml", "--with", "account:cloud"), "RESOURCE=SLOTS"),
        (("experiment.yaml", "--with", "pool:x=3"), "account:cloud"),
        (("experiment.yaml", "--unknown", "soon"), "90s, 15m"),
    ],
)
def test_simulations_that_are_none(lab: Lab, arguments: tuple[str, ...], words: str) -> None:
    lab.write()
    done = lab.bakeoff("simulate", *arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, ""), done
    assert words in done.err


# -- workers that are missing, or take nothing --


def test_why_and_status_name_the_workers_that_are_there_but_take_nothing(lab: Lab) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    database = Database(f"sqlite:///{lab.home / 'bakeoff.db'}")
    full = {"resource": "account:cloud", "closed_for": "300 MiB of disk are free, 512 are wanted"}
    words = "worker w@1 on full takes no new jobs: 300 MiB of disk are free, 512 are wanted"
    machines.announce(database, replace(WORKER, machine="full"), "w@1", full, utc_now())
    told = why(lab, "1")
    assert f"because: {words}\n" in told
    assert f"next: {words}.\n" in told
    machines.announce(database, WORKER, "w@2", {"resource": "account:cloud"}, utc_now())
    told = why(lab, "1")
    assert "because: starts with the next pass of the scheduler\n" in told
    assert f"next: {words}.\n" in told
    database.close()


def test_plan_and_doctor_name_what_no_live_worker_of_a_shared_fleet_serves(lab: Lab) -> None:
    lab.write_fleet(models={"local": {}})
    lab.write(profiles={"one": "model", "two": "local"})
    shared = {"BAKEOFF_BROKER_URL": "redis://127.0.0.1:9/0"}
    assert "no live worker" not in lab.bakeoff("plan", str(lab.file)).out, "`bakeoff run` starts its own"
    told = lab.bakeoff("plan", str(lab.file), env=shared)
    assert "no live worker serves account:cloud; start one: bakeoff worker cloud --account cloud" in told.out
    document = json.loads(lab.bakeoff("plan", str(lab.file), "--json", env=shared).out)
    assert document["unserved"] == ["account:cloud", "pool:box"]
    done = lab.bakeoff("doctor", str(lab.file), env=shared)
    assert done.code == ExitCode.UNAVAILABLE
    assert (
        "MISS worker pool:box: no live worker serves pool:box; start one: bakeoff worker gpu --pool box" in done.out
    )
