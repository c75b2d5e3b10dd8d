"""Work goes on where it stood: after a limit in the same session, after a death at the last commit, after a crowd."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import SHORT_LEASE, Lab
from tests.support.processes import kill, send
from tests.support.repos import git
from tests.support.results import Row
from tests.support.scripted import scripted_models
from tests.support.waiting import until
from workers.agents.registry import adapter

_AGENTS = Path(__file__).parents[2] / "ops/agents/node_modules/.bin"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scripted_models(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path, models: str) -> Iterator[Lab]:
    with closing(Lab(tmp_path, base_url=models)) as one:
        yield one


def final_file(lab: Lab, attempt: Row, name: str) -> str:
    """A file of the attempt's last commit, as its bundle has it."""
    (bundle,) = lab.results.rows(
        "SELECT sha256 FROM artifacts WHERE attempt_id = ? AND kind = 'bundle'", [attempt["id"]]
    )
    clone = lab.root / f"clone-{attempt['id']}"
    git(lab.root, "clone", "-q", str(lab.target), str(clone))
    git(clone, "fetch", "-q", str(lab.artifact(bundle["sha256"])), str(attempt["branch"]))
    return git(clone, "show", f"FETCH_HEAD:{name}")


def events(lab: Lab, kind: str) -> list[Row]:
    return lab.results.rows("SELECT * FROM events WHERE kind = ? ORDER BY at", [kind])


def use_agent(lab: Lab, name: str) -> str:
    """Make an agent known to the lab; what is not installed is no fault but in CI."""
    lab.env["PATH"] = f"{_AGENTS}{os.pathsep}{lab.env['PATH']}"
    if adapter(name).version(lab.env) is None:
        reason = f"{name} is not installed: {adapter(name).install_hint()}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason)
        pytest.skip(reason)
    return name


both = pytest.mark.parametrize("name", ["reference", pytest.param("opencode", marks=pytest.mark.agents)])


@both
def test_after_a_limit_the_same_session_goes_on_in_the_same_tree(lab: Lab, name: str) -> None:
    lab.write_fleet(models={"interrupted": {"account": "cloud"}})
    lab.write(agent=use_agent(lab, name), profiles={"one": "interrupted"}, limits={"rate_limit_wait": "1s"})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    first, second = lab.results.attempts()
    assert (first["outcome"], second["outcome"]) == ("quota_parked", "complete")
    assert (second["resumed_from"], second["resumed_stages"]) == (first["id"], 1)
    assert second["run_dir"] == first["run_dir"]
    before, after = (
        stage for row in (first, second) for stage in lab.results.stages() if stage["attempt_id"] == row["id"]
    )
    assert (before["ordinal"], after["ordinal"]) == (1, 2)
    assert (before["resumed"], after["resumed"]) == (0, 1)
    assert before["session_id"] == after["session_id"] is not None
    assert before["handover"]
    # Nothing was done twice, and the parked time is nobody's work.
    assert final_file(lab, second, "steps.txt") == "one\ntwo\n"
    assert first["parked_until"] > first["ended_at"]
    assert first["wall_seconds"] + second["wall_seconds"] < 60
    (job,) = lab.results.jobs()
    assert (job["state"], job["attempts"], job["infra_attempts"]) == ("done", 2, 0)
    (row,) = json.loads(lab.bakeoff("report", "--json").out)["jobs"]
    assert row["parked_seconds"] > 0.5
    assert row["wall_seconds"] == pytest.approx(first["wall_seconds"] + second["wall_seconds"], abs=0.01)
    assert row["remote_calls"] == before["requests"] + after["requests"]
    lab.assert_clean()


def test_after_a_death_the_job_goes_on_behind_its_last_committed_stage(lab: Lab) -> None:
    reached = lab.root / "reached"
    lab.write_fleet(models={"gated": {"account": "cloud"}})
    lab.write(
        agent="reference",
        loop="staged",
        profiles={"one": {"model": "gated", "env": {"REACHED": str(reached), "GATE": str(lab.gate)}}},
    )
    process = lab.start("run", str(lab.file))
    until(reached.exists, "the BUILD stage")
    kill(lab.workers(process)["cloud"])
    lab.gate.touch()
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    first, second = lab.results.attempts()
    assert (first["outcome"], second["outcome"]) == ("lease_lost", "complete")
    assert (second["resumed_from"], second["resumed_stages"]) == (first["id"], 1)
    stages = [
        (row["ordinal"], row["stage"], row["resumed"])
        for row in lab.results.stages()
        if row["attempt_id"] == second["id"]
    ]
    assert stages == [(2, "build", 0)], "PLAN is not repeated"
    files = lab.results.rows("SELECT files_changed FROM attempts WHERE id = ?", [second["id"]])
    assert files[0]["files_changed"] == 1, "what the killed stage had left is gone"
    assert [row["data"] for row in events(lab, "Resumed")]
    lab.assert_clean()


def test_a_frozen_worker_keeps_its_tree_and_wakes_to_nothing(lab: Lab) -> None:
    lab.write_fleet(models={"gated": {"account": "cloud"}})
    reached = lab.root / "reached"
    env = {"REACHED": str(reached), "GATE": str(lab.gate)}
    lab.write(agent="reference", loop="staged", profiles={"one": {"model": "gated", "env": env}})
    process = lab.start("run", str(lab.file), env=SHORT_LEASE)
    until(reached.exists, "the BUILD stage")
    frozen = lab.workers(process)["cloud"]
    send(frozen, signal.SIGSTOP)
    until(lambda: "lease_lost" in lab.results.outcomes(), "the lease to be taken away")
    lab.gate.touch()
    # Another worker of the same machine finds the tree in other hands.
    given = Path(f"/proc/{frozen}/environ").read_bytes().decode().split("\0")
    (broker,) = (line for line in given if line.startswith("BAKEOFF_BROKER_URL="))
    name, _, url = broker.partition("=")
    other = lab.start("worker", "cloud", "--account", "cloud", env=SHORT_LEASE | {name: url})
    until(lambda: lab.results.outcomes() == ["lease_lost", "complete"], "the second attempt")
    first, second = lab.results.attempts()
    (note,) = events(lab, "StartedClean")
    assert "held by another process" in note["data"]
    assert second["run_dir"] != first["run_dir"]
    send(frozen, signal.SIGCONT)
    done = lab.end_of(process)
    other.terminate()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert lab.results.attempts()[1]["final_sha"] == second["final_sha"]
    until(lambda: "result_refused" in lab.logs() or frozen not in lab.workers(process).values(), "it to wake")


def test_a_tree_that_is_gone_is_begun_anew_and_the_record_says_so(lab: Lab) -> None:
    lab.write_fleet(models={"interrupted": {"account": "cloud"}})
    lab.write(agent="reference", profiles={"one": "interrupted"}, limits={"rate_limit_wait": "1s"})
    process = lab.start("run", str(lab.file))
    lab.await_job("parked")
    (first,) = lab.results.attempts()
    Path(str(first["run_dir"])).rename(lab.root / "elsewhere")
    assert lab.end_of(process).code == ExitCode.OK, lab.logs()
    _, second = lab.results.attempts()
    assert (second["outcome"], second["resumed_from"]) == ("complete", None)
    (note,) = events(lab, "StartedClean")
    assert "is gone" in note["data"]
    assert final_file(lab, second, "steps.txt") == "one\ntwo\n"


def test_a_crowded_context_goes_on_in_a_fresh_session_with_a_hand_over(lab: Lab) -> None:
    lab.write_fleet(models={"crowded": {}, "crammed": {}})
    lab.write(agent="reference", profiles={"crowded": "crowded", "crammed": "crammed"})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    jobs = {row["profile"]: row for row in lab.results.jobs()}
    assert {name: row["outcome"] for name, row in jobs.items()} == {
        "crowded": "complete",
        "crammed": "compaction_failed",
    }
    for row in lab.results.attempts():
        before, after = (stage for stage in lab.results.stages() if stage["attempt_id"] == row["id"])
        assert before["kill_reason"].startswith("compact: context at 86.0 %")
        assert (before["stage"], before["outcome"], before["resumed"]) == ("run", None, 0)
        assert "echo one >> steps.txt" in before["handover"]
        assert (after["stage"], after["resumed"]) == ("run", 1)
        assert before["session_id"] != after["session_id"]
        if row["job_id"] == jobs["crowded"]["id"]:
            assert final_file(lab, row, "steps.txt") == "one\ntwo\n"
    lab.assert_clean()


def test_each_stage_of_a_hybrid_profile_is_held_to_the_window_of_its_own_model(lab: Lab) -> None:
    wide, narrow = {"account": "cloud", "context_window": 200_000}, {"account": "cloud", "context_window": 100_000}
    lab.write_fleet(models={"reader": wide, "crowded": narrow})
    hybrid = {"reasoning": "reader", "build": "crowded"}
    lab.write(agent="reference", loop="staged", profiles={"hybrid": hybrid})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    (attempt,) = lab.results.attempts()
    assert attempt["outcome"] == "complete"
    told = [
        (row["stage"], row["context_window"], row["context_peak_tokens"], row["kill_reason"], row["resumed"])
        for row in lab.results.stages()
    ]
    assert told[:2] == [
        ("plan", 200_000, 86_000, None, 0),
        ("build", 100_000, 86_000, "compact: context at 86.0 %", 0),
    ]
    assert [(stage, window, resumed) for stage, window, _, _, resumed in told[2:]] == [("build", 100_000, 1)]
    assert final_file(lab, attempt, "steps.txt") == "one\ntwo\n"


def test_a_session_that_a_limit_met_too_full_is_not_taken_up_but_handed_over(lab: Lab) -> None:
    lab.write_fleet(models={"brimful": {"account": "cloud"}})
    lab.write(agent="reference", profiles={"one": "brimful"}, limits={"rate_limit_wait": "1s"})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    first, second = lab.results.attempts()
    assert (first["outcome"], second["outcome"]) == ("quota_parked", "complete")
    before, after = sorted(lab.results.stages(), key=lambda stage: int(stage["ordinal"]))
    assert before["session_id"] != after["session_id"]
    assert final_file(lab, second, "steps.txt") == "one\ntwo\n"


@both
def test_a_session_that_the_agent_no_longer_knows_is_handed_over_to_a_fresh_one(lab: Lab, name: str) -> None:
    lab.write_fleet(models={"interrupted": {"account": "cloud"}})
    lab.write(agent=use_agent(lab, name), profiles={"one": "interrupted"}, limits={"rate_limit_wait": "1s"})
    process = lab.start("run", str(lab.file))
    lab.await_job("parked")
    (first,) = lab.results.attempts()
    shutil.rmtree(Path(str(first["run_dir"])) / "home")
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    _, second = lab.results.attempts()
    assert (second["outcome"], second["resumed_from"]) == ("complete", first["id"])
    before, failed, after = sorted(lab.results.stages(), key=lambda stage: int(stage["ordinal"]))
    assert (failed["outcome"], after["outcome"]) == ("agent_error", None)
    assert before["session_id"] != after["session_id"]
    assert final_file(lab, second, "steps.txt") == "one\ntwo\n", "the fresh session was told what was done"
    lab.assert_clean()


@pytest.mark.agents
def test_opencode_makes_room_by_itself_and_stays_in_its_session(lab: Lab) -> None:
    lab.write_fleet(models={"squeezed": {}})
    lab.write(agent=use_agent(lab, "opencode"), profiles={"one": "squeezed"})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    (attempt,) = lab.results.attempts()
    (stage,) = lab.results.stages()
    assert (attempt["outcome"], stage["kill_reason"]) == ("complete", None)
    assert stage["context_peak_tokens"] >= 86_000 > stage["context_tokens"]
    assert len(events(lab, "Compacted")) == 1
    assert final_file(lab, attempt, "steps.txt") == "one\ntwo\n"
    assert not list(Path(str(attempt["run_dir"])).glob("home/.npm*")), "it asked the npm registry for nothing"
    lab.assert_clean()
