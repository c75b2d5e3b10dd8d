"""Events of one worker host: 2,000 a second written to spool files and shipped to PostgreSQL, none lost, none twice.

    python -m benchmarks.telemetry [--rate 2000] [--seconds 20] [--attempts 32]

As many attempts as a full machine has write side by side, as a worker's threads do. CPU is that of this whole
process, less the same loop with nothing to write.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from benchmarks.support import POOL, make_jobs, postgres, scratch
from orchestrator.clock import boot_id, utc_now
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.storage import attempts
from orchestrator.storage.attempts import WorkerIdentity
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import events
from workers.spool import Recorder, Shipper

GOAL_PERCENT = 5.0
# What an answered request leaves, the commonest of the events that are kept.
DATA = {
    "request_id": "5f2b7c1e9a3d4f60",
    "model_asked": "devstral-small-2",
    "model_served": "devstral-small-2",
    "status": 200,
    "usage": {"input": 1300, "output": 210, "cache_read": 15000, "cache_write": 0, "reasoning": 0},
    "seconds": 4.2,
}


def claims(database: Database, count: int) -> list[str]:
    """Live attempts, to which the events belong."""
    ensure_slots(database, {POOL: count})
    make_jobs(database, count)
    me = WorkerIdentity(machine="bench", boot_id=boot_id(), pid=1, start_ticks=1)
    found = [
        attempts.claim(database, hint.job_id, hint.order_token, me, utc_now())
        for hint in dispatch(database, utc_now())
    ]
    return [one.attempt_id for one in found if one is not None]


def paced(write: Callable[[int], None], count: int, rate: float) -> float:
    """Call `write` with 0..count-1 at this rate, ten bursts a second. Returns the CPU seconds of this process."""
    cpu, began, pause = time.process_time(), time.monotonic(), threading.Event()
    for number in range(count):
        if number % max(1, int(rate / 10)) == 0:
            pause.wait(max(0.0, began + number / rate - time.monotonic()))
        write(number)
    return time.process_time() - cpu


def measure(root: Path, url: str, *, rate: float, seconds: float, width: int) -> bool:
    """Print the figures; whether the goal is met."""
    database = Database(url)
    database.migrate()
    ids = claims(database, width)
    count = int(rate * seconds)
    idle = paced(lambda number: None, count, rate)
    recorders = [Recorder(attempt_id, root / f"{attempt_id}.jsonl") for attempt_id in ids]
    shipper = Shipper(database)
    for one in recorders:
        shipper.add(one.path)
    shipper.start()
    began = time.monotonic()
    cpu = paced(lambda number: recorders[number % len(recorders)].event("RequestEnded", DATA, 1), count, rate)
    before = time.process_time()
    for one in recorders:
        one.close()
        shipper.finish(one.path)
    took = time.monotonic() - began
    cpu += time.process_time() - before
    shipper.stop()
    with database.read() as connection:
        stored = connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
    database.close()
    percent = 100 * (cpu - idle) / took
    print(f"{count} events of {len(recorders)} attempts in {took:.1f} s = {count / took:.0f}/s; stored {stored}")
    print(
        f"CPU {percent:.1f} % of a core (goal <= {GOAL_PERCENT:g} %), {1e6 * (cpu - idle) / count:.0f} us per event"
    )
    return stored == count and percent <= GOAL_PERCENT


def main() -> None:
    """Print the table; exit with 1 when an event is missing or the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--attempts", type=int, default=32)
    args = parser.parse_args()
    with scratch() as root, postgres(root) as url:
        met = measure(root / "spool", url, rate=args.rate, seconds=args.seconds, width=args.attempts)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
