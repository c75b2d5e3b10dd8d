"""The queue on a real RabbitMQ: the same fleet with another URL. Skipped where RabbitMQ is not installed."""

from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import ExitCode
from orchestrator.storage import drains, machines
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, jobs
from tests.support.databases import PostgresDatabases
from tests.support.lab import Lab
from tests.support.rabbitmq import MissingRabbit, Rabbit
from tests.support.waiting import until
from tests.support.world import NOW


@pytest.fixture(scope="module")
def rabbit() -> Iterator[Rabbit]:
    try:
        server = Rabbit()
    except MissingRabbit as missing:
        pytest.skip(str(missing))
    yield server
    server.stop()


def begin(lab: Lab, rabbit: Rabbit, database: Database, *, repeats: int, agent: str = "quick") -> None:
    """An account and a pool, with a worker each, and so many jobs of both."""
    env = {
        "BAKEOFF_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "BAKEOFF_BROKER_URL": rabbit.url,
        "BAKEOFF_MACHINE": "box",
        "BAKEOFF_REHINT_SECONDS": "2",
    }
    lab.write_fleet(models={"local": {}})
    lab.write(agent=agent, repeats=repeats, profiles={"one": "model", "two": "local"})
    done = lab.bakeoff("submit", str(lab.file), env=env)
    assert done.code == ExitCode.OK, done
    lab.start("scheduler", env=env)
    lab.start("worker", "cloud", "--account", "cloud", env=env)
    lab.start("worker", "gpu", "--pool", "box", env=env)


def ends(database: Database) -> Counter[str]:
    with database.read() as connection:
        return Counter(connection.execute(sa.select(jobs.c.state)).scalars())


def test_a_matrix_runs_and_every_job_runs_once(
    lab: Lab, rabbit: Rabbit, postgres_databases: PostgresDatabases
) -> None:
    with postgres_databases.fresh() as database:
        begin(lab, rabbit, database, repeats=4)
        until(lambda: ends(database) == {"done": 8}, "every job")
        with database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(attempts)).scalar() == 8
        assert len(lab.notes("start")) == 8


def test_jobs_go_on_after_the_broker_has_lost_everything(
    lab: Lab, rabbit: Rabbit, postgres_databases: PostgresDatabases
) -> None:
    with postgres_databases.fresh() as database:
        begin(lab, rabbit, database, repeats=2, agent="wait")
        lab.await_start(3)
        rabbit.wipe()
        rabbit.start()
        lab.gate.touch()
        until(lambda: ends(database) == {"done": 4}, "every job")
        assert len(lab.notes("start")) == 4, "what ran was not disturbed"


def test_a_drained_machine_gives_its_queues_back_and_takes_them_again(
    lab: Lab, rabbit: Rabbit, postgres_databases: PostgresDatabases
) -> None:
    """A worker switches its own queue on and off by a message to itself, which goes another way than on Redis."""
    with postgres_databases.fresh() as database:
        drains.drain(database, ["machine:box"], "maintenance", NOW)
        begin(lab, rabbit, database, repeats=1)
        until(lambda: machines.known_machines(database), "the workers to be announced")
        until(lambda: ends(database) == {"queued": 2}, "the jobs to be hinted")
        assert drains.lift(database, ["machine:box"]) == 1
        until(lambda: ends(database) == {"done": 2}, "every job")
