"""Jobs of one second on 64 slots against the lower bound work / slots. Goal: at most 1.05.

The jobs sleep in the worker's threads: this measures queue, scheduler and database, not the starting of processes.
"""

import argparse

from benchmarks.support import ours, postgres, scratch

SLOTS, PROCESSES = 64, 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    args = parser.parse_args()
    bound = -(-args.jobs // SLOTS) * 1.0
    with scratch() as root:
        for name in ("postgres", "sqlite"):
            folder = root / name
            folder.mkdir()
            if name == "postgres":
                with postgres(folder) as url:
                    took = ours(folder, url, count=args.jobs, slots=SLOTS, processes=PROCESSES, seconds=1.0)
            else:
                url = f"sqlite:///{folder / 'bench.db'}"
                took = ours(folder, url, count=args.jobs, slots=SLOTS, processes=PROCESSES, seconds=1.0)
            ideal = args.jobs / SLOTS
            print(
                f"{name:9} {args.jobs} jobs of 1 s on {SLOTS} slots: {took:.1f} s; work/slots {ideal:.2f} s, "
                f"ratio {took / ideal:.3f} (whole rounds {bound:.0f} s: {took / bound:.3f})"
            )
    print("goal: ratio <= 1.05")


if __name__ == "__main__":
    main()
