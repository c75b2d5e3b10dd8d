"""What it costs to watch agents that say nothing: CPU % of one core per agent, worker and shims together.

    python -m benchmarks.supervision_cpu [--agents 20] [--seconds 10]

Starting and ending are left out: the CPU time is read when every agent runs, and again before any is ended.
"""

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.clock import boot_seconds
from orchestrator.domain.events import AgentEnded, EndReason, Event
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.watch import StageFrame, Watch
from workers.agents.base import Launch
from workers.supervision import procfs
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.supervisor import run_stage

LIMIT_PERCENT = 1.0


class Reader:
    """Reads nothing; looks for a session file that is not there, as most adapters do."""

    def __init__(self, folder: Path) -> None:
        self.unparsed = 0
        self._session = folder / "session.jsonl"

    def feed(self, data: bytes) -> Sequence[Event]:
        return ()

    def poll(self) -> Sequence[Event]:
        self._session.exists()
        return ()

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        return AgentEnded(reason=EndReason.FINISHED, exit_code=exit_code)


def run_silent(folder: Path, inbox: StageInbox, lease: LeaseView, started: threading.Semaphore) -> None:
    now = boot_seconds()
    frame = StageFrame(
        limits=Limits(grace=0.1), context_window=1000, prices=None, started_at=now, attempt_started_at=now
    )
    folder.mkdir()
    run_stage(
        launch=Launch(argv=("sh", "-c", "echo; exec sleep 600"), env={"PATH": os.environ["PATH"]}, cwd=folder),
        reader=Reader(folder),
        watch=Watch(frame),
        inbox=inbox,
        lease=lease,
        transcript=folder / "out",
        stderr_file=folder / "err",
        attempt_id="bench",
        now=boot_seconds,
        on_event=lambda *_: started.release(),
    )


def own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def below_cpu_seconds() -> float:
    """Of guards, keepers and (sleeping) agents; `schedstat` counts nanoseconds, `stat` only ticks."""
    stats = {pid: stat for pid in procfs.pids() if (stat := procfs.stat(pid)) is not None}
    todo, total = [os.getpid()], 0
    while todo:
        parent = todo.pop()
        children = [pid for pid, stat in stats.items() if stat.parent == parent]
        todo += children
        total += sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in children)
    return total / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    started = threading.Semaphore(0)
    lease = LeaseView(boot_seconds() + 600)
    inboxes = [StageInbox() for _ in range(options.agents)]
    with tempfile.TemporaryDirectory() as folder:
        threads = [
            threading.Thread(target=run_silent, args=(Path(folder) / str(number), inbox, lease, started))
            for number, inbox in enumerate(inboxes)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            if not started.acquire(timeout=30):
                sys.exit("an agent did not start")
        time.sleep(1.0)  # the last start's work
        own, below, began = own_cpu_seconds(), below_cpu_seconds(), time.monotonic()
        time.sleep(options.seconds / 2)
        lease.renew_until(boot_seconds() + 600)
        time.sleep(options.seconds / 2)
        took = time.monotonic() - began
        own, below = own_cpu_seconds() - own, below_cpu_seconds() - below
        for inbox in inboxes:
            inbox.order_end(Outcome.CANCELLED, "measured")
        for thread in threads:
            thread.join()
    share = 100 / took / options.agents
    print(
        f"{options.agents} silent agents for {took:.1f} s: {share * (own + below):.3f} % of a core each "
        f"(worker {share * own:.3f} %, shims {share * below:.3f} %; limit {LIMIT_PERCENT:g} %)"
    )
    sys.exit(share * (own + below) > LIMIT_PERCENT)


if __name__ == "__main__":
    main()
