"""A scrape of `bakeoff metrics` at 100,000 jobs with 3 stages each. Goal: at most 200 ms.

Every job has ended but 10,000. `totals` are the sums over everything, which no scrape waits for. Median and worst.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.queue_throughput import fresh
from benchmarks.support import POOL, make_jobs, postgres, scratch
from orchestrator.clock import utc_now
from orchestrator.metrics_server import Fleet
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.figures import past
from orchestrator.storage.tables import attempts, jobs, stages

JOBS, OPEN, STAGES = 100_000, 10_000, 3
GOAL_MILLISECONDS = 200.0


def fill(database: Database) -> None:
    """Ended attempts with stages, for all jobs but the open ones."""
    make_jobs(database, JOBS)
    ensure_slots(database, {POOL: 8})
    now = utc_now()
    with database.write() as connection:
        ids = list(connection.execute(sa.select(jobs.c.id).order_by(jobs.c.id).limit(JOBS - OPEN)).scalars())
        connection.execute(jobs.update().where(jobs.c.id <= ids[-1]).values(state="done", outcome="complete"))
        insert_many(connection, attempts, (_attempt(number, now) for number in ids))
        insert_many(connection, stages, (_stage(number, part, now) for number in ids for part in range(STAGES)))


def _attempt(job_id: int, now: object) -> dict[str, object]:
    values: dict[str, object] = {"id": f"{job_id:032d}", "job_id": job_id, "number": 1, "fence": 1, "state": "ended"}
    values |= {"machine": f"m{job_id % 8}", "boot_id": "b", "worker_pid": 1, "worker_start_ticks": 1, "heartbeat": 9}
    values |= {"started_at": now, "ended_at": now, "outcome": ("complete", "no_progress", "wall_timeout")[job_id % 3]}
    return values | {"wall_seconds": 100.0, "lease_wait_seconds": 1.0, "final_text": "x" * 500}


def _stage(job_id: int, part: int, now: object) -> dict[str, object]:
    values: dict[str, object] = {"attempt_id": f"{job_id:032d}", "ordinal": part, "stage": f"stage{part}"}
    values |= {"role": "build", "agent": f"a{job_id % 5}", "model_asked": f"m{job_id % 7}", "resource": POOL}
    values |= {"resumed": False, "started_at": now, "ended_at": now, "working_seconds": job_id % 3000 * 1.0}
    values |= {"requests": 5, "requests_without_usage": 0, "input_tokens": 1000, "output_tokens": 50}
    return values | {"cost_usd_micros": 17 if part else None, "answer": "y" * 500}


def measure(name: str, url: str, scrapes: int) -> float:
    """Print one database's row; the median of a scrape in milliseconds."""
    database = Database(url)
    database.migrate()
    fill(database)
    registry = CollectorRegistry()
    registry.register(Fleet(database))
    began = time.process_time()
    taken = [_timed(lambda: generate_latest(registry)) for _ in range(scrapes)]
    own = (time.process_time() - began) * 1000 / scrapes
    totals = min(_timed(lambda: past(database)) for _ in range(3))
    size = len(generate_latest(registry))
    database.close()
    middle = statistics.median(taken)
    print(
        f"{name:10} scrape p50 {middle:6.1f} ms  worst {max(taken):6.1f} ms  own processor {own:.0f} ms  "
        f"{size / 1024:.0f} KiB   "
        f"totals in the background {totals:6.0f} ms"
    )
    return middle


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrapes", type=int, default=30)
    args = parser.parse_args()
    with scratch() as root:
        with postgres(root) as url:
            middles = [measure("PostgreSQL", fresh(url, "metrics"), args.scrapes)]
        middles.append(measure("SQLite", f"sqlite:///{root / 'metrics.db'}", args.scrapes))
    print(f"goal: a scrape in {GOAL_MILLISECONDS:g} ms")
    if max(middles) > GOAL_MILLISECONDS:
        raise SystemExit("missed")


if __name__ == "__main__":
    main()
