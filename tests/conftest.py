"""Fixtures that many tests share: results databases of both kinds, a broker, and a whole installation."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.embedded import EmbeddedBroker
from orchestrator.storage.engine import Database
from tests.support.databases import Databases, PostgresDatabases, SqliteDatabases
from tests.support.lab import Lab
from tests.support.postgres import MissingWheel, PostgresServer

# CI looks at the same examples every time, so that what it says is about the change; a laptop looks at new ones.
# How long an example takes is the machine's affair on both.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _PATIENT, derandomize=True)
settings.register_profile("laptop", _PATIENT)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "laptop")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server per test process. Without the wheel the test is skipped, but fails in CI."""
    try:
        server = PostgresServer()
    except MissingWheel as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    """Files in one folder of the session."""
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_databases(postgres: PostgresServer) -> PostgresDatabases:
    """Databases of the session's server."""
    return PostgresDatabases(postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> Databases:
    """The same test on both kinds."""
    made = request.getfixturevalue(f"{request.param}_databases")
    assert isinstance(made, SqliteDatabases | PostgresDatabases)
    return made


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A migrated, empty results database."""
    with databases.fresh() as fresh:
        yield fresh


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A private Valkey."""
    made = EmbeddedBroker(tmp_path / "broker.log")
    yield made
    made.stop()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """One user's machine, whose models nobody serves."""
    with closing(Lab(tmp_path)) as one:
        yield one
