"""What running attempts take of the machine: memory, processes, disk. Whoever takes more than his limits is ended.

Control groups would cap the first two in the kernel, but few users may make them, and rlimits count per user or
break runtimes that reserve address space. So one thread per worker looks at the whole process table every two
seconds and adds up what carries an attempt's mark. Memory is what a process has for itself: resident, without pages
shared with files. Pages that a forked child still shares with its parent count twice.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.clock import boot_seconds
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from workers.disk import disk_use
from workers.supervision import procfs
from workers.supervision.inbox import EndOrder, StageInbox
from workers.supervision.marks import Tag

log = logging.getLogger("bakeoff.worker")

_LOOK_SECONDS = 2.0
# Adding up a large tree takes long: it is done so seldom that it costs at most a hundredth of a core.
_DISK_SHARE = 100
_DISK_SECONDS = 10.0


class Taken(NamedTuple):
    """What one attempt takes now."""

    memory_bytes: int = 0
    processes: int = 0


@dataclass
class _Watched:
    limits: Callable[[], Limits]
    folder: Path
    inbox: StageInbox
    next_disk: float = 0.0


class Meter:
    """The looking thread."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(timeout=30)

    def watch(self, attempt_id: str, limits: Callable[[], Limits], folder: Path, inbox: StageInbox) -> None:
        """Hold this attempt to its limits from now on; `folder` is everything that it may fill."""
        with self._lock:
            self._watched[attempt_id] = _Watched(limits, folder, inbox)

    def drop(self, attempt_id: str) -> None:
        """Leave it alone."""
        with self._lock:
            self._watched.pop(attempt_id, None)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with self._lock:
                watched = dict(self._watched)
            if not watched:
                continue
            try:
                self._look(watched)
            except Exception:
                # A bug in one look must not leave the attempts of this worker without their limits.
                log.exception("meter_failed")

    def _look(self, watched: dict[str, _Watched]) -> None:
        taken = measure(watched)
        for attempt_id, one in watched.items():
            limits = one.limits()
            order = over(limits, taken[attempt_id])
            if order is None and limits.max_disk_bytes is not None and boot_seconds() >= one.next_disk:
                order = self._weigh(one, limits.max_disk_bytes)
            if order is not None:
                one.inbox.order_end(*order)

    @staticmethod
    def _weigh(one: _Watched, limit: int) -> EndOrder | None:
        began = boot_seconds()
        size = disk_use(one.folder, enough_bytes=limit).disk_bytes
        one.next_disk = boot_seconds() + max(_DISK_SECONDS, _DISK_SHARE * (boot_seconds() - began))
        return EndOrder(Outcome.DISK_LIMIT, f"more than {limit} bytes on disk") if size > limit else None


def over(limits: Limits, taken: Taken) -> EndOrder | None:
    """The end of an attempt that takes more than its limits."""
    if limits.max_memory_bytes is not None and taken.memory_bytes > limits.max_memory_bytes:
        return EndOrder(Outcome.MEMORY_LIMIT, f"{taken.memory_bytes} of {limits.max_memory_bytes} bytes of memory")
    if limits.max_processes is not None and taken.processes > limits.max_processes:
        return EndOrder(Outcome.PROCESS_LIMIT, f"{taken.processes} of {limits.max_processes} processes")
    return None


def measure(attempt_ids: "dict[str, _Watched] | list[str]") -> dict[str, Taken]:
    """What each of these attempts of this worker takes now, by the mark that its processes cannot drop."""
    owner = procfs.this_worker()
    tags = {int(Tag.of(attempt_id, owner)): attempt_id for attempt_id in attempt_ids}
    memory: dict[str, int] = defaultdict(int)
    processes: dict[str, int] = defaultdict(int)
    for pid in procfs.pids():
        attempt_id = tags.get(procfs.realtime_limit(pid) or 0)
        if attempt_id is not None:
            memory[attempt_id] += procfs.own_memory_bytes(pid)
            processes[attempt_id] += 1
    return {attempt_id: Taken(memory[attempt_id], processes[attempt_id]) for attempt_id in attempt_ids}
