"""What goes wrong before and around a run: each with a message that says what, where and what to do, and its code."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab, interrupt
from tests.support.repos import git
from tests.support.waiting import until


def fails(lab: Lab, code: ExitCode, *words: str, command: tuple[str, ...] = ("run",)) -> str:
    """The command fails with this code and says all these words on standard error, and nothing elsewhere."""
    done = lab.bakeoff(*command, str(lab.file))
    assert (done.code, done.out) == (code, ""), done
    for word in words:
        assert word in done.err, done.err
    return done.err


TARGET = {"repo": "target", "base": "main", "task": "TASK.md"}


# -- the files --


@pytest.mark.parametrize("command", ["validate", "plan", "submit", "run", "doctor"])
def test_a_file_that_is_not_there(lab: Lab, command: str) -> None:
    done = lab.bakeoff(command, "nowhere.yaml")
    assert done.code == (ExitCode.UNAVAILABLE if command == "doctor" else ExitCode.INVALID_INPUT)
    assert "nowhere.yaml" in done.out + done.err


@pytest.mark.parametrize("command", [("timeline", "1", "--attempt"), ("cancel", "--job")])
def test_a_number_that_no_row_has(lab: Lab, command: tuple[str, ...]) -> None:
    done = lab.bakeoff(*command, "9" * 20)
    assert (done.code, "is not in the range" in done.err) == (2, True)


def test_every_fault_of_a_file_at_once_with_its_line(lab: Lab) -> None:
    lab.write(profiles={"one": "modle", "two": {"reasoning": "model", "bild": "model"}}, repaets=2)
    told = fails(lab, ExitCode.INVALID_INPUT, "repaets", "modle", "bild", "model", command=("validate",))
    assert told.count(f"{lab.file}:") == 4, "unknown key, unknown model, unknown key, and the 'build' that is missing"
    done = lab.bakeoff("validate", "--json", str(lab.file))
    document = json.loads(done.err)
    assert document["error"]["kind"] == "invalid_input"
    assert all(fault["line"] for fault in document["faults"])


def test_unknown_agent(lab: Lab) -> None:
    lab.write(agent="opencoed")
    fails(lab, ExitCode.INVALID_INPUT, "opencoed", "opencode", command=("validate",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": "mian"}, ("targets[0].base", "mian", "no such branch, tag or commit")),
        ({"task": "TSAK.md"}, ("targets[0].task", "TSAK.md", "no such file at main", "commit it there")),
        ({"repo": "nowhere"}, ("targets[0].repo", "nowhere")),
        ({"repo": "home"}, ("targets[0].repo", "home", "git")),
    ],
)
def test_targets_that_cannot_be_pinned(lab: Lab, change: dict[str, str], words: tuple[str, ...]) -> None:
    lab.home.mkdir()
    lab.write(targets=[TARGET | change])
    fails(lab, ExitCode.INVALID_INPUT, *words)
    assert lab.results.jobs() == []


def test_a_worktree_with_changes(lab: Lab) -> None:
    git(lab.target, "worktree", "add", "-q", str(lab.root / "tree"))
    (lab.root / "tree" / "hello.txt").write_text("mine\n")
    lab.write(targets=[{"worktree": "tree", "task": "TASK.md"}])
    fails(lab, ExitCode.INVALID_INPUT, "targets[0].worktree", "commit or stash", "hello.txt")
    assert (lab.root / "tree" / "hello.txt").read_text() == "mine\n"


# -- what the machine lacks --


def test_agents_that_are_not_installed(lab: Lab) -> None:
    lab.env["PATH"] = path_with(lab, "git", "bash", "sh")
    agents = ("opencode", "mini")
    lab.write(profiles={name: {"model": "model", "agent": name} for name in agents})
    missing = json.loads(lab.bakeoff("plan", "--json", str(lab.file)).out)["missing_agents"]
    if not missing:
        pytest.skip("every agent is installed beside the project itself")
    lab.write(agent=next(iter(missing)))
    fails(lab, ExitCode.UNAVAILABLE, "not installed", *next(iter(missing.items())))
    assert lab.results.jobs() == []


def test_agents_that_cannot_talk_to_their_models(lab: Lab) -> None:
    agents = {"alpha": "codex", "beta": "claude", "gamma": "reference"}
    lab.write(profiles={name: {"model": "model", "agent": agent} for name, agent in agents.items()})
    said = fails(lab, ExitCode.INVALID_INPUT, "profiles.alpha: codex does not speak chat", "accepted: responses")
    assert "profiles.beta: claude does not speak chat" in said
    assert "gamma" not in said


def test_a_command_agent_needs_no_version_but_its_program(lab: Lab) -> None:
    plain = {"command": lab.agent("quick")["command"]}
    lab.write(agent="plain", agents={"plain": plain})
    assert lab.run().code == ExitCode.OK
    lab.write(agent="plain", agents={"plain": {"command": ["no-such-program"]}}, experiment="other")
    fails(lab, ExitCode.UNAVAILABLE, "no-such-program", "not installed")


def path_with(lab: Lab, *programs: str) -> str:
    folder = lab.root / "bin"
    folder.mkdir()
    for name in programs:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


def test_a_model_that_nobody_serves_is_the_machines_fault(lab: Lab) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        lab.base_url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    lab.write(agent="reference", limits={"max_infra_attempts": 2})
    done = lab.run()
    assert done.code == ExitCode.OK
    assert lab.results.outcomes() == ["model_unavailable"] * 2
    report = json.loads(lab.bakeoff("report", "--json").out)
    (profile,) = report["profiles"]
    assert profile["results"] == 0, "it says nothing about the profile"
    lab.assert_clean()


def test_a_secret_that_is_not_set(lab: Lab) -> None:
    lab.write_fleet(account={"key": "env:LAB_KEY"})
    lab.write(agent="reference", limits={"max_infra_attempts": 1})
    done = lab.run()
    assert done.code == ExitCode.OK
    (attempt,) = lab.results.attempts()
    assert attempt["outcome"] == "infra_error"
    assert "export LAB_KEY" in attempt["detail"]


# -- the database and its home --


def test_a_home_that_cannot_be_made(lab: Lab) -> None:
    lab.write()
    lab.home.write_text("a file")
    fails(lab, ExitCode.STORAGE, str(lab.home), "BAKEOFF_HOME")


def test_a_file_that_is_no_database(lab: Lab) -> None:
    lab.write()
    lab.home.mkdir()
    (lab.home / "bakeoff.db").write_text("this is not a database, and it is long enough to look like one" * 20)
    fails(lab, ExitCode.STORAGE, "bakeoff.db", "not a Bakeoff database")


def test_a_database_of_a_newer_program(lab: Lab) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    with closing(sqlite3.connect(lab.home / "bakeoff.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    fails(lab, ExitCode.CONFLICT, "9999", "update Bakeoff")


@contextmanager
def read_only(lab: Lab) -> Iterator[None]:
    """The home on a file system that is mounted read-only: permissions do not bind root."""
    subprocess.run(["mount", "--bind", str(lab.home), str(lab.home)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(lab.home)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(lab.home)], check=True)


def can_mount(folder: Path) -> bool:
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        return False
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


def test_a_database_that_cannot_be_written(lab: Lab) -> None:
    if not can_mount(lab.root / "probe"):
        pytest.skip("mounting needs root and a kernel that lets it")
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    lab.write(repeats=2)
    with read_only(lab):
        told = fails(lab, ExitCode.STORAGE, "bakeoff.db", command=("submit",))
        assert "permissions" in told or "BAKEOFF_HOME" in told
        assert lab.bakeoff("run", str(lab.file)).code in (ExitCode.STORAGE, ExitCode.UNAVAILABLE)
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK


def test_a_database_that_somebody_holds(lab: Lab) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    lab.write(repeats=2)
    with closing(sqlite3.connect(lab.home / "bakeoff.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        fails(lab, ExitCode.STORAGE, "bakeoff.db", "another process holds the database", command=("submit",))


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(lab: Lab) -> None:
    if not can_mount(lab.root / "probe"):
        pytest.skip("mounting needs root and a kernel that lets it")
    lab.write(agent="wait", limits={"max_infra_attempts": 1})
    lab.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(lab.home)], check=True)
    try:
        process = lab.start("run", str(lab.file), env={"BAKEOFF_MIN_FREE_DISK_MIB": "0"})
        lab.await_start()
        filler = lab.home / "filler"
        with filler.open("wb", buffering=0) as sink, suppress(OSError):
            while True:
                sink.write(bytes(4096))
        assert shutil.disk_usage(lab.home).free == 0
        lab.gate.touch()
        until(lambda: lab.notes("end"), "the agent to end")
        filler.unlink()
        done = lab.end_of(process)
        assert done.code == ExitCode.OK, done.err + lab.logs()
        (attempt,) = lab.results.attempts()
        assert attempt["outcome"] in ("complete", "infra_error"), attempt
        lab.assert_clean()
    finally:
        lab.close()
        subprocess.run(["umount", str(lab.home)], check=True)


def test_two_runs_in_one_home(lab: Lab) -> None:
    lab.write(agent="wait")
    process = lab.start("run", str(lab.file))
    lab.await_start()
    fails(lab, ExitCode.CONFLICT, f"pid {process.pid}", "BAKEOFF_HOME")
    interrupt(process)
    assert lab.end_of(process).code == ExitCode.INTERRUPTED


def test_settings_that_are_no_numbers(lab: Lab) -> None:
    lab.write()
    lab.env |= {"BAKEOFF_TICK_SECONDS": "soon", "BAKEOFF_LEASE_TTL_SECONDS": "12"}
    fails(lab, ExitCode.INVALID_INPUT, "BAKEOFF_TICK_SECONDS", "soon", "BAKEOFF_HEARTBEAT_SECONDS", "less than")
