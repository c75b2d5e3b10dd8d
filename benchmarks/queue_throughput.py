"""Empty jobs through the whole path, against procrastinate (durable in SQL) and Celery (keeps nothing).

Ours: scheduler pass, hint over Celery, claim with slot, lease and fence, fenced result. All run in one go on the same
PostgreSQL and kind of broker with two worker processes, several rounds in turn; medians. Rates are those between the
first job that was seen to have ended and the last, so that no worker's start is counted.
Goals: at least 1.0 of procrastinate's rate, at least 0.25 of plain Celery's.
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import sqlalchemy as sa
from celery import Celery

from benchmarks.support import HERE, ours, postgres, programs, scratch
from orchestrator.broker import celery_app
from orchestrator.embedded import EmbeddedBroker
from orchestrator.settings import load_settings

PROCESSES, SLOTS = 2, 64


def fresh(url: str, name: str) -> str:
    """A new database on the server."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def procrastinate(root: Path, url: str, count: int) -> float:
    """Seconds in which procrastinate drains `count` deferred empty jobs."""
    from benchmarks.peer_procrastinate import defer, done, prepare

    asyncio.run(prepare(url))
    asyncio.run(defer(url, count))
    command = [sys.executable, "-m", "benchmarks.peer_procrastinate", url, str(SLOTS // PROCESSES)]
    with programs([command] * PROCESSES, {"PYTHONPATH": str(HERE.parent)}, root):
        while not (first := asyncio.run(done(url))):
            time.sleep(0.02)
        began = time.monotonic()
        while (finished := asyncio.run(done(url))) < count:
            time.sleep(0.02)
        # The workers' start is not counted: the rate is that of the jobs after the first look.
        return (time.monotonic() - began) * count / max(1, finished - first)


def celery(root: Path, kind: str, count: int) -> float:
    """Seconds in which Celery drains `count` queued empty tasks: `plain` as it comes, `tuned` with our options."""
    broker = EmbeddedBroker(root / f"{kind}-broker.log")
    try:
        settings = replace(load_settings({}), broker_url=broker.url)
        app = celery_app(settings) if kind == "tuned" else Celery("plain", broker=broker.url)
        with app.producer_or_acquire() as producer:
            for _ in range(count):
                app.send_task("bench.empty", queue="plain", producer=producer)
        workers, threads = (PROCESSES, SLOTS // PROCESSES) if kind == "tuned" else (1, PROCESSES)
        command = [sys.executable, "-m", "benchmarks.peer_celery", kind, str(threads)]
        env = {"PYTHONPATH": str(HERE.parent), "BAKEOFF_BROKER_URL": broker.url, "C_FORCE_ROOT": "1"}
        key = "bakeoff:plain" if kind == "tuned" else "plain"
        with broker.client() as client, programs([command] * workers, env, root):
            while (first := client.llen(key)) == count:
                time.sleep(0.005)
            began = time.monotonic()
            while client.llen(key):
                time.sleep(0.005)
            return (time.monotonic() - began) * count / max(1, first)
    finally:
        broker.stop()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rates: dict[str, list[float]] = {"ours": [], "procrastinate": [], "Celery": [], "Celery, tuned": []}
    with scratch() as root, postgres(root) as url:
        for number in range(args.rounds):
            folder = root / str(number)
            folder.mkdir()
            took = ours(
                folder, fresh(url, f"ours{number}"), count=args.jobs, slots=SLOTS, processes=PROCESSES, seconds=0.0
            )
            rates["ours"].append(args.jobs / took)
            rates["procrastinate"].append(args.jobs / procrastinate(folder, fresh(url, f"peer{number}"), args.jobs))
            rates["Celery"].append(2 * args.jobs / celery(folder, "plain", 2 * args.jobs))
            rates["Celery, tuned"].append(2 * args.jobs / celery(folder, "tuned", 2 * args.jobs))
        sqlite = args.jobs / ours(
            root, f"sqlite:///{root / 'bench.db'}", count=args.jobs, slots=SLOTS, processes=PROCESSES, seconds=0.0
        )
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:14} {middle[name]:8.0f} jobs/s   rounds: {', '.join(f'{value:.0f}' for value in values)}")
    print(f"{'ours, SQLite':14} {sqlite:8.0f} jobs/s   one round")
    print(f"ours / procrastinate: {middle['ours'] / middle['procrastinate']:.2f}   (goal >= 1.0)")
    print(f"ours / plain Celery:  {middle['ours'] / middle['Celery']:.2f}   (goal >= 0.25)")
    print(f"ours / Celery with our options: {middle['ours'] / middle['Celery, tuned']:.2f}   (no goal)")


if __name__ == "__main__":
    main()
