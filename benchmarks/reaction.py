"""How fast the fleet reacts: to a slot that becomes free, and to a cancel of 64 running jobs.

    python -m benchmarks.reaction [--jobs 60] [--running 64]

A slot: jobs of 0.2 s one after the other on a single slot, with two worker processes, so that the next one is as
often as not in the other process; from the end of one attempt to the start of the next, by the database. A cancel:
64 agents that run for ever under `bakeoff run`, each with a grandchild; from the start of `bakeoff cancel` until
no process of theirs is left.
"""

import argparse
import itertools
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from benchmarks.support import ours, postgres, scratch
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts
from tests.support.lab import Lab
from tests.support.waiting import until

SLOT_GOAL_MS, CANCEL_GOAL_SECONDS = 200.0, 5.0


def gaps_ms(url: str) -> list[float]:
    """From each attempt's end to the start of the next one, in milliseconds."""
    database = Database(url)
    query = sa.select(attempts.c.started_at, attempts.c.ended_at).order_by(attempts.c.started_at)
    with database.read() as connection:
        rows = connection.execute(query).all()
    database.close()
    return [1000 * (after.started_at - before.ended_at).total_seconds() for before, after in itertools.pairwise(rows)]


def freed_slot(root: Path, resource: str, jobs: int) -> bool:
    """Print the reaction to a freed slot of one kind of resource."""
    folder = root / resource.replace(":", "-")
    folder.mkdir()
    url = f"sqlite:///{folder / 'bench.db'}"
    with postgres(folder) as server:
        for name, where in (("SQLite", url), ("PostgreSQL", server)):
            place = folder / name
            place.mkdir()
            ours(place, where, count=jobs, slots=1, processes=2, seconds=0.2, resource=resource)
            found = sorted(gaps_ms(where))
            middle = statistics.median(found)
            p90 = found[-len(found) // 10]
            print(f"{resource:14} {name:10} freed slot to next start: median {middle:.0f} ms, p90 {p90:.0f} ms")
            if middle > SLOT_GOAL_MS:
                return False
    return True


def cancel_all(root: Path, running: int) -> bool:
    """Print how long a cancel of everything takes."""
    with closing(Lab(root / "lab")) as lab:
        lab.write_fleet(slots=running, models={"local": {}})
        lab.write(agent="daemon", profiles={"one": "local"}, repeats=running, limits={"grace": "300ms"})
        process = lab.start("run", str(lab.file))
        until(lambda: len(lab.notes("daemon")) >= running, f"{running} agents to run", 300)
        began = time.monotonic()
        lab.bakeoff("cancel", "lab")
        until(lambda: not lab.leftovers(), "every process to end", 60)
        took = time.monotonic() - began
        lab.end_of(process, 60)
        states = {row["state"] for row in lab.results.jobs()}
    print(f"cancel of {running} running jobs: no process left after {took:.1f} s (goal <= {CANCEL_GOAL_SECONDS:g} s)")
    return took <= CANCEL_GOAL_SECONDS and states == {"cancelled"}


def main() -> None:
    """Print the table; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--running", type=int, default=64)
    args = parser.parse_args()
    with scratch() as root:
        met = [freed_slot(root, resource, args.jobs) for resource in ("account:bench", "pool:bench")]
        print(f"goal for a freed slot: median <= {SLOT_GOAL_MS:g} ms")
        met.append(cancel_all(root, args.running))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
