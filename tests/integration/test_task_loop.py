"""The loop `tasks` end to end: real git takes refused work back, and a task that is refused too often is split."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.processes import kill
from tests.support.results import Row
from tests.support.scripted import scripted_models
from tests.support.waiting import until


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scripted_models(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path, models: str) -> Iterator[Lab]:
    with closing(Lab(tmp_path, base_url=models)) as one:
        yield one


def run(lab: Lab, model: str, **keys: object) -> Row:
    lab.write_fleet(models={model: {"account": "cloud"}})
    lab.write(agent="reference", loop="tasks", profiles={"one": model}, **keys)
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    lab.assert_clean()
    (attempt,) = lab.results.attempts()
    return attempt


def artifact(lab: Lab, name: str) -> str:
    (attempt,) = lab.results.attempts()
    return artifact_of(lab, attempt, name)


def artifact_of(lab: Lab, attempt: Row, name: str) -> str:
    query = "SELECT sha256 FROM artifacts WHERE attempt_id = ? AND name = ?"
    (row,) = lab.results.rows(query, [attempt["id"], name])
    return lab.artifact(row["sha256"]).read_text()


def stages(lab: Lab) -> list[tuple[str, str | None]]:
    return [(row["stage"], row["task"]) for row in lab.results.stages()]


def test_refused_work_is_taken_back_and_tried_again(lab: Lab) -> None:
    attempt = run(lab, "manager")
    assert (attempt["outcome"], attempt["detail"]) == (
        "complete",
        "the agent finished its work; 2 of 2 tasks accepted",
    )
    assert stages(lab) == [
        ("plan", None),
        ("investigate", "1,2"),
        ("build", "1"),
        ("build", "2"),
        ("verify", "1,2"),
        ("build", "1"),
        ("verify", "1"),
    ]
    (back,) = lab.results.rows("SELECT data FROM events WHERE kind = 'WorkTakenBack'")
    rows = lab.results.stages()
    assert json.loads(back["data"]) == {"refused": rows[2]["commit_sha"], "commit": rows[4]["commit_sha"]}
    patch = artifact(lab, "changes.patch")
    assert [line for line in patch.splitlines() if line.startswith("+++")] == ["+++ b/one", "+++ b/two"]
    assert attempt["commits"] == 4
    ledger = json.loads(artifact(lab, "tasks.json"))
    assert (ledger["accepted"], ledger["planned"]) == (2, 2)
    assert [(task["task_id"], task["state"], task["rejects"]) for task in ledger["tasks"]] == [
        ("1", "accepted", 1),
        ("2", "accepted", 0),
    ]


def test_a_task_that_is_refused_too_often_is_split(lab: Lab) -> None:
    attempt = run(lab, "splitter", limits={"max_decompose_depth": 1})
    assert (attempt["outcome"], attempt["detail"]) == (
        "complete",
        "the agent finished its work; 1 of 1 tasks accepted",
    )
    assert stages(lab) == [
        ("plan", None),
        ("plan", None),
        ("investigate", "1"),
        *[("build", "1"), ("verify", "1")] * 2,
        ("decompose", "1"),
        ("investigate", "1.1,1.2"),
        ("build", "1.1"),
        ("build", "1.2"),
        ("verify", "1.1,1.2"),
    ]
    patch = artifact(lab, "changes.patch")
    assert [line for line in patch.splitlines() if line.startswith("+++")] == ["+++ b/one", "+++ b/two"]


def test_the_ledger_says_the_same_in_the_database_in_the_tree_and_in_the_report(lab: Lab) -> None:
    runs = lab.root / "runs"
    check = {"two": f"pwd >> {runs}; grep good two || {{ echo two is bad; exit 1; }}"}
    target = {"repo": "target", "base": "main", "task": "TASK.md", "checks": check}
    attempt = run(lab, "careless", targets=[target])
    assert (attempt["outcome"], attempt["detail"]) == (
        "complete",
        "the agent finished its work; 2 of 2 tasks accepted",
    )
    assert stages(lab)[4:] == [("verify", "1,2"), ("build", "c1"), ("verify", "c1")]
    said = [row["checks"] for row in lab.results.stages()]
    assert said == [*[None] * 4, "two: fail, exit code 1\ntwo is bad", None, ""]
    # On the base, when the loop asked, and when it asked again: that was the last commit, and is not run once more.
    assert [Path(line).parent.name for line in runs.read_text().split()] == [
        "checks-baseline",
        "checks-asked-05",
        "checks-asked-07",
    ]
    assert lab.results.checks("final") == {"two": "pass"}
    (log,) = lab.results.rows("SELECT log_sha256 FROM checks WHERE kind = 'final'")
    assert lab.artifact(log["log_sha256"]).read_text() == "good\n"
    # Each BUILD read the ledger as it stood, whatever the one before had done to the file.
    tree = Path(str(attempt["run_dir"])) / "tree"
    seen = [json.loads((tree / f"seen-{number}").read_text()) for number in (1, 2, 3)]
    assert [[task["state"] for task in one["tasks"]] for one in seen] == [
        ["ready", "ready"],
        ["built", "ready"],
        ["accepted", "accepted", "ready"],
    ]
    assert [(one["accepted"], one["planned"]) for one in seen] == [(0, 2), (0, 2), (2, 2)]
    # The file, the artifact, the rows and the commands agree.
    file = json.loads((tree / ".git/bakeoff/tasks.json").read_text())
    assert file == json.loads(artifact(lab, "tasks.json"))
    (why,) = [json.loads(lab.bakeoff("why", "1", "--json").out)]
    rows = [{key: row[key] for key in file["tasks"][0]} for row in why["tasks"]]
    assert rows == file["tasks"]
    commits = [row["commit_sha"] for row in lab.results.stages() if row["stage"] == "build"]
    assert [task["commit_sha"] for task in file["tasks"]] == commits
    (job,) = json.loads(lab.bakeoff("report", "--json").out)["jobs"]
    (live,) = json.loads(lab.bakeoff("status", "--json").out)["jobs"]
    for told in (why, job, live):
        assert (told["tasks_accepted"], told["tasks_planned"]) == (2, 2), "a repair is no task of the plan"
    assert job["solved"]
    assert "tasks: 2 of 2 accepted" in lab.bakeoff("why", "1").out


def test_every_profile_gets_the_plan_of_the_file_and_its_own_prompts(lab: Lab) -> None:
    """What `why --json` printed of a run is a plan for others."""
    run(lab, "manager")
    (lab.root / "plan.json").write_text(lab.bakeoff("why", "1", "--json").out)
    (lab.root / "own.md").write_text("stage: build\nMine, for $$5:\n\n$chosen\n")
    lab.write_fleet(models={"manager": {"account": "cloud"}, "careless": {"account": "cloud"}})
    lab.write(
        experiment="shared",
        agent="reference",
        loop="tasks",
        profiles={"one": "manager", "two": {"model": "careless", "prompts": {"build": "own.md"}}},
        targets=[{"repo": "target", "base": "main", "task": "TASK.md", "plan": "plan.json"}],
    )
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    jobs = json.loads(lab.bakeoff("report", "shared", "--json").out)["jobs"]
    assert [(job["profile"], job["tasks_accepted"], job["tasks_planned"]) for job in jobs] == [
        ("one", 2, 2),
        ("two", 2, 2),
    ]
    query = (
        "SELECT count(*) AS n FROM stages JOIN attempts a ON a.id = attempt_id WHERE job_id > 1 AND stage = 'plan'"
    )
    assert lab.results.rows(query) == [{"n": 0}], "nobody plans"
    query = "SELECT sha256 FROM artifacts JOIN attempts a ON a.id = attempt_id WHERE job_id = ? AND name = ?"
    ids = {job["profile"]: job["job_id"] for job in jobs}
    (mine,) = lab.results.rows(query, [ids["two"], "02-build.prompt.md"])
    assert (
        lab.artifact(mine["sha256"]).read_text().startswith("stage: build\nMine, for $5:\n\n## Task 1\n\nwrite one")
    )


def test_killed_in_the_second_task_it_goes_on_there(lab: Lab) -> None:
    reached = lab.root / "reached"
    lab.write_fleet(models={"gated-tasks": {"account": "cloud"}})
    env = {"REACHED": str(reached), "GATE": str(lab.gate)}
    lab.write(agent="reference", loop="tasks", profiles={"one": {"model": "gated-tasks", "env": env}})
    process = lab.start("run", str(lab.file))
    until(reached.exists, "the BUILD of the second task")
    kill(lab.workers(process)["cloud"])
    lab.gate.touch()
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    first, second = lab.results.attempts()
    assert (first["outcome"], second["outcome"]) == ("lease_lost", "complete")
    assert second["detail"] == "the agent finished its work; 2 of 2 tasks accepted"
    told: dict[str, list[object]] = {attempt["id"]: [] for attempt in (first, second)}
    for row in lab.results.stages():
        told[row["attempt_id"]].append((row["ordinal"], row["stage"], row["task"]))
    assert told[first["id"]] == [(1, "plan", None), (2, "investigate", "1,2"), (3, "build", "1"), (4, "build", "2")]
    assert told[second["id"]] == [(4, "build", "2"), (5, "verify", "1,2")], "no stage that had ended is repeated"
    ledgers = {
        attempt["id"]: lab.results.rows("SELECT * FROM tasks WHERE attempt_id = ? ORDER BY position", [attempt["id"]])
        for attempt in (first, second)
    }
    states = {
        name: [(row["task_id"], row["state"], row["planned"]) for row in rows] for name, rows in ledgers.items()
    }
    assert states[first["id"]] == [("1", "built", 1), ("2", "ready", 1)]
    assert states[second["id"]] == [("1", "accepted", 1), ("2", "accepted", 1)]
    patch = [line for line in artifact_of(lab, second, "changes.patch").splitlines() if line.startswith("+++")]
    assert patch == ["+++ b/one", "+++ b/two"], "what the killed stage had left is gone"
    (job,) = json.loads(lab.bakeoff("report", "--json").out)["jobs"]
    assert (job["tasks_accepted"], job["tasks_planned"]) == (2, 2)
    lab.assert_clean()


def test_killed_while_the_checks_are_asked_it_asks_them_again_and_repeats_no_stage(lab: Lab) -> None:
    reached = lab.root / "reached"
    waits = f"[ -e two ] || exit 1; touch {reached}; until [ -e {lab.gate} ]; do sleep 0.05; done"
    lab.write_fleet(models={"gated-tasks": {"account": "cloud"}})
    target = {"repo": "target", "base": "main", "task": "TASK.md", "checks": {"two": waits}}
    profile = {"model": "gated-tasks", "env": {"GATE": "/dev/null"}}
    lab.write(agent="reference", loop="tasks", profiles={"one": profile}, targets=[target])
    process = lab.start("run", str(lab.file))
    until(reached.exists, "the checks behind the last task")
    kill(lab.workers(process)["cloud"])
    lab.gate.touch()
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    first, second = lab.results.attempts()
    assert (first["outcome"], second["outcome"]) == ("lease_lost", "complete")
    assert [row["attempt_id"] for row in lab.results.stages()] == [first["id"]] * 5
    assert lab.results.checks("final") == {"two": "pass"}
    (job,) = json.loads(lab.bakeoff("report", "--json").out)["jobs"]
    assert (job["tasks_accepted"], job["tasks_planned"], job["solved"]) == (2, 2, True)
    lab.assert_clean()


def test_a_builder_that_promises_and_edits_nothing_is_ended_with_what_repeated(lab: Lab) -> None:
    lab.write_fleet(models={"promising": {"account": "cloud"}})
    lab.write(agent="reference", loop={"kind": "staged", "max_builds": 50}, profiles={"one": "promising"})
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    (attempt,) = lab.results.attempts()
    assert (attempt["outcome"], attempt["detail"]) == (
        "loop_detected",
        "3 stages build in a row changed no file",
    )
    assert [stage for stage, _ in stages(lab)] == ["plan", "build", "build", "build"]


def test_depth_and_batches_are_axes_that_change_what_happens(lab: Lab) -> None:
    lab.write_fleet(models={"splitter": {"account": "cloud"}})
    swept = {"max_decompose_depth": [0, 1], "verify_batch_size": [1, 5]}
    lab.write(agent="reference", loop="tasks", profiles={"one": "splitter"}, limits=swept)
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    found = {}
    for row in lab.results.jobs():
        count = "SELECT count(*) AS n FROM stages JOIN attempts a ON a.id = attempt_id WHERE a.job_id = ?"
        found[row["key"].partition("[")[2]] = row["outcome"], lab.results.rows(count, [row["id"]])[0]["n"]
    assert found == {
        "max_decompose_depth=0,verify_batch_size=1]": ("tasks_left", 7),
        "max_decompose_depth=0,verify_batch_size=5]": ("tasks_left", 7),
        "max_decompose_depth=1,verify_batch_size=1]": ("complete", 13),
        "max_decompose_depth=1,verify_batch_size=5]": ("complete", 12),
    }
    lab.assert_clean()
