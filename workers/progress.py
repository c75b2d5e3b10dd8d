"""What Flower shows while jobs run: the newest line of each, sent by a thread of its own.

The thread that guards an agent must not wait for a broker, nor fail with it: it only leaves its line here.
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.events import EventDispatcher
from kombu import Connection
from kombu.exceptions import OperationalError

from orchestrator.broker import TASK_NAME

log = logging.getLogger("bakeoff.worker")

# A Flower that was started or restarted meanwhile knows every running job after this long.
_REPEAT_SECONDS = 10.0
_RECONNECT_SECONDS = 5.0
# How long the end of a task waits for a line that is just being sent, lest the line arrive after the end.
_LAST_LINE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    """A running task in Flower: its id, its readable name, and since when it runs (seconds since the epoch)."""

    task_id: str
    label: str
    since_epoch: float


class ProgressSender:
    """Sends `task-progress` events, at most one pending per task; older lines are dropped, not queued."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Condition()
        self._lines: dict[str, dict[str, Any]] = {}
        self._changed: set[str] = set()
        self._withdrawn: deque[TaskLine] = deque(maxlen=1000)
        self._sending: str | None = None
        self._hostname = ""

    def start(self) -> None:
        """Begin; the thread ends with the process."""
        threading.Thread(target=self._run, name="progress", daemon=True).start()

    def say(self, line: TaskLine, text: str, hostname: str) -> None:
        """Show `text` beside the task's state, at `hostname`'s. Returns at once.

        Name and start are repeated each time, for a Flower that did not see the task begin.
        """
        fields: dict[str, Any] = {
            "name": TASK_NAME,
            "args": line.label,
            "kwargs": "",
            "received": line.since_epoch,
            "started": line.since_epoch,
            "result": text,
        }
        with self._lock:
            self._hostname = hostname
            self._lines[line.task_id] = fields
            self._changed.add(line.task_id)
            self._lock.notify_all()

    def end(self, task_id: str) -> None:
        """Send nothing more about a task. Its end is told by Celery itself."""
        with self._lock:
            self._lines.pop(task_id, None)
            self._changed.discard(task_id)
            self._lock.wait_for(lambda: self._sending != task_id, timeout=_LAST_LINE_SECONDS)

    def withdraw(self, line: TaskLine, hostname: str) -> None:
        """Show a hint that came too late as revoked. A job that runs or has ended keeps its state by Celery's rules
        of precedence, under which `revoked` ranks below both."""
        with self._lock:
            self._hostname = hostname
            self._withdrawn.append(line)
            self._lock.notify_all()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            connection = self._app.connection_for_write()
            lost: tuple[type[BaseException], ...] = (
                OSError,
                OperationalError,
                *connection.connection_errors,
                *connection.channel_errors,
            )
            try:
                self._await_news()
                self._send_on(connection)
            except lost as error:
                log.info("progress_lost kind=%s", type(error).__name__)
            finally:
                connection.release()
            pause.wait(_RECONNECT_SECONDS)

    def _await_news(self) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._changed or self._withdrawn)

    def _send_on(self, connection: Connection) -> None:
        """Send for as long as the connection lasts."""
        with self._app.events.Dispatcher(connection, hostname=self._hostname, buffer_while_offline=False) as events:
            while True:
                with self._lock:
                    self._lock.wait_for(lambda: self._changed or self._withdrawn, timeout=_REPEAT_SECONDS)
                    due = list(self._changed or ([] if self._withdrawn else self._lines))
                    self._changed.clear()
                    late = [self._withdrawn.popleft() for _ in range(len(self._withdrawn))]
                for line in late:
                    _send_revoked(events, line)
                for task_id in due:
                    self._send_line(events, task_id)

    def _send_line(self, events: EventDispatcher, task_id: str) -> None:
        with self._lock:
            fields = self._lines.get(task_id)
            if fields is None:
                return
            self._sending = task_id
        try:
            events.send("task-progress", uuid=task_id, **fields)
        finally:
            with self._lock:
                self._sending = None
                self._lock.notify_all()


def _send_revoked(events: EventDispatcher, line: TaskLine) -> None:
    # What Celery itself sends for a revoked task, and the name, which may be on its way still.
    fields: dict[str, Any] = {"name": TASK_NAME, "args": line.label, "kwargs": ""}
    events.send("task-revoked", uuid=line.task_id, terminated=False, signum=None, expired=False, **fields)
