"""A matrix of 100,000 jobs, each a cell of its own: planned (goal 5 s) and submitted (goal 10 s), on both databases.

Planned is what `bakeoff plan` does after it has looked at the repositories: reading and checking both files,
expanding, hashing, ordering. 100 targets x 10 profiles x 100 values of a swept limit. The second round meets what
the first one stored. CPU is this process's: on a busy machine it tells more than the seconds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.support import postgres, scratch
from orchestrator.clock import utc_now
from orchestrator.domain.preflight import AgentAnswer, Answer, TargetAnswer
from orchestrator.files import load_experiment
from orchestrator.scheduling.planned import Plan, make_plan
from orchestrator.scheduling.submit import submit
from orchestrator.storage.engine import Database
from orchestrator.storage.history import known, turns
from orchestrator.storage.submit import existing_jobs

PLAN_GOAL_SECONDS, SUBMIT_GOAL_SECONDS = 5.0, 10.0
TARGETS, PROFILES = 100, 10
T = TypeVar("T")


def write_files(root: Path, jobs: int) -> Path:
    """The experiment file of a matrix of `jobs` cells, a multiple of 1,000, with its fleet file beside it."""
    fleet = ['[accounts.max]\nbase_url = "http://127.0.0.1:1"\nprotocol = "chat"\nconcurrency = 4\n']
    lines = ["experiment: scale", "agent: reference", "limits:"]
    lines += [f"  max_turns: [{', '.join(str(value) for value in range(1, jobs // (TARGETS * PROFILES) + 1))}]"]
    lines += ["profiles:"]
    for number in range(PROFILES):
        fleet.append(f'[models.m{number}]\nname = "m{number}"\naccount = "max"\ncontext_window = 200000\n')
        lines.append(f"  p{number}: {{model: m{number}}}")
    lines.append("targets:")
    for number in range(TARGETS):
        lines.append(f"  - {{name: t{number}, repo: ./repo{number}, base: main, prompt: 'Rename a to b{number}.'}}")
    (root / "fleet.toml").write_text("\n".join(fleet), encoding="utf-8")
    (root / "experiment.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "experiment.yaml"


def pinned() -> Answer:
    """What the machine would say about the repositories."""
    targets = {f"t{n}": TargetAnswer(sha=f"{n:040x}", task_text=f"Rename a to b{n}.") for n in range(TARGETS)}
    agents = {"reference": AgentAnswer(installed=True, version="1", hint="")}
    return Answer(targets=targets, agents=agents, problems=(), prompts_hash="")


def plan(file: Path, database: Database) -> Plan:
    """The whole plan of the file against what is stored."""
    loaded = load_experiment(file)
    existing = existing_jobs(database, loaded.experiment.experiment)
    return make_plan(loaded, pinned(), existing, known=known(database), turns=turns(database))


def timed(act: Callable[[], T]) -> tuple[T, float, float]:
    """What the action returned, and its seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = act()
    return answer, time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, url: str, file: Path) -> None:
    """Print one database's rows."""
    database = Database(url)
    try:
        database.migrate()
        for again in ("", " again"):
            planned, wall, cpu = timed(partial(plan, file, database))
            row = f"{name:10} {'plan' + again:12} {len(planned.jobs):7} jobs "
            print(f"{row} {wall:6.2f} s (CPU {cpu:5.2f} s)   goal {PLAN_GOAL_SECONDS:g} s")
            added, wall, cpu = timed(partial(submit, planned, database, utc_now()))
            row = f"{name:10} {'submit' + again:12} {added:7} added"
            print(f"{row} {wall:6.2f} s (CPU {cpu:5.2f} s)   goal {SUBMIT_GOAL_SECONDS:g} s")
    finally:
        database.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    args = parser.parse_args()
    with scratch() as root:
        file = write_files(root, args.jobs)
        with postgres(root) as url:
            measure("PostgreSQL", url, file)
        measure("SQLite", f"sqlite:///{root / 'scale.db'}", file)


if __name__ == "__main__":
    main()
