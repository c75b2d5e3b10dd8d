"""Random faults for as long as you like: `python -m tests.faults.harness --minutes 30 --seed 1`.

Prints a line per round and a table at the end. Exit code 1 when anything was violated; the line of that round says
how to play it again.
"""

import argparse
import itertools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from tests.faults.harness.faults import World
from tests.faults.harness.playing import Plan, play
from tests.faults.harness.rounds import Report
from tests.faults.harness.table import table


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long; what has begun is played to its end")
    parser.add_argument("--count", type=int, help="end after so many faults instead")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--faults", type=int, default=12, help="per round")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time")
    parser.add_argument("--worlds", default=",".join(World), help="in turn")
    parser.add_argument("--only", default="", help="these kinds of fault alone, separated by commas")
    parser.add_argument("--round", type=int, help="play this round of the seed alone")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Play rounds until the time is over, or so many faults are done."""
    options = parse(argv)
    end: float = time.monotonic() + 60 * options.minutes
    reports: list[Report] = []
    began = time.monotonic()

    def over() -> bool:
        count: int | None = options.count
        if count is not None:
            return sum(len(report.steps) for report in reports) >= count
        return time.monotonic() >= end

    todo = plans(options)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(play, plan): plan for plan in itertools.islice(todo, options.jobs)}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    plan = running.pop(future)
                    reports.append(future.result())
                    tell(options, plan, reports[-1])
                    running |= {pool.submit(play, one): one for one in ([] if over() else itertools.islice(todo, 1))}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(table(reports, time.monotonic() - began))
    return 1 if any(report.violations for report in reports) else 0


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Every round of a seed, or the one that was asked for."""
    worlds = [World(name) for name in options.worlds.split(",")]
    only = frozenset(options.only.split(",")) if options.only else None
    for number in itertools.count(1) if options.round is None else [options.round]:
        yield Plan(options.seed, number, worlds[(number - 1) % len(worlds)], options.faults, only)


def tell(options: argparse.Namespace, plan: Plan, report: Report) -> None:
    """The round's line; what was violated, and how to play it again."""
    ends = ", ".join(f"{count} {name}" for name, count in sorted(report.outcomes.items()))
    seconds = f"{report.seconds:.0f} s, {report.after_seconds:.0f} s of it after the last fault"
    seen = f"{report.elsewhere} on the other machine, {report.resumed} resumed"
    seen += "".join(f"; {scope} stopped {count} times" for scope, count in report.stopped.items())
    print(f"round {report.seed}: {seconds}; {len(report.steps)} faults; {ends}; {seen}", flush=True)
    if not report.violations:
        return
    again = [os.path.relpath(sys.executable), "-m", "tests.faults.harness"]
    again += ["--seed", plan.seed, "--round", str(plan.number), "--faults", str(plan.faults)]
    again += ["--worlds", options.worlds, *(["--only", options.only] if options.only else [])]
    print(f"  faults: {', '.join(report.steps)}\n  again: {shlex.join(again)}")
    print("\n".join(f"  VIOLATION {text}" for text in report.violations))
    kept = Path(tempfile.mkdtemp(prefix="bakeoff-faults-logs-")) / "logs"
    kept.write_text(report.logs)
    print(f"  logs: {kept}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
