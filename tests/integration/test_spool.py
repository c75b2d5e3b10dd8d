"""Telemetry arrives once and whole: after crashes, outages, half-written lines, records that nobody can store."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import StorageError
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import jobs, stages
from orchestrator.storage.tasks import TaskCount, task_counts, tasks_of
from orchestrator.storage.telemetry import timeline
from tests.support.databases import PostgresDatabases, SqliteDatabases
from tests.support.waiting import until
from tests.support.world import POOL, add, start
from workers.spool import Recorder, Shipper

NOW = datetime(2026, 7, 1, tzinfo=UTC)
BEGIN = {
    "stage": "build",
    "role": "build",
    "agent": "reference",
    "model_asked": "m",
    "resource": POOL,
    "started_at": NOW,
    "context_window": 1000,
    "prompt_bytes": 1,
}
_WRITER = """
import sys
from pathlib import Path
from workers.spool import Recorder
recorder = Recorder(sys.argv[1], Path(sys.argv[2]))
for number in range(3):
    recorder.event("Said", {"n": number})
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def attempt_id(database: Database) -> str:
    add(database, [POOL], capacities={POOL: 1})
    [claimed] = start(database)
    return claimed.attempt_id


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def shipper(database: Database) -> Iterator[Shipper]:
    """Not started: tests ship by `finish`, or start it."""
    made = Shipper(database)
    yield made
    made._stop.set()


def said(database: Database, attempt_id: str) -> list[tuple[int, Any]]:
    return [(event.seq, event.data["n"]) for event in timeline(database, attempt_id)]


def stage(database: Database, attempt_id: str) -> dict[str, Any]:
    with database.read() as connection:
        query = sa.select(stages).where(stages.c.attempt_id == attempt_id)
        return dict(connection.execute(query).mappings().one())


def test_what_is_written_arrives(database: Database, attempt_id: str, spool: Path, shipper: Shipper) -> None:
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    recorder.stage(1, BEGIN)
    recorder.event("Said", {"n": 0}, 1)
    recorder.stage(1, {"turns": 3, "ended_at": NOW})
    recorder.close()
    shipper.add(recorder.path)
    shipper.finish(recorder.path)
    assert said(database, attempt_id) == [(1, 0)]
    found = stage(database, attempt_id)
    assert (found["stage"], found["turns"], found["started_at"], found["ended_at"]) == ("build", 3, NOW, NOW)
    assert list(spool.iterdir()) == []


def test_shipping_the_same_file_again_and_again_stores_it_once(
    database: Database, attempt_id: str, spool: Path
) -> None:
    """A crash between shipping and removing the file: the next worker ships it from its beginning."""
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    recorder.stage(1, BEGIN)
    for number in range(5):
        recorder.event("Said", {"n": number}, 1)
        recorder.stage(1, {"turns": number})
    recorder.stage(1, {"turns": 9, "ended_at": NOW})
    recorder.close()
    copy = recorder.path.read_bytes()
    lines = copy.splitlines(keepends=True)
    for cut in range(len(lines)):
        recorder.path.write_bytes(b"".join(lines[: cut + 1]))
        Shipper(database).finish(recorder.path)
    recorder.path.write_bytes(copy)
    Shipper(database).finish(recorder.path)
    assert said(database, attempt_id) == [(n + 1, n) for n in range(5)]
    assert stage(database, attempt_id)["turns"] == 9


@pytest.mark.parametrize("together", [True, False])
def test_progress_that_comes_late_does_not_reopen_a_stage(
    database: Database, attempt_id: str, spool: Path, together: bool
) -> None:
    """Whether both records travel in one batch or in two."""
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    shipper = Shipper(database)
    recorder.stage(1, BEGIN)
    recorder.stage(1, {"turns": 9, "exit_code": 0, "ended_at": NOW})
    if not together:
        assert shipper._ship_some([recorder.path])
    recorder.stage(1, {"turns": 8, "output_bytes": 5})
    recorder.close()
    shipper.finish(recorder.path)
    found = stage(database, attempt_id)
    assert (found["turns"], found["output_bytes"], found["exit_code"], found["ended_at"]) == (9, None, 0, NOW)


def test_half_a_line_waits_for_its_other_half(database: Database, attempt_id: str, spool: Path) -> None:
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    for number in range(2):
        recorder.event("Said", {"n": number})
    recorder.close()
    whole = recorder.path.read_bytes()
    recorder.path.write_bytes(whole[:-10])
    shipper = Shipper(database)
    while shipper._ship_some([recorder.path]):
        pass
    assert said(database, attempt_id) == [(1, 0)]
    recorder.path.write_bytes(whole)
    shipper.finish(recorder.path)
    assert said(database, attempt_id) == [(1, 0), (2, 1)]


def test_one_bad_record_costs_only_itself(database: Database, attempt_id: str, spool: Path) -> None:
    """Half a line of a disk that was full once, a record of an attempt that is not here, a number out of range."""
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    recorder.stage(1, BEGIN)
    recorder.event("Said", {"n": 1})
    recorder.stage(1, {"input_tokens": 2**70})
    recorder.event("Said", {"n": "\x00 \ud800"})
    recorder.close()
    good = recorder.path.read_bytes().splitlines(keepends=True)
    foreign = json.dumps({**json.loads(good[1]), "attempt": "f" * 32}).encode() + b"\n"
    recorder.path.write_bytes(b"".join([good[0], good[1][:9] + b"\n", b"[1]\n", foreign, *good[1:]]))
    Shipper(database).finish(recorder.path)
    assert [seq for seq, _ in said(database, attempt_id)] == [1, 2]
    assert stage(database, attempt_id)["input_tokens"] is None


def test_a_dead_workers_file_is_taken_over_once_and_a_living_ones_never(
    database: Database, attempt_id: str, spool: Path
) -> None:
    path = spool / "a.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, attempt_id, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        mine = Recorder("e" * 32, spool / "mine.jsonl")
        assert Shipper(database).adopt(spool) == 0, "both files have a living writer"
        writer.send_signal(signal.SIGKILL)
    with path.open("ab") as torn:
        torn.write(b'{"type":"ev')
    first, second = Shipper(database), Shipper(database)
    assert (first.adopt(spool), second.adopt(spool)) == (1, 0)
    first.start()
    until(lambda: not path.exists(), "the adopted file to be shipped and removed")
    first.stop()
    assert said(database, attempt_id) == [(1, 0), (2, 1), (3, 2)]
    mine.close()
    assert (spool / "mine.jsonl").exists()
    assert first.adopt(spool / "none") == 0


def test_a_file_that_was_left_is_shipped_and_removed(database: Database, attempt_id: str, spool: Path) -> None:
    shipper = Shipper(database)
    shipper.start()
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    shipper.add(recorder.path)
    recorder.event("Said", {"n": 0})
    until(lambda: said(database, attempt_id), "the record of an open file")
    assert recorder.path.exists()
    recorder.event("Said", {"n": 1})
    recorder.close()
    shipper.leave(recorder.path)
    until(lambda: not recorder.path.exists(), "the file to go")
    shipper.stop()
    assert said(database, attempt_id) == [(1, 0), (2, 1)]
    shipper.leave(recorder.path)


def test_stopping_ships_what_is_there(database: Database, attempt_id: str, spool: Path) -> None:
    shipper = Shipper(database)
    shipper.start()
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    shipper.add(recorder.path)
    recorder.event("Said", {"n": 0})
    shipper.stop()
    assert said(database, attempt_id) == [(1, 0)]
    recorder.close()


def test_a_locked_database_only_delays(sqlite_databases: SqliteDatabases, spool: Path) -> None:
    with sqlite_databases.fresh() as fresh:
        add(fresh, [POOL], capacities={POOL: 1})
        [claimed] = start(fresh)
        impatient = Database(fresh.url.render_as_string(), statement_timeout_seconds=0.05)
        with closing(impatient):
            outage(impatient, claimed.attempt_id, spool, *_lock(fresh))


def _lock(database: Database) -> tuple[Any, Any]:
    other = sqlite3.connect(database.url.database or "")
    other.execute("BEGIN IMMEDIATE")
    return (lambda: None), other.close


def test_a_dead_server_only_delays(postgres_databases: PostgresDatabases, spool: Path) -> None:
    with postgres_databases.fresh() as fresh:
        add(fresh, [POOL], capacities={POOL: 1})
        [claimed] = start(fresh)
        server = postgres_databases.server
        outage(fresh, claimed.attempt_id, spool, server.crash, server.start)


def outage(database: Database, attempt_id: str, spool: Path, begin: Any, end: Any) -> None:
    """Records written before and while the database is away arrive when it is back; adding a file never waits."""
    recorder = Recorder(attempt_id, spool / "a.jsonl")
    shipper = Shipper(database)
    recorder.event("Said", {"n": 0})
    begin()
    try:
        shipper.add(recorder.path)
        shipper.start()
        recorder.event("Said", {"n": 1})
        with pytest.raises(StorageError):
            shipper.finish(recorder.path)
        shipper.add(spool / "other.jsonl")
        assert recorder.path.exists()
    finally:
        end()
    until(lambda: len(said(database, attempt_id)) == 2, "the records")
    recorder.event("Said", {"n": 2})
    recorder.close()
    shipper.finish(recorder.path)
    shipper.stop()
    assert said(database, attempt_id) == [(1, 0), (2, 1), (3, 2)]
    assert os.listdir(spool) == []  # noqa: PTH208


def _task(name: str, state: str, **values: object) -> dict[str, object]:
    known = {"position": 1, "parent": None, "planned": True, "done": False, "depth": 0, "text": "do it", "rejects": 0}
    return {"task_id": name, "state": state, "commit_sha": None, "cause": None} | known | values


def test_a_ledger_of_tasks_arrives_once_and_never_goes_back(
    database: Database, attempt_id: str, spool: Path, shipper: Shipper
) -> None:
    path = spool / "a.jsonl"
    recorder = Recorder(attempt_id, path)
    recorder.tasks([_task("1", "open"), _task("2", "open", position=2)])
    shipper.add(path)
    shipper._round()
    early = path.read_bytes()
    recorder.tasks([_task("1", "accepted", done=True, commit_sha="c" * 40)])
    recorder.tasks(
        [_task("2", "split", position=2, cause="no"), _task("2.1", "open", parent="2", planned=False, position=3)]
    )
    shipper._round()
    recorder.close()
    shipper.finish(path)
    again = spool / "again.jsonl"
    again.write_bytes(early)
    shipper.add(again)
    shipper.finish(again)
    [job_id] = database_jobs(database)
    found = [(task.task_id, task.state, task.seq, task.commit_sha, task.cause) for task in tasks_of(database, job_id)]
    assert found == [
        ("1", "accepted", 2, "c" * 40, None),
        ("2", "split", 3, None, "no"),
        ("2.1", "open", 3, None, None),
    ]
    with database.read() as connection:
        assert task_counts(connection, sa.select(jobs.c.id)) == {attempt_id: TaskCount(1, 2, 1)}


def database_jobs(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(sa.select(jobs.c.id)).scalars())
