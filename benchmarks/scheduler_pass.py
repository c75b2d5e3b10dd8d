"""One scheduler pass with 10 free slots: 100 waiting jobs against 100,000. Goal: within 20 % of each other.

Only what a pass decides and writes is timed; before each the jobs that the last one queued are made ready again.
The two sizes are measured in turn, so that a busy machine disturbs both alike. Median and p99 in milliseconds.
"""

import argparse
import statistics
import time

from benchmarks.queue_throughput import fresh
from benchmarks.support import POOL, make_jobs, postgres, scratch
from orchestrator.clock import utc_now
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.storage.attempts import withdraw
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database

SIZES = (100, 100_000)
# Hints go as far ahead of a pool's free slots as it has slots: 5 slots let 10 jobs start.
SLOTS, READY = 5, 10
GOAL = 0.20


def prepare(url: str, count: int) -> Database:
    """A database with this many waiting jobs."""
    database = Database(url)
    database.migrate()
    ensure_slots(database, {POOL: SLOTS})
    make_jobs(database, count)
    return database


def once(database: Database) -> float:
    """Milliseconds of one pass, which is undone."""
    began = time.perf_counter()
    hints = dispatch(database, utc_now())
    took = time.perf_counter() - began
    if len(hints) != READY:
        raise SystemExit(f"a pass queued {len(hints)} jobs, not {READY}")
    for hint in hints:
        withdraw(database, hint.job_id, hint.order_token)
    return took * 1000


def measure(name: str, urls: tuple[str, ...], passes: int) -> None:
    """Print one database's row."""
    databases = [prepare(url, size) for url, size in zip(urls, SIZES, strict=True)]
    times: list[list[float]] = [[] for _ in databases]
    for number in range(passes + 5):
        for database, taken in zip(databases, times, strict=True):
            took = once(database)
            if number >= 5:  # the first ones warm up
                taken.append(took)
    for size, taken in zip(SIZES, times, strict=True):
        p99 = statistics.quantiles(taken, n=100, method="inclusive")[98]
        print(f"{name:10} {size:7} waiting, {READY} ready: p50 {statistics.median(taken):6.2f} ms  p99 {p99:6.2f} ms")
    few, many = (statistics.median(taken) for taken in times)
    print(f"{name:10} ratio {many / few:.2f}   goal {1 - GOAL:.2f} to {1 + GOAL:.2f}")
    for database in databases:
        database.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=100)
    args = parser.parse_args()
    with scratch() as root:
        with postgres(root) as url:
            measure("PostgreSQL", tuple(fresh(url, f"size{size}") for size in SIZES), args.passes)
        measure("SQLite", tuple(f"sqlite:///{root / f'{size}.db'}" for size in SIZES), args.passes)


if __name__ == "__main__":
    main()
