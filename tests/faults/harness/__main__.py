"""Random faults for as long as you like: `python -m tests.faults.harness --minutes 30 --seed 1`.

Prints a line per round and a table at the end. Exit code 1 when anything was violated; the line of that round says
how to play it again.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults.harness.rounds import Report, Round
from tests.support.postgres import PostgresServer


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long; the last round is played to its end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=8, help="per round")
    parser.add_argument("--databases", default="sqlite,postgres", help="in turn")
    parser.add_argument("--only", default="", help="these kinds of fault alone, separated by commas")
    parser.add_argument("--round", type=int, help="play this round of the seed alone")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Play rounds until the time is over."""
    options = parse(argv)
    databases = options.databases.split(",")
    server = PostgresServer() if "postgres" in databases else None
    rounds = itertools.count(1) if options.round is None else [options.round]
    end = time.monotonic() + 60 * options.minutes
    reports = []
    try:
        for number in rounds:
            kind = databases[(number - 1) % len(databases)]
            reports.append(play(options, number, kind, server))
            if time.monotonic() >= end:
                break
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        if server is not None:
            server.stop()
    print(table(reports))
    return 1 if any(report.violations for report in reports) else 0


def play(options: argparse.Namespace, number: int, kind: str, server: PostgresServer | None) -> Report:
    """One round, and its line."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-faults-") as folder:
        seed = f"{options.seed}:{number}:{kind}"
        only = frozenset(options.only.split(",")) if options.only else None
        own = server if kind == "postgres" else None
        report = Round(Path(folder), seed, own, options.faults, only=only).play()
    ends = ", ".join(f"{count} {name}" for name, count in sorted(report.outcomes.items()))
    seconds = f"{report.seconds:.0f} s, {report.after_seconds:.0f} s of it after the last fault"
    print(f"round {seed}: {seconds}; {len(report.steps)} faults; {ends}", flush=True)
    if report.violations:
        print(f"  faults: {', '.join(report.steps)}\n  again: --seed {options.seed} --round {number}")
        print("\n".join(f"  VIOLATION {text}" for text in report.violations))
        kept = Path(tempfile.mkdtemp(prefix="bakeoff-faults-logs-")) / "logs"
        kept.write_text(report.logs)
        print(f"  logs: {kept}", flush=True)
    return report


def table(reports: Sequence[Report]) -> str:
    """Fault kinds with their counts, and the number of rounds with violations in which each took part."""
    done = sum((report.counts for report in reports), Counter[str]())
    bad = Counter(name for report in reports if report.violations for name in set(report.steps))
    lines = [f"{'fault':<24}{'count':>7}{'in bad rounds':>15}"]
    lines += [f"{name:<24}{done[name]:>7}{bad[name]:>15}" for name in sorted(done)]
    broken = sum(len(report.violations) for report in reports)
    lines.append(f"{len(reports)} rounds, {done.total()} faults, {broken} violations")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
