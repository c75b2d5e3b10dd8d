"""`bakeoff gc`: what ended and is archived goes, all else stays, and a death in the middle leaves no half tree."""

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clock import utc_now
from orchestrator.domain.errors import Conflict, ExitCode, Unavailable
from orchestrator.domain.garbage import GarbageItem, GarbageQuestion, judge_mirror, judge_tree
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.settings import load_settings
from orchestrator.storage.engine import Database
from tests.support.lab import Lab
from tests.support.waiting import until
from workers.context import WorkerContext
from workers.gc import Collector, run_folders
from workers.keeper import Keeper

NOW = datetime(2026, 7, 1, tzinfo=UTC)
OPEN = ("ready", "parked", "paused", "blocked")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A machine on which one job has ended; every test takes a copy, or looks only."""
    with closing(Lab(tmp_path_factory.mktemp("gc"))) as lab:
        lab.write(targets=[{"repo": "target", "base": "main", "task": "TASK.md"}])
        done = lab.run()
        assert done.code == ExitCode.OK, done.err + lab.logs()
        yield lab.root


@pytest.fixture
def lab(ended: Path, tmp_path: Path) -> Iterator[Lab]:
    """The same machine, put back as it was after the test. A tree's path is on record, so it stays where it is."""
    shutil.copytree(ended / "home", tmp_path / "kept", symlinks=True)
    one = object.__new__(Lab)
    one.root, one.home = ended, ended / "home"
    one.env = {
        "PATH": os.environ["PATH"],
        "HOME": str(ended),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BAKEOFF_HOME": str(one.home),
    }
    one._started = []
    yield one
    shutil.rmtree(one.home)
    shutil.copytree(tmp_path / "kept", one.home, symlinks=True)


def gc(lab: Lab, *options: str) -> list[dict[str, Any]]:
    done = lab.bakeoff("gc", "--json", *options)
    assert done.code == ExitCode.OK, done.err
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def collect(lab: Lab, *, remove: bool = True, seconds: float = 0, mirrors: bool = False) -> list[GarbageItem]:
    settings = load_settings({"BAKEOFF_HOME": str(lab.home)})
    question = GarbageQuestion(remove=remove, retention_seconds=seconds, mirrors=mirrors)
    with closing(Database(settings.database_url)) as database:
        return Collector(settings=settings, database=database, question=question, now=utc_now()).collect()


def the_tree(lab: Lab) -> Path:
    (path,) = run_folders(lab.home / "runs")
    return path


def change(lab: Lab, statement: str) -> None:
    with closing(sqlite3.connect(lab.home / "bakeoff.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0


def test_what_ended_long_enough_ago_goes_and_its_results_stay(lab: Lab) -> None:
    (young, mirror) = gc(lab)
    assert (young["kind"], young["goes"], young["label"]) == ("tree", False, "target/one#1")
    assert "trees are kept for 168h00m" in young["reason"]
    assert young["disk_bytes"] > 50_000 > young["home_bytes"]
    assert (mirror["kind"], mirror["goes"]) == ("mirror", False)
    tree = the_tree(lab)
    dry = lab.bakeoff("gc", "--dry-run", "--older-than", "0s")
    assert "would go" in dry.out
    assert tree.is_dir()
    assert [item["goes"] for item in gc(lab, "--older-than", "0s")] == [True, False]
    assert list((lab.home / "runs").iterdir()) == []
    assert [item["kind"] for item in gc(lab, "--older-than", "0s")] == ["mirror"]
    assert [item["goes"] for item in gc(lab, "--older-than", "0s", "--mirrors")] == [True]
    assert not list((lab.home / "mirrors").glob("*.git"))
    report = lab.bakeoff("report", "--json")
    assert report.code == ExitCode.OK, report.err


def test_doctor_lists_what_is_stale(lab: Lab) -> None:
    env = {"BAKEOFF_GC_AFTER_HOURS": "0.000001"}
    found = {one["name"]: one for one in json.loads(lab.bakeoff("doctor", "--json", env=env).out)}
    assert found["trees"]["ok"] is None
    assert "1 of them" in found["trees"]["text"]
    assert "bakeoff gc" in found["trees"]["text"]
    found = {one["name"]: one for one in json.loads(lab.bakeoff("doctor", "--json").out)}
    assert found["trees"]["ok"] is True


def test_a_job_is_replayed_from_the_database_by_its_label_after_its_tree_is_gone(lab: Lab) -> None:
    assert [item.goes for item in collect(lab)] == [True, False]
    done = lab.bakeoff("timeline", "target/one#1", "--json")
    assert done.code == ExitCode.OK, done.err
    moments = json.loads(done.out)
    kinds = [one["kind"] for one in moments]
    assert (kinds[0], kinds[1], kinds[-2], kinds[-1]) == ("AttemptBegan", "StageBegan", "StageEnded", "AttemptEnded")
    assert moments[-1]["data"]["outcome"] == "complete"
    assert {one["stage"] for one in moments[1:-1]} == {1}
    text = lab.bakeoff("timeline", "1").out.splitlines()
    assert text[0] == "job 1, target/one#1 of lab: done"
    assert len(text) == 1 + len(moments)
    assert lab.bakeoff("timeline", "target/one#9").code == ExitCode.NOT_FOUND


def _writes(lab: Lab) -> None:
    (the_tree(lab) / "tree/late").write_text("not committed")


def _loses_an_artifact(lab: Lab) -> None:
    for path in (lab.home / "artifacts").rglob("*"):
        if path.is_file():
            path.unlink()


def _damages_an_artifact(lab: Lab) -> None:
    for path in (lab.home / "artifacts").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes() + b"x")


def _moves_our_branch(lab: Lab) -> None:
    git = the_tree(lab) / "git"
    (ref,) = (path for path in (git / "refs/heads").rglob("*") if path.is_file())
    ref.write_bytes((git / "refs/bakeoff/base").read_bytes())


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        *((f"UPDATE jobs SET state = '{state}'", f"its job is {state}") for state in OPEN),
        ("UPDATE attempts SET state = 'working'", "is running"),
        ("UPDATE attempts SET ended_at = NULL", "no recorded end"),
        ("UPDATE attempts SET machine = 'other'", "no attempt of this machine"),
        ("UPDATE attempts SET final_sha = NULL", "in no artifact"),
        ("DELETE FROM artifacts WHERE kind = 'bundle'", "is not the last commit"),
        (_writes, "changes after the last commit"),
        (_loses_an_artifact, "no artifact"),
        (_damages_an_artifact, "is damaged"),
        (_moves_our_branch, "does not stand at the commit"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_whatever_is_in_doubt_stays(lab: Lab, harm: str | Callable[[Lab], None], reason: str) -> None:
    tree = the_tree(lab)
    if isinstance(harm, str):
        change(lab, harm)
    else:
        harm(lab)
    (item, *_) = collect(lab)
    assert not item.goes
    assert reason in item.reason
    assert (tree / "tree").is_dir()


def test_who_keeps_trees_for_ever_keeps_them(lab: Lab) -> None:
    (item,) = [one for one in collect(lab, seconds=1e300) if one.kind == "tree"]
    assert (item.goes, the_tree(lab).exists()) == (False, True)


def test_a_home_that_cannot_be_written_is_told(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    settings = load_settings({"BAKEOFF_HOME": str(tmp_path / "home")})
    question = GarbageQuestion(remove=True, retention_seconds=0)
    with closing(Database(f"sqlite:///{lab.home / 'bakeoff.db'}")) as database:
        collector = Collector(settings=settings, database=database, question=question, now=utc_now())
        with pytest.raises(Unavailable, match=r"File exists: nothing can be removed there"):
            collector.collect()


def test_a_tree_that_somebody_holds_stays_and_two_collections_do_not_meet(lab: Lab) -> None:
    tree = the_tree(lab)
    with (tree / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (item, *_) = collect(lab)
        assert (item.goes, "held by another process" in item.reason) == (False, True)
    with (lab.home / "gc.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another collection"):
            collect(lab)
        assert collect(lab, remove=False)[0].goes
    assert collect(lab)[0].goes
    assert not tree.exists()


def _killed_in_the_middle(lab: Lab) -> bool:
    """Kill a collection when its removal has begun; False when that was over before the kill arrived."""
    tree = the_tree(lab)
    gone = tree.with_name(f".gone-{tree.name}")
    for number in range(20_000):
        (tree / f"home/f{number}").touch()
    argv = [sys.executable, "-m", "workers.gc"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=lab.env, text=True)
    assert process.stdin is not None
    process.stdin.write(GarbageQuestion(remove=True, retention_seconds=0).model_dump_json())
    process.stdin.close()
    while process.poll() is None and not gone.exists():
        pass  # a look every 20 ms would come too late
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not tree.exists()
    return gone.is_dir()


def test_a_death_in_the_middle_leaves_no_half_tree_and_the_next_one_goes_on(lab: Lab, tmp_path: Path) -> None:
    for _ in range(10):
        if _killed_in_the_middle(lab):
            break
        shutil.rmtree(lab.home)
        shutil.copytree(tmp_path / "kept", lab.home, symlinks=True)
    left, _ = collect(lab)
    assert (left.kind, left.goes) == ("remains", True)
    assert list((lab.home / "runs").iterdir()) == []


def test_an_idle_worker_removes_and_a_busy_one_does_not(lab: Lab) -> None:
    settings = load_settings({"BAKEOFF_HOME": str(lab.home), "BAKEOFF_GC_AFTER_HOURS": "0.0000001"})
    tree, busy, asked = the_tree(lab), True, threading.Event()

    def holds_any() -> bool:
        asked.set()
        return busy

    with closing(Database(settings.database_url)) as database:
        heartbeats = SimpleNamespace(holds_any=holds_any)
        context = cast(WorkerContext, SimpleNamespace(settings=settings, database=database, heartbeats=heartbeats))
        keeper = Keeper(context, first_seconds=0.01, pause_seconds=0.01)
        keeper.start()
        assert asked.wait(30)
        assert tree.is_dir()
        busy = False
        until(lambda: not tree.exists(), "the tree to go")
        keeper.stop()


# -- the decision itself --

moments = st.timedeltas(timedelta(days=-60), timedelta(days=60)).map(lambda offset: NOW + offset)
retentions = st.timedeltas(timedelta(0), timedelta(days=30))


@given(live=st.booleans(), state=st.sampled_from(JobState), ended=st.none() | moments, retention=retentions)
def test_nothing_goes_that_runs_waits_or_is_young(
    live: bool, state: JobState, ended: datetime | None, retention: timedelta
) -> None:
    verdict = judge_tree(live=live, job_state=state, ended_at=ended, now=NOW, retention=retention)
    may = not live and state in FINAL_JOB_STATES and ended is not None and NOW - ended >= retention
    assert verdict.goes == may
    assert verdict.reason


@given(st.booleans(), st.booleans(), st.booleans(), retentions, retentions)
def test_no_mirror_goes_that_is_needed(
    needed: bool, borrowed: bool, asked_for: bool, age: timedelta, retention: timedelta
) -> None:
    verdict = judge_mirror(needed=needed, borrowed=borrowed, age=age, retention=retention, asked_for=asked_for)
    assert verdict.goes == (asked_for and not needed and not borrowed and age >= retention)
