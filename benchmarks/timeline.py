"""One run of 10,000 stages against one of 1,000: time per stage to decide, record and replay. Goal: ratio <= 1.2.

`decide` asks the loop for the next stage, `write` spools stage and events and ships them to the database, `replay`
reads the whole timeline, `view` is what the report and the live view read. Both sizes take turns, thousand by
thousand, so that a busy machine disturbs them alike.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.queue_throughput import fresh
from benchmarks.support import POOL, make_jobs, postgres, scratch
from orchestrator.clock import utc_now
from orchestrator.domain.jobspec import JobSpec, ModelSpec, TargetSpec
from orchestrator.domain.limits import Limits
from orchestrator.scheduling.dispatch import dispatch
from orchestrator.storage import attempts
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.timeline import job_timeline
from workers.loops.handover import next_step
from workers.loops.history import History
from workers.loops.staged import CONTINUE_MARK, staged
from workers.loops.steps import StageDone, StageOrder
from workers.spool import Recorder, Shipper

SIZES = (1_000, 10_000)
EVENTS, SHIPPED_TOGETHER = 5, 50
GOAL = 1.2


def spec(stages: int) -> JobSpec:
    """A job that builds for so many stages."""
    model = ModelSpec(
        alias="m",
        name="m",
        resource=POOL,
        base_url="http://127.0.0.1:9",
        protocol="chat",
        key=None,
        context_window=1000,
        max_output=100,
    )
    return JobSpec(
        experiment="bench",
        target=TargetSpec(label="t", source="/t", base="main", sha="0" * 40, task_text="Do it."),
        profile="p",
        agent="a",
        agent_version=None,
        models={"reasoning": model, "build": model},
        loop="staged",
        max_builds=2 * stages,
        limits=Limits(max_iterations=2 * stages),
    )


def claimed(database: Database) -> attempts.Claim:
    """The one job's attempt."""
    make_jobs(database, 1)
    worker = attempts.WorkerIdentity(machine="bench", boot_id="b", pid=1, start_ticks=1)
    [hint] = dispatch(database, utc_now())
    claim = attempts.claim(database, hint.job_id, hint.order_token, worker, utc_now())
    assert claim is not None
    return claim


class Run:
    """One attempt, and the seconds that its stages took so far, by part."""

    def __init__(self, url: str, spool: Path, stages: int) -> None:
        self.took, self._stages = defaultdict[str, float](float), 0
        self._spec, self._history, self._spool = spec(stages), History(), spool
        self._database = Database(url)
        self._database.migrate()
        ensure_slots(self._database, {POOL: 1})
        self._claim = claimed(self._database)
        self._recorder = Recorder(self._claim.attempt_id, spool / f"{self._claim.attempt_id}.jsonl")
        self._shipper = Shipper(self._database)
        self._shipper.add(self._recorder.path)

    def go_on(self, stages: int) -> None:
        """Decide and record so many more."""
        for ordinal in range(self._stages + 1, self._stages + stages + 1):
            began = time.perf_counter()
            order = next_step(staged, self._spec, self._history)
            decided = time.perf_counter()
            if not isinstance(order, StageOrder):
                raise SystemExit(f"the loop ended at stage {ordinal}: {order.detail}")
            record(self._recorder, ordinal, order)
            if ordinal % SHIPPED_TOGETHER == 0:
                self._shipper.settle(self._spool)
            self.took["decide"] += decided - began
            self.took["write"] += time.perf_counter() - decided
            said = f"{ordinal}\n{CONTINUE_MARK}"
            self._history.append(StageDone(stage=order.stage, outcome=None, detail="", answer=said, changed=True))
        self._stages += stages

    def end(self) -> None:
        """Read everything back."""
        self._recorder.close()
        self._shipper.finish(self._recorder.path)
        began = time.perf_counter()
        moments = sum(1 for _ in job_timeline(self._database, self._claim.job_id))
        replayed = time.perf_counter()
        seen = len(load_evidence(self._database, "bench", utc_now()).stages)
        self.took["replay"], self.took["view"] = replayed - began, time.perf_counter() - replayed
        if (moments, seen) != (1 + self._stages * (2 + EVENTS), self._stages):
            raise SystemExit(f"{moments} moments were replayed, the report sees {seen} stages")
        self._database.close()


def record(recorder: Recorder, ordinal: int, order: StageOrder) -> None:
    """What a worker writes down about one stage."""
    recorder.stage(
        ordinal,
        {
            "stage": order.stage,
            "role": order.role,
            "agent": "a",
            "model_asked": "m",
            "resource": POOL,
            "started_at": utc_now(),
            "context_window": 1000,
            "prompt_bytes": len(order.prompt),
        },
    )
    for call in range(EVENTS):
        recorder.event("ToolCalled", {"tool": "shell", "signature": f"make test {call}"}, ordinal)
    figures = {"turns": 1, "requests": 1, "input_tokens": 1000, "output_tokens": 100}
    recorder.stage(ordinal, {**figures, "ended_at": utc_now(), "changed": True, "commit_sha": f"{ordinal:040x}"})


def measure(name: str, url_of: Callable[[str], str], root: Path) -> bool:
    """Print one database's rows; whether the ratio of all parts is within the goal."""
    few, many = SIZES
    long = Run(url_of("long"), root / f"{name}-long", many)
    short = defaultdict[str, float](float)
    for number in range(many // few):
        long.go_on(few)
        one = Run(url_of(f"short{number}"), root / f"{name}-short{number}", few)
        one.go_on(few)
        one.end()
        for part, seconds in one.took.items():
            short[part] += seconds
    long.end()
    for parts in (*([part] for part in short), list(short)):
        at_few, at_many = (1e6 * sum(took[part] for part in parts) / many for took in (short, long.took))
        told = f"{at_few:8.1f} us per stage at {few}, {at_many:8.1f} at {many}: ratio {at_many / at_few:.2f}"
        print(f"{name:10} {'+'.join(parts):27} {told}", flush=True)
    return at_many / at_few <= GOAL


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with scratch() as root:
        good = measure("SQLite", lambda which: f"sqlite:///{root / f'{which}.db'}", root)
        with postgres(root) as url:
            good = measure("PostgreSQL", lambda which: fresh(url, which), root) and good
    print(f"goal: ratio of all at most {GOAL}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
