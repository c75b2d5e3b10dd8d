"""A forecast of 100,000 jobs on 1,000 slots: learned from as many runs, with quota windows, a budget and one night.

Jobs and durations are generated; half of the tasks have history, the other half is estimated from what is alike. What
is timed is what `bakeoff plan` does behind the database: learning, estimating every job, adding up, and simulating
with the order code of production. CPU is this process's: on a busy machine it tells more than the seconds.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from orchestrator.analysis.estimate import Estimate
from orchestrator.analysis.forecast import OpenJob, forecast
from orchestrator.analysis.known import SECONDS, Run, Subject, known_from, window_share
from orchestrator.analysis.totals import total
from orchestrator.analysis.workload import generated, with_quotas

T = TypeVar("T")
PROFILES = 10
MOST_SECONDS = 7200.0


def timed(what: str, act: Callable[[], T]) -> T:
    """What the action returned; prints its seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = act()
    print(f"{what:40} {time.perf_counter() - wall:6.2f} s (CPU {time.process_time() - cpu:5.2f} s)", flush=True)
    return answer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=1000)
    args = parser.parse_args()
    chance = random.Random(1)
    work = with_quotas(generated(args.jobs, args.slots, 0))
    subjects = [
        Subject(f"t{n // PROFILES}/p{n % PROFILES}", f"t{n // PROFILES}", f"p{n % PROFILES}", f"a{n % PROFILES}")
        for n in range(args.jobs)
    ]
    names = [window_share(window.gate, window.name) for window in work.windows]

    def runs() -> list[Run]:
        found = []
        for job, subject in zip(work.jobs[::2], subjects[::2], strict=True):
            for _ in range(3 if len(found) < args.jobs else 0):
                noise = chance.lognormvariate(0, 0.3)
                took = {SECONDS: job.seconds * noise} | {names[use.window]: use.ppm * noise for use in job.uses}
                found.append(Run(subject, took))
        return found

    history = runs()
    known = timed(f"learned from {len(history)} runs", lambda: known_from(history))

    def estimates() -> list[Estimate | None]:
        return [known.expect(subject, SECONDS) for subject in subjects]

    seconds = timed(f"time of {args.jobs} jobs estimated", estimates)
    jobs = timed(
        "their shares of windows estimated",
        lambda: [
            OpenJob(
                subject.cell,
                subject.target,
                job.needs,
                found.limited(MOST_SECONDS) if found else None,
                MOST_SECONDS,
                tuple((use.window, known.expect(subject, names[use.window])) for use in job.uses),
            )
            for job, subject, found in zip(work.jobs, subjects, seconds, strict=True)
        ],
    )
    print(
        "from:", ", ".join(f"{n} {name}" for name, n in Counter(e.source.name if e else "-" for e in seconds).items())
    )
    kin = [subject.target for subject in subjects]
    summed = timed("added up, with a range", lambda: total(seconds, kin))
    order = sorted(range(len(jobs)), key=lambda index: work.jobs[index].position)
    found = timed("one night simulated", lambda: forecast([jobs[i] for i in order], work.slots, work.windows))
    hours = [f"{value / 3600:.0f} h" if value else "unknown" for value in (summed.low, summed.mean, summed.high)]
    print(f"work {hours[1]} [{hours[0]} - {hours[2]}], known for {summed.known} of {summed.of}")
    print(f"ends after {found.ends.middle / 3600:.1f} h" if found.ends else "ends: unknown", end="; ")
    print(f"{len(found.never)} never start (a budget is spent); bottleneck {found.bottleneck}")


if __name__ == "__main__":
    main()
