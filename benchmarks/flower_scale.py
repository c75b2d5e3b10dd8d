"""Flower after 100,000 tasks against 10,000: memory and time of its pages. Goals: at most 150 MiB, ratios <= 1.2.

Each task comes as its worker tells of it: received, started, a line of its stage, succeeded; through a real broker,
no faster than Flower takes them. Each Flower has a broker of its own, and both are asked in turns.
"""

import argparse
import base64
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.support import scratch
from orchestrator.broker import TASK_NAME, celery_app
from orchestrator.embedded import EmbeddedBroker
from orchestrator.flower import MAX_TASKS
from orchestrator.settings import load_settings

SIZES = (10_000, 100_000)
GOAL_MIB, GOAL_RATIO = 150.0, 1.2
# Sent before Flower is asked whether it has them: bounds what waits in the broker.
_TOGETHER = 2000
_COLUMN = "order[0][column]=5&order[0][dir]=desc&columns[5][data]=started"
PAGES = {
    "task page": "/tasks",
    "its first 25 rows": f"/tasks/datatable?draw=1&start=0&length=25&{_COLUMN}&search[value]=",
    "a search in it": f"/tasks/datatable?draw=1&start=0&length=25&{_COLUMN}&search[value]=target-42",
    "API, newest 100": "/api/tasks?limit=100&sort_by=-received",
    "metrics": "/metrics",
}
_ROUNDS = 15
# One page may be slower by so much whatever the ratio says: a busy machine's noise.
_NOISE_MILLISECONDS = 20.0


class Figures(NamedTuple):
    """MiB resident, and milliseconds by page."""

    mib: float
    pages: dict[str, float]


class Flower:
    """`bakeoff flower` on a broker."""

    def __init__(self, root: Path, broker_url: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self._password = secrets.token_urlsafe(12)
        self._url = f"http://127.0.0.1:{port}"
        env = {"BAKEOFF_HOME": str(root), "BAKEOFF_BROKER_URL": broker_url, "BAKEOFF_FLOWER_PASSWORD": self._password}
        command = [str(Path(sys.executable).with_name("bakeoff")), "flower", "--port", str(port)]
        with (root / "flower.log").open("wb") as log:
            self._process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)

    def get(self, path: str) -> bytes:
        """A page; empty when it is not there."""
        request = urllib.request.Request(self._url + path)
        login = base64.b64encode(f"bakeoff:{self._password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            return b""

    def await_healthy(self) -> None:
        """Until it listens."""
        for _ in range(1200):
            try:
                if self.get("/healthcheck"):
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit("Flower does not start")

    def await_task(self, task_id: str) -> None:
        """Until it knows the end of a task."""
        for _ in range(6000):
            if b"SUCCESS" in self.get(f"/api/task/info/{task_id}"):
                return
            time.sleep(0.05)
        raise SystemExit("Flower does not keep up")

    def kept(self) -> int:
        """How many tasks its page lists."""
        return int(json.loads(self.get(PAGES["its first 25 rows"]))["recordsTotal"])

    def mib(self) -> float:
        """What it holds in memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        """TERM."""
        self._process.terminate()
        self._process.wait(60)


@contextmanager
def flower(root: Path) -> Iterator[tuple[Flower, str]]:
    """Flower and the broker that it listens to."""
    broker = EmbeddedBroker(root / "broker.log")
    try:
        started = Flower(root, broker.url)
        try:
            started.await_healthy()
            yield started, broker.url
        finally:
            started.stop()
    finally:
        broker.stop()


def send(shown: Flower, url: str, count: int, root: Path) -> None:
    """The life of so many tasks."""
    app = celery_app(load_settings({"BAKEOFF_HOME": str(root), "BAKEOFF_BROKER_URL": url}))
    with app.connection_for_write() as connection, app.events.Dispatcher(connection, hostname="gpu@box") as events:
        events.send("worker-online", freq=2, sw_ident="bench", sw_ver="1", sw_sys="Linux")
        for number in range(count):
            task = f"{number}.1.{number:016x}"
            label = f"night target-{number % 500}/careful #{number % 5 + 1}"
            events.send("task-received", uuid=task, name=TASK_NAME, args=label, kwargs="")
            events.send("task-started", uuid=task)
            events.send("task-progress", uuid=task, result="build with opus: 3 requests, 12k tokens, context 14 %")
            events.send("task-succeeded", uuid=task, result="'complete'", runtime=60.0)
            if number % _TOGETHER == _TOGETHER - 1 or number == count - 1:
                shown.await_task(task)


def measure(few: Flower, many: Flower) -> tuple[Figures, Figures]:
    """Both in turns, so that a busy machine disturbs them alike."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in PAGES}
    for _ in range(_ROUNDS):
        for name, path in PAGES.items():
            for shown, times in zip((few, many), taken[name], strict=True):
                times.append(_milliseconds(shown, path))
    for shown in (few, many):
        if (kept := shown.kept()) != MAX_TASKS:
            raise SystemExit(f"Flower lists {kept} tasks, not the newest {MAX_TASKS}")
    middles = {name: [statistics.median(times) for times in both] for name, both in taken.items()}
    one, other = ({name: both[index] for name, both in middles.items()} for index in (0, 1))
    return Figures(few.mib(), one), Figures(many.mib(), other)


def _milliseconds(shown: Flower, path: str) -> float:
    began = time.perf_counter()
    if not shown.get(path):
        raise SystemExit(f"{path} is not there")
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, metavar="TASKS")
    sizes = parser.parse_args().sizes
    with scratch() as root, scratch() as other, flower(root) as (small, near), flower(other) as (large, far):
        began = time.monotonic()
        send(small, near, sizes[0], root)
        send(large, far, sizes[1], other)
        rate = 4 * sum(sizes) / (time.monotonic() - began)
        few, many = measure(small, large)
    for size, found in zip(sizes, (few, many), strict=True):
        pages = "  ".join(f"{name} {value:.0f}" for name, value in found.pages.items())
        print(f"{size:7} tasks: {found.mib:.0f} MiB  ms: {pages}")
    ratios = {"memory": many.mib / few.mib} | {name: many.pages[name] / few.pages[name] for name in PAGES}
    print("ratios:", "  ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()), f"  goal <= {GOAL_RATIO}")
    print(f"{rate:.0f} events a second")
    slower = [name for name in PAGES if many.pages[name] > GOAL_RATIO * few.pages[name] + _NOISE_MILLISECONDS]
    if many.mib > GOAL_MIB or ratios["memory"] > GOAL_RATIO or slower:
        raise SystemExit("missed")


if __name__ == "__main__":
    main()
