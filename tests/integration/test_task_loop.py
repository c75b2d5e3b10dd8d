"""The loop `tasks` end to end: real git takes refused work back, and a task that is refused too often is split."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.results import Row
from tests.support.scripted import scripted_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scripted_models(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path, models: str) -> Iterator[Lab]:
    with closing(Lab(tmp_path, base_url=models)) as one:
        yield one


def run(lab: Lab, model: str, **limits: object) -> Row:
    lab.write_fleet(models={model: {"account": "cloud"}})
    lab.write(agent="reference", loop="tasks", profiles={"one": model}, limits=limits)
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    lab.assert_clean()
    (attempt,) = lab.results.attempts()
    return attempt


def artifact(lab: Lab, name: str) -> str:
    (row,) = lab.results.rows("SELECT sha256 FROM artifacts WHERE name = ?", [name])
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
    assert [(task["id"], task["state"], task["rejects"]) for task in ledger] == [
        ("1", "accepted", 1),
        ("2", "accepted", 0),
    ]


def test_a_task_that_is_refused_too_often_is_split(lab: Lab) -> None:
    attempt = run(lab, "splitter", max_decompose_depth=1)
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
