"""Opening a results database: fresh, old, newer, shared, and everything that can be wrong with a file or server."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orchestrator.domain.errors import Conflict, StorageError
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import HEAD, Database, table_names
from orchestrator.storage.tables import metadata
from tests.support.databases import Databases, SqliteDatabases
from tests.support.world import POOL, add

_MIGRATE = """
import sys
from orchestrator.storage.engine import Database
print("ready", flush=True)
sys.stdin.readline()
Database(sys.argv[1]).migrate()
"""


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert set(table_names()) < set(sa.inspect(connection).get_table_names())
    assert database.revision() == HEAD


def test_migrating_again_changes_nothing(database: Database) -> None:
    add(database, [POOL], capacities={POOL: 1})
    database.migrate()
    assert len(database_jobs(database)) == 1


def database_jobs(database: Database) -> list[object]:
    with database.read() as connection:
        return list(connection.execute(sa.text("SELECT id FROM jobs")))


def test_processes_that_start_together_migrate_once(databases: Databases) -> None:
    url = databases.empty_url()
    argv = [sys.executable, "-c", _MIGRATE, url]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with closing(Database(url)) as database:
        assert database.revision() == HEAD


def test_a_newer_schema_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match=r"9999.*update Bakeoff"):
        database.migrate()


@pytest.fixture
def file(sqlite_databases: SqliteDatabases) -> Iterator[Path]:
    """A migrated database in a file that nobody has open."""
    with sqlite_databases.fresh() as fresh:
        path = Path(fresh.url.database or "")
        fresh.close()
        yield path


def _use(database: Database) -> None:
    database.migrate()
    ensure_slots(database, {POOL: 1})


def refusal(url: str) -> str:
    """What opening and writing says; it must be a storage error."""
    with closing(Database(url, statement_timeout_seconds=0.2)) as database, pytest.raises(StorageError) as caught:
        _use(database)
    return str(caught.value)


def test_a_read_only_file(file: Path) -> None:
    assert "change its permissions" in refusal(f"sqlite:///file:{file}?mode=ro&uri=true")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "BAKEOFF_HOME" in refusal(f"sqlite:///{tmp_path / 'new' / 'x.db'}")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert "BAKEOFF_HOME" in refusal(f"sqlite:///{tmp_path / 'home' / 'bakeoff.db'}")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert "BAKEOFF_HOME" in refusal(f"sqlite:///{tmp_path}")


def test_a_file_that_another_process_holds(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "another process holds the database" in refusal(f"sqlite:///{file}")
    with closing(Database(f"sqlite:///{file}")) as database:
        ensure_slots(database, {POOL: 1})


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("Dear diary, " * 1000)
    assert "not a Bakeoff database" in refusal(f"sqlite:///{path}")
    assert path.read_text().startswith("Dear diary")


def test_a_damaged_file(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (size - 4096))
    assert "damaged" in refusal(f"sqlite:///{file}")


def test_a_full_disk(file: Path) -> None:
    """The file may grow no more: writing fails with words, nothing is damaged, and it goes on when there is space."""
    with closing(Database(f"sqlite:///{file}")) as database:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
        try:
            with pytest.raises(StorageError, match="the disk is full"):
                add(database, [POOL] * 2000, capacities={POOL: 1})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        add(database, [POOL] * 2, capacities={POOL: 1})
        assert len(database_jobs(database)) == 2
        with database.read() as connection:
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"


def test_a_file_at_its_largest_size(file: Path) -> None:
    with closing(Database(f"sqlite:///{file}")) as database:

        @sa.event.listens_for(database.engine, "connect")
        def _limit(connection: sqlite3.Connection, _record: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages}")

        with pytest.raises(StorageError, match="the disk is full"):
            add(database, [POOL] * 2000)


@pytest.mark.parametrize("url", ["nonsense", "mysql://root@host/x", "sqlite", ""])
def test_a_url_that_is_no_database(url: str) -> None:
    with pytest.raises(StorageError, match=r"accepted: sqlite:"):
        Database(url)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    said = refusal(f"postgresql://postgres:hunter2@/x?host={tmp_path}")
    assert "check BAKEOFF_DATABASE_URL" in said
    assert "hunter2" not in said
