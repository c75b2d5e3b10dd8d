"""How long `bakeoff --help` takes: median and worst of several fresh processes, and the modules that cost most.

The limit is 300 ms: the command line must feel instant, and people type `--help` often. Exit code 1 when the median
is over it. The bare interpreter's start is measured beside it, because no command can be faster than that.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LIMIT_SECONDS = 0.300
_IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| (\s*)(\S+)")


def seconds_of(argv: Sequence[str], runs: int) -> list[float]:
    """Wall time of each of `runs` fresh processes, after one that warms the file cache."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[1:]


def slowest_imports(program: Path, count: int) -> list[tuple[str, float]]:
    """The modules with the largest own import time, in milliseconds."""
    argv = [sys.executable, "-X", "importtime", str(program), "--help"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
    own = [(name, int(micros) / 1000) for micros, _, name in _IMPORT_LINE.findall(text)]
    return sorted(own, key=lambda item: -item[1])[:count]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    program = Path(sys.executable).with_name("bakeoff")
    bare = statistics.median(seconds_of([sys.executable, "-c", "pass"], runs))
    times = seconds_of([str(program), "--help"], runs)
    median = statistics.median(times)
    print(f"bakeoff --help: median {1000 * median:.0f} ms, worst {1000 * max(times):.0f} ms over {runs} runs")
    print(f"bare interpreter: {1000 * bare:.0f} ms; limit: {1000 * _LIMIT_SECONDS:.0f} ms")
    for name, milliseconds in slowest_imports(program, 5):
        print(f"  {milliseconds:6.1f} ms  {name}")
    return int(median > _LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
