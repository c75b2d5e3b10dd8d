"""`bakeoff run` as a user has it: the happy path to the byte, and every guard end to end with scripted models."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.repos import fingerprint, git, make_repo, set_traps
from tests.support.results import Row
from tests.support.scripted import scripted_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a scripted model server that this test process shares."""
    with scripted_models(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path, models: str) -> Iterator[Lab]:
    with closing(Lab(tmp_path, base_url=models)) as one:
        yield one


# -- the happy path --


def test_a_run_leaves_right_results_and_the_repository_as_it_was(lab: Lab) -> None:
    marker = lab.root / "trap"
    set_traps(lab.target, marker)
    before = fingerprint(lab.target)
    lab.write_fleet(models={"good": {"account": "cloud"}, "small": {}})
    lab.write(
        agent="reference",
        targets=[
            {
                "repo": "target",
                "base": "main",
                "task": "TASK.md",
                "setup": "echo ready > setup.txt",
                "checks": {"greets": "grep -q world hello.txt", "never": "false"},
            }
        ],
        profiles={"cloud": "good", "local": "small"},
    )
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert fingerprint(lab.target) == before
    assert not marker.exists(), marker.read_text()
    jobs = {row["profile"]: row for row in lab.results.jobs()}
    assert {name: (row["state"], row["outcome"]) for name, row in jobs.items()} == {
        "cloud": ("done", "complete"),
        "local": ("done", "complete"),
    }
    assert lab.results.checks("baseline") == {"greets": "fail", "never": "fail"}
    assert lab.results.checks("final") == {"greets": "pass", "never": "fail"}
    for row in lab.results.attempts():
        _assert_figures(lab, row["id"])
        _assert_kept(lab, row)
    lab.assert_clean()


_TOKENS = ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens")


def _assert_figures(lab: Lab, attempt: str) -> None:
    (stage,) = (row for row in lab.results.stages() if row["attempt_id"] == attempt)
    told = {name: stage[name] for name in ("stage", "outcome", "requests", "turns", "tool_calls", *_TOKENS)}
    assert told == {
        "stage": "run",
        "outcome": None,
        "requests": 2,
        "turns": 2,
        "tool_calls": 1,
        # Disjoint kinds: input without what came from the cache, output without what was reasoning.
        "input_tokens": 1300,
        "cache_read_tokens": 800,
        "output_tokens": 48,
        "reasoning_tokens": 12,
    }
    assert stage["gateway_total_tokens"] == stage["stream_total_tokens"] == 2160
    assert stage["model_served"] == stage["model_asked"]


def _assert_kept(lab: Lab, attempt: Row) -> None:
    rows = lab.results.rows("SELECT * FROM artifacts WHERE attempt_id = ?", [attempt["id"]])
    kept = {row["name"]: row for row in rows}
    for row in kept.values():
        content = lab.artifact(row["sha256"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert len(content) == row["size_bytes"]
    assert {"changes.patch", "commits.bundle", "setup.log", "01-run.transcript", "01-run.prompt.md"} <= set(kept)
    clone = lab.root / f"clone-{attempt['id']}"
    git(lab.root, "clone", "-q", str(lab.target), str(clone))
    git(clone, "checkout", "-q", str(attempt["base_sha"]))
    # The patch is the agent's work alone, the bundle everything after the base.
    git(clone, "apply", "--index", str(lab.artifact(kept["changes.patch"]["sha256"])))
    assert git(clone, "status", "--porcelain").split() == ["M", "hello.txt", "A", "new.txt"]
    git(clone, "fetch", "-q", str(lab.artifact(kept["commits.bundle"]["sha256"])), str(attempt["branch"]))
    assert git(clone, "rev-parse", "FETCH_HEAD").strip() == attempt["final_sha"]
    names = git(clone, "diff", "--cached", "--name-only", "FETCH_HEAD").split()
    assert names == ["setup.txt"], "the final tree is the base, what setup left, and the patch"
    assert (attempt["files_changed"], attempt["lines_added"], attempt["lines_removed"]) == (2, 2, 1)


def test_a_second_run_does_nothing_and_a_longer_file_only_what_is_new(lab: Lab) -> None:
    lab.write()
    assert lab.run().code == ExitCode.OK
    first = lab.results.attempts()
    again = lab.run()
    assert again.code == ExitCode.OK
    assert "1 jobs, 0 new" in again.err
    assert lab.results.attempts() == first
    lab.write(profiles={"one": "model", "two": {"model": "model", "agent": "wait"}}, repeats=2)
    lab.gate.touch()
    longer = lab.run()
    assert "4 jobs, 3 new" in longer.err
    assert lab.results.attempts()[:1] == first
    assert lab.results.outcomes() == ["complete"] * 4
    lab.assert_no_overlap()


def test_json_of_a_run_is_the_report_and_nothing_else(lab: Lab) -> None:
    lab.write()
    done = lab.bakeoff("run", "--json", str(lab.file))
    assert done.code == ExitCode.OK
    assert isinstance(json.loads(done.out), dict)
    assert "1 new" in done.err


# -- the guards --

# Each model breaks in one way, and each limit is broken by one of them. (state, outcome) of its job at the end.
_EXPECTED = {
    "silent": ("failed", "idle_timeout"),
    "slow": ("failed", "stage_timeout"),
    "patient": ("failed", "wall_timeout"),
    "full": ("failed", "context_kill"),
    "chatty": ("failed", "turn_limit"),
    "hungry": ("failed", "token_limit"),
    "dear": ("failed", "cost_limit"),
    "circles": ("failed", "loop_detected"),
    "clumsy": ("failed", "failure_breaker"),
    "wordy": ("failed", "context_kill"),
    "lazy": ("failed", "no_progress"),
    "imposter": ("invalid", "model_mismatch"),
    "limited": ("done", "complete"),
    "locked": ("failed", "auth_error"),
    "absent": ("failed", "model_unavailable"),
    "unprepared": ("failed", "setup_failed"),
    "unchecked": ("done", "complete"),
}


def test_every_guard_ends_what_it_should_with_its_own_outcome(lab: Lab) -> None:
    make_repo(lab.root / "broken")
    own: dict[str, dict[str, object]] = {
        "full": {"context_window": 10_000},
        "hungry": {"context_window": 10_000_000},
        "dear": {"prices": {"dated": "2026-07-01", "input": 100, "output": 100}},
        "absent": {"account": "nobody"},
    }
    lab.write_fleet(slots=6, models={name: own.get(name, {}) for name in _EXPECTED})
    lab.write(
        agent="reference",
        targets=[
            {"repo": "target", "base": "main", "task": "TASK.md"},
            {"repo": "broken", "task": "TASK.md", "setup": "echo no >&2; exit 3"},
            {"repo": "broken", "name": "slowcheck", "task": "TASK.md", "checks": {"slow": _SLOW_CHECK}},
        ],
        profiles={name: name for name in _EXPECTED},
        include=[
            {"target": "broken", "profile": "unprepared"},
            {"target": "slowcheck", "profile": "unchecked"},
            {"target": "target", "profile": [name for name in _EXPECTED if name not in ("unprepared", "unchecked")]},
        ],
        limits=_LIMITS,
    )
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    jobs = {row["profile"]: row for row in lab.results.jobs()}
    found = {name: (row["state"], row["outcome"]) for name, row in jobs.items()}
    assert found == _EXPECTED, {name: row["detail"] for name, row in jobs.items()}
    # Of the machine's faults each job gets two tries, of its own one.
    tries = {name: row["attempts"] for name, row in jobs.items() if row["attempts"] != 1}
    assert tries == {"locked": 2, "absent": 2, "unprepared": 2}
    assert lab.results.checks("final") == {"slow": "fail"}
    (check,) = lab.results.rows("SELECT reason FROM checks WHERE kind = 'final'")
    assert check["reason"] == "timeout"
    waits = {row["job_id"]: row["rate_limit_wait_seconds"] for row in lab.results.attempts()}
    assert 0.5 < waits[jobs["limited"]["id"]] < 5
    (clumsy,) = (row["id"] for row in lab.results.attempts() if row["job_id"] == jobs["clumsy"]["id"])
    stages = [row["outcome"] for row in lab.results.stages() if row["attempt_id"] == clumsy]
    assert stages == ["agent_error"] * 2
    lab.assert_clean()


_SLOW_CHECK = {"run": "sleep 30", "timeout": "1s"}
_LIMITS = {
    "idle_timeout": "4s",
    "stage_timeout": "7s",
    "wall_timeout": "9s",
    "grace": "200ms",
    "max_turns": 12,
    "max_tokens": 1_000_000,
    "max_cost_usd": 1.0,
    "max_failures": 2,
    "max_repeated_calls": 4,
    "max_infra_attempts": 2,
    "rate_limit_wait": "60s",
}


def test_who_takes_too_much_of_the_machine_is_ended(lab: Lab) -> None:
    expected = {"glutton": "memory_limit", "swarm": "process_limit", "hoarder": "disk_limit", "chatty": "turn_limit"}
    lab.write_fleet(slots=4, models={name: {} for name in expected})
    caps = {"max_memory_bytes": 250_000_000, "max_processes": 30, "max_disk_bytes": 20_000_000, "max_turns": 3}
    lab.write(agent="reference", profiles={name: name for name in expected}, limits={"grace": "200ms", **caps})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    jobs = lab.results.jobs()
    assert {row["profile"]: row["outcome"] for row in jobs} == expected, [row["detail"] for row in jobs]
    lab.assert_clean()


def test_a_long_limit_parks_job_and_account_and_the_job_wakes_by_itself(lab: Lab) -> None:
    lab.write_fleet(models={"used-up": {"account": "cloud"}})
    lab.write(agent="reference", profiles={"one": "used-up"}, repeats=2, limits={"rate_limit_wait": "1s"})
    process = lab.start("run", str(lab.file))
    parked = lab.await_job("parked")
    (breaker,) = lab.results.rows("SELECT * FROM breakers")
    assert (breaker["scope"], breaker["failures"]) == ("account:cloud", 0)
    assert breaker["until"] >= parked["wake_at"] > parked["created_at"]
    status = lab.bakeoff("status", "--json")
    reasons = {job["state"]: job["waiting_reason"] for job in json.loads(status.out)["jobs"]}
    assert "quota_parked" in reasons["parked"]
    assert "parked" in reasons["ready"]
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert lab.results.outcomes()[0] == "quota_parked"
    assert {row["state"] for row in lab.results.jobs()} == {"done"}
    assert [row["infra_attempts"] for row in lab.results.jobs()] == [0, 0]
    moves = lab.results.rows("SELECT scope, to_state FROM breaker_events ORDER BY id")
    # Which of the two jobs is the probe decides whether the other one meets the limit again.
    assert {row["scope"] for row in moves} == {"account:cloud"}
    states = [row["to_state"] for row in moves]
    assert (states[:2], states[-1]) == (["open", "half_open"], "closed")
    lab.assert_clean()


def test_a_limit_that_is_waited_out_counts_as_waiting_and_not_as_work(lab: Lab) -> None:
    lab.write_fleet(models={"limited": {"account": "cloud"}})
    lab.write(agent="reference", profiles={"one": "limited"}, limits={"stage_timeout": "20s"})
    assert lab.run().code == ExitCode.OK
    (attempt,) = lab.results.attempts()
    assert attempt["outcome"] == "complete"
    assert attempt["rate_limit_wait_seconds"] > 0.5
    assert attempt["working_seconds"] == pytest.approx(attempt["wall_seconds"] - attempt["rate_limit_wait_seconds"])
