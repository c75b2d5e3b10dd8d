"""The runbook of restoring a backup, done: an old database meets workers whose attempts it does not know."""

import signal
import subprocess
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from orchestrator.domain.errors import ExitCode
from orchestrator.embedded import EmbeddedBroker
from orchestrator.interop.open_tables import write_tables
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials import SOURCE, Counts, to_results
from orchestrator.interop.trials_file import read_lines
from orchestrator.storage.engine import Database
from orchestrator.storage.imports import Stored, kept_records, store_imported
from orchestrator.storage.tables import attempts, jobs
from tests.support.databases import PostgresDatabases
from tests.support.lab import Lab
from tests.support.postgres import PostgresServer
from tests.support.waiting import until


def states(database: Database) -> Counter[str]:
    with database.read() as connection:
        return Counter(connection.execute(sa.select(jobs.c.state)).scalars())


def started(lab: Lab, env: dict[str, str]) -> "list[subprocess.Popen[str]]":
    """A scheduler and a worker."""
    return [lab.start("scheduler", env=env), lab.start("worker", "cloud", "--account", "cloud", env=env)]


def test_a_restored_backup_runs_again_what_it_does_not_know_to_be_done(
    lab: Lab, broker: EmbeddedBroker, postgres: PostgresServer, postgres_databases: PostgresDatabases
) -> None:
    dump = lab.root / "bakeoff.dump"
    with postgres_databases.fresh() as before:
        env = {"BAKEOFF_DATABASE_URL": postgres.url(str(before.url.database)), "BAKEOFF_BROKER_URL": broker.url}
        lab.write(agent="wait", repeats=2)
        assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
        running = started(lab, env)
        lab.await_start()
        subprocess.run(
            [postgres.program("pg_dump"), "--format=custom", f"--file={dump}", env["BAKEOFF_DATABASE_URL"]],
            check=True,
        )
        lab.gate.touch()
        until(lambda: states(before) == {"done": 2}, "both jobs before the loss")
        for process in running:
            process.send_signal(signal.SIGTERM)
            assert lab.end_of(process).code == ExitCode.OK
    restored = postgres_databases.empty_url()
    subprocess.run([postgres.program("pg_restore"), "--no-owner", f"--dbname={restored}", dump], check=True)
    with broker.client() as client:
        client.flushall()
    with closing(Database(restored)) as after:
        # The other one waits for the slot, perhaps hinted ahead.
        assert states(after) in ({"running": 1, "ready": 1}, {"running": 1, "queued": 1})
        started(lab, env | {"BAKEOFF_DATABASE_URL": restored})
        until(lambda: states(after) == {"done": 2}, "both jobs after it")
        with after.read() as connection:
            ends = connection.execute(sa.select(attempts.c.outcome).order_by(attempts.c.started_at)).scalars().all()
    assert sorted(map(str, ends)) == ["complete", "complete", "lease_lost"]
    assert len(lab.notes("start")) == 4
    lab.assert_no_overlap()


def test_imported_runs_come_back_with_everything_that_was_told_of_them(
    tmp_path: Path, postgres: PostgresServer, postgres_databases: PostgresDatabases
) -> None:
    dump, table = tmp_path / "bakeoff.dump", tmp_path / "trials.csv"
    table.write_text("submission,task,trial,resolved,in_tok,out_tok\na_b,x,1,1,5,7\na_b,x,2,,,\n")

    def store(database: Database) -> Stored:
        tally = Tally()
        runs = to_results("old", table.name, read_lines(table, tally), tally, Counts())
        return store_imported(database, name="old", source=SOURCE, runs=runs, now=datetime(2026, 11, 28, tzinfo=UTC))

    def everything(database: Database, name: str) -> dict[str, bytes]:
        write_tables(database, "old", tmp_path / name, "jsonl", agent_text=True, force=False)
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    with postgres_databases.fresh() as before:
        assert store(before) == (2, 0)
        kept, records = everything(before, "before"), kept_records(before, "old")
        url = postgres.url(str(before.url.database))
        subprocess.run([postgres.program("pg_dump"), "--format=custom", f"--file={dump}", url], check=True)
    restored = postgres_databases.empty_url()
    subprocess.run([postgres.program("pg_restore"), "--no-owner", f"--dbname={restored}", dump], check=True)
    with closing(Database(restored)) as after:
        assert (everything(after, "after"), kept_records(after, "old")) == (kept, records)
        assert store(after) == (0, 2), "it is known again"
