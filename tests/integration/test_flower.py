"""Flower beside a real run: behind a login, read-only, telling what happens, through restarts of everything."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.broker import TASK_NAME, celery_app
from orchestrator.flower import MAX_TASKS, without_logins
from orchestrator.settings import load_settings
from tests.support.flower import (
    PASSWORD,
    FlowerProcess,
    command_and_environment,
    free_port,
    held_models,
    write_held_matrix,
)
from tests.support.lab import Lab
from tests.support.processes import kill
from tests.support.waiting import until

PROTECTED = [
    "/",
    "/tasks",
    "/tasks/datatable",
    "/broker",
    "/api/tasks",
    "/api/workers",
    "/metrics",
    "/static/x",
    "/x",
]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Lets the build stage end."""
    return tmp_path / "go-on"


@pytest.fixture
def lab(tmp_path: Path, gate: Path) -> Iterator[Lab]:
    """A lab whose only job plans at once, and then builds until the gate is open."""
    with held_models(tmp_path, gate) as url:
        lab = Lab(tmp_path, base_url=url)
        write_held_matrix(lab, {"opus": "opus"})
        yield lab
        gate.touch()
        lab.close()


def test_a_job_is_watched_from_its_stage_to_its_outcome(lab: Lab, gate: Path) -> None:
    run = lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    flower = FlowerProcess(lab, free_port())

    task = flower.task_with(state="PROGRESS", result="build with opus: 2 requests")
    assert (task["name"], task["args"], task["kwargs"]) == ("bakeoff.job", "greeting target/opus #1", "")
    assert "14 %" in task["result"]
    assert "greeting target/opus #1" in flower.get(f"/task/{task['uuid']}").text

    gate.touch()
    ended = flower.task_with(state="SUCCESS")
    assert ended["result"] == "'complete'"
    assert ended["uuid"] == task["uuid"]
    assert lab.end_of(run).code == 0
    flower.stop()


def test_nothing_is_told_without_the_login_and_nothing_can_be_changed_with_it(lab: Lab) -> None:
    lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    flower = FlowerProcess(lab, free_port(), FLOWER_UNAUTHENTICATED_API="true", FLOWER_BASIC_AUTH="a:b")

    for path in PROTECTED:
        assert flower.get(path, password=None).status == 401, path
        assert flower.get(path, password="wrong").status == 401, path
        assert flower.get(path, user="somebody").status == 401, path
        assert flower.get(path, user="a", password="b").status == 401, path
    assert flower.get("/tasks", password=None).headers["www-authenticate"].startswith("Basic ")
    assert flower.get("/tasks", password="pässword").status == 401
    assert flower.get("/healthcheck", password=None).text == "OK"
    assert [flower.get(path).status for path in ("/", "/tasks", "/metrics", "/broker")] == [200] * 4

    task = flower.task_with(state="PROGRESS")["uuid"]
    for path in (f"/api/task/revoke/{task}", f"/api/task/send-task/{task}", f"/api/worker/shutdown/{task}"):
        assert flower.get(path, method="POST").status == 403, path
        assert flower.get(path, method="POST", password=None).status == 401, path
    flower.stop()


def test_no_password_reaches_a_page_a_command_line_or_a_log(lab: Lab) -> None:
    run = lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    broker_password = (lab.home / "broker.url").read_text().split("://:")[1].split("@")[0]
    flower = FlowerProcess(lab, free_port())
    flower.task_with(state="PROGRESS")
    workers = until(lambda: json.loads(flower.get("/api/workers?refresh=1").text), "the workers to answer")

    pages = ["/", "/tasks", "/broker", "/api/tasks", "/api/workers", "/metrics", "/api/queues/length"]
    pages += [f"/worker/{name}" for name in workers] + [f"/task/{task}" for task in flower.tasks()]
    # The readable name stands for the arguments, one of which is the order token.
    assert flower.task_with(state="PROGRESS")["args"] == "greeting target/opus #1"
    for page in pages:
        answer = flower.get(page)
        assert answer.status == 200, page
        for secret in (broker_password, PASSWORD):
            assert secret not in answer.text, page
    assert "cloud.max" in flower.get("/broker").text  # it can count what waits, so it did log in to the broker

    command, environment = command_and_environment(flower.process.pid)
    assert PASSWORD not in command
    assert broker_password not in command
    assert PASSWORD in environment  # which only this user can read
    said = flower.stop()
    assert PASSWORD not in said
    assert broker_password not in said
    assert broker_password not in lab.logs()
    assert run.poll() is None


def test_it_comes_back_after_its_own_death_and_after_the_brokers(lab: Lab, gate: Path) -> None:
    run = lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    first = FlowerProcess(lab, free_port())
    told = first.task_with(state="PROGRESS", result="build with opus: 2 requests")
    first.process.kill()

    second = FlowerProcess(lab, free_port())
    again = second.task_with(state="PROGRESS", result="build with opus: 2 requests")
    assert [again[name] for name in ("uuid", "name", "args")] == [told[name] for name in ("uuid", "name", "args")]
    # Flower adds its own estimate of the network's delay to the worker's clock.
    assert again["started"] == pytest.approx(told["started"], abs=0.1)

    broker = lab.broker(run)
    assert broker is not None
    kill(broker)
    until(lambda: second.task_with(state="PROGRESS")["timestamp"] > again["timestamp"], "news through the new broker")
    gate.touch()
    second.task_with(state="SUCCESS", result="complete")
    assert lab.end_of(run).code == 0
    second.stop()


def test_it_follows_to_the_next_run_in_the_same_home(lab: Lab, gate: Path) -> None:
    gate.touch()
    run = lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    flower = FlowerProcess(lab, free_port())
    assert lab.end_of(run).code == 0

    gate.unlink()
    write_held_matrix(lab, {"opus": "opus", "second": {"reasoning": "opus", "build": "local"}})
    again = lab.start("run", str(lab.file))
    task = flower.task_with(state="PROGRESS", args="target/second")
    gate.touch()
    flower.task_with(uuid=task["uuid"], state="SUCCESS")
    assert lab.end_of(again).code == 0
    flower.stop()


def test_a_hint_that_comes_too_late_hides_nothing_and_a_flood_of_tasks_is_bounded(lab: Lab) -> None:
    write_held_matrix(lab, {"local": "local"})
    lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    flower = FlowerProcess(lab, free_port())
    task = flower.task_with(state="PROGRESS", result="build with local: 2 requests")

    env = {"BAKEOFF_HOME": str(lab.home), "BAKEOFF_BROKER_URL": (lab.home / "broker.url").read_text()}
    app = celery_app(load_settings(env))
    for task_id in (task["uuid"], "too-late"):
        app.send_task(TASK_NAME, args=[1, "0123456789abcdef"], queue="gpu.box", task_id=task_id, argsrepr="again")
    late = flower.task_with(uuid="too-late", state="REVOKED")
    assert late["args"] == "again"
    assert flower.task_with(uuid=task["uuid"])["state"] == "PROGRESS"

    with app.connection_for_write() as connection, app.events.Dispatcher(connection, hostname="w") as events:
        for number in range(MAX_TASKS + 1000):
            events.send("task-received", uuid=f"flood-{number}", name=TASK_NAME, args="", kwargs="")
    flower.task_with(uuid=f"flood-{MAX_TASKS + 999}")
    assert len(flower.tasks()) == MAX_TASKS
    resident = int(Path(f"/proc/{flower.process.pid}/statm").read_text().split()[1]) * 4096
    assert resident < 250 * 2**20
    flower.stop()


def test_a_password_is_made_and_kept_when_none_is_given(lab: Lab) -> None:
    lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    flower = FlowerProcess(lab, free_port(), BAKEOFF_FLOWER_PASSWORD="")
    file = lab.home / "flower.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text().strip()
    assert flower.get("/tasks", password="").status == 401
    assert flower.get("/tasks", password=made).status == 200
    assert made not in flower.stop()
    again = FlowerProcess(lab, free_port(), BAKEOFF_FLOWER_PASSWORD="")
    assert again.get("/tasks", password=made).status == 200
    again.stop()


def test_what_hinders_it_is_said_in_one_line(lab: Lab) -> None:
    nothing = lab.bakeoff("flower")
    assert nothing.code == 4
    assert "start `bakeoff run` first" in nothing.err
    assert lab.bakeoff("flower", env={"BAKEOFF_BROKER_URL": "redis://x", "BAKEOFF_FLOWER_PASSWORD": "ä"}).code == 2

    lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    port = free_port()
    flower = FlowerProcess(lab, port)
    taken = lab.bakeoff("flower", "--port", str(port))
    assert taken.code == 4
    assert "port_unavailable" in taken.err
    flower.stop()


def test_it_finds_a_shared_broker_by_its_url(lab: Lab, tmp_path: Path) -> None:
    lab.start("run", str(lab.file))
    until((lab.home / "broker.url").exists, "the broker")
    url = (lab.home / "broker.url").read_text()
    flower = FlowerProcess(lab, free_port(), BAKEOFF_BROKER_URL=url, BAKEOFF_HOME=str(tmp_path / "elsewhere"))
    assert flower.task_with(state="PROGRESS")["args"] == "greeting target/opus #1"
    flower.stop()


def test_a_login_is_taken_out_of_every_url() -> None:
    assert without_logins({"a": ["redis://u:p@h/0", 1, None], "b": "socket://:p@/x?y"}) == {
        "a": ["redis://**@h/0", 1, None],
        "b": "socket://**@/x?y",
    }
