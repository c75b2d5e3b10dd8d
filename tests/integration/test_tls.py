"""Broker and database behind TLS: a fleet that works, and certificates that are not accepted."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.embedded import EmbeddedBroker
from orchestrator.storage.engine import Database
from tests.support.databases import PostgresDatabases
from tests.support.lab import Lab
from tests.support.postgres import PostgresServer
from tests.support.tls import TlsFront, make_authority
from tests.support.waiting import until
from tests.support.world import state


class Shared(NamedTuple):
    """The servers of a fleet, which can be reached by TLS only."""

    broker: TlsFront
    database: TlsFront
    password: str
    direct: Database
    ca: Path

    def env(self, ca: Path, *, broker_host: str = "localhost") -> dict[str, str]:
        """The settings of a machine that trusts this authority."""
        database = f"postgresql://postgres@localhost:{self.database.port}/{self.direct.url.database}"
        return {
            "BAKEOFF_BROKER_URL": f"rediss://:{self.password}@{broker_host}:{self.broker.port}/0",
            "BAKEOFF_BROKER_CA": str(ca),
            "BAKEOFF_DATABASE_URL": f"{database}?sslmode=verify-full&sslrootcert={ca}",
        }


@pytest.fixture
def shared(tmp_path: Path, postgres: PostgresServer, postgres_databases: PostgresDatabases) -> Iterator[Shared]:
    authority = make_authority(tmp_path / "ours")
    broker = EmbeddedBroker(tmp_path / "broker.log")
    secret, _, place = broker.url.partition("://:")[2].partition("@")
    broker_front = TlsFront(authority, Path(place.partition("?")[0]))
    database_front = TlsFront(authority, postgres.folder / ".s.PGSQL.5432", postgres=True)
    with postgres_databases.fresh() as direct:
        yield Shared(broker_front, database_front, secret, direct, authority.ca)
    for front in (broker_front, database_front):
        front.stop()
    broker.stop()


def test_a_fleet_works_with_every_connection_encrypted(lab: Lab, shared: Shared) -> None:
    env = shared.env(shared.ca)
    lab.write()
    assert lab.bakeoff("submit", str(lab.file), env=env).code == ExitCode.OK
    lab.start("scheduler", env=env)
    lab.start("worker", "cloud", "--account", "cloud", env=env)
    until(lambda: state(shared.direct, 1) == "done", "the job")
    assert shared.broker.served >= 2, "scheduler and worker"
    assert shared.database.served >= 3, "submit, scheduler and worker"


def test_a_server_whose_authority_is_not_ours_is_refused_in_words(lab: Lab, shared: Shared, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path / "stranger").ca
    doctor = lab.bakeoff("doctor", env=shared.env(stranger))
    assert doctor.code == ExitCode.UNAVAILABLE
    assert "MISS broker" in doctor.out
    assert doctor.out.count("certificate verify failed") == 2, doctor.out
    assert shared.password not in doctor.out + doctor.err


def test_a_certificate_for_another_name_is_refused(lab: Lab, shared: Shared) -> None:
    """The certificate is for `localhost`; whoever answers at an address must not be able to pass for it."""
    doctor = lab.bakeoff("doctor", env=shared.env(shared.ca, broker_host="127.0.0.1"))
    assert doctor.code == ExitCode.UNAVAILABLE
    assert "MISS broker" in doctor.out, doctor.out
    assert "ok   database" in doctor.out, doctor.out
