"""Import of a table of trials and export of its stages: time against plain CSV and SQLite, and memory at its peak.

Each step is a process of its own, so that its peak is its own. The yardstick reads the same file with `csv` and
inserts the rows with one `executemany` into one table without keys; an import makes five rows of each.
"""

import argparse
import csv
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from orchestrator.clock import utc_now
from orchestrator.interop import trials
from orchestrator.interop.open_tables import write_tables
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials_file import check_whole, read_lines
from orchestrator.storage.engine import Database
from orchestrator.storage.imports import store_imported

ROWS, TRIALS_PER_CELL, TASKS = 20_000, 5, 400
# Measured: 64 to 101 times. A slip that is quadratic misses the goal at once.
WANTED_RATIO, WANTED_MIB = 160.0, 1024
HEADER = (
    "submission",
    "task",
    "trial",
    "resolved",
    "failure_mode",
    "in_tok",
    "out_tok",
    "started",
    "ended",
    "cost_usd",
)
STEPS = ("plain", "import", "again", "csv", "jsonl", "parquet")


def make(path: Path, rows: int) -> None:
    """A table with `rows` trials: 400 tasks, 5 trials of each, as many submissions as that takes."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for number in range(rows):
            cell, trial = divmod(number, TRIALS_PER_CELL)
            submission, task = divmod(cell, TASKS)
            at = f"2025-{number % 12 + 1:02}-01T00:{number % 60:02}:00+00:00"
            end = at.replace("T00:", "T01:")
            tokens = (number % 90_000 + 1, number % 9_000 + 1)
            name = f"20250101_agent{submission}_model{submission}"
            table.writerow(
                [name, f"task{task}", trial, number % 2, "unset", *tokens, at, end, number % 900 / 100 + 0.01]
            )


def _plain(table: Path, folder: Path) -> int:
    with closing(sqlite3.connect(folder / "plain.db")) as connection, table.open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        connection.execute(f"CREATE TABLE trials ({', '.join(HEADER)})")
        connection.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(HEADER))})", reader)
        connection.commit()
        return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])


def _import(table: Path, folder: Path) -> int:
    with closing(Database(f"sqlite:///{folder / 'bakeoff.db'}")) as database:
        database.migrate()
        tally, counts = Tally(), trials.Counts()
        check_whole(table)
        runs = trials.to_results("t", table.name, read_lines(table, tally), tally, counts)
        stored = store_imported(database, name="t", source=trials.SOURCE, runs=runs, now=utc_now())
        trials.note_missing(counts, tally)
        return stored.added


def _export(form: str) -> Callable[[Path, Path], int]:
    def step(_: Path, folder: Path) -> int:
        with closing(Database(f"sqlite:///{folder / 'bakeoff.db'}")) as database:
            return write_tables(database, "t", folder / form, form, agent_text=False, force=True)["stages"]

    return step


def _step(name: str, table: Path, folder: Path) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    work = {"plain": _plain, "import": _import, "again": _import}.get(name) or _export(name)
    rows = work(table, folder)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(rows, time.perf_counter() - began, time.process_time() - cpu, peak_mib)


def main() -> None:
    """Print the table; exit 1 when the import takes too long or too much."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=ROWS)
    asked.add_argument("--step", nargs=3, metavar=("NAME", "TABLE", "FOLDER"))
    options = asked.parse_args()
    if options.step:
        name, table, folder = options.step
        _step(name, Path(table), Path(folder))
        return
    found: dict[str, tuple[int, float, float, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "trials.csv")
        make(table, options.rows)
        print(f"{options.rows:,} trials, {table.stat().st_size / 2**20:.1f} MiB")
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.interop_scale", "--step", name, str(table), folder]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            found[name] = (int(told[0]), float(told[1]), float(told[2]), int(told[3]))
            rows, seconds, cpu, peak = found[name]
            ratio = cpu / found["plain"][2]
            print(
                f"{name:8} {rows:9,} rows {seconds:8.2f} s  CPU {cpu:7.2f} s = {ratio:5.1f} times plain  {peak:5} MiB"
            )
    ratio, peak = found["import"][2] / found["plain"][2], max(one[3] for one in found.values())
    print(f"import {ratio:.1f} times plain (goal {WANTED_RATIO:g}), peak {peak} MiB (goal {WANTED_MIB})")
    whole = found["import"][0] == options.rows and found["again"][0] == 0
    sys.exit(not whole or ratio > WANTED_RATIO or peak > WANTED_MIB)


if __name__ == "__main__":
    main()
