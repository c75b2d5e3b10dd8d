"""The one Celery task: a hint that a job may start."""

import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.exceptions import Ignore

from orchestrator.broker import TASK_NAME
from workers.context import WorkerContext
from workers.progress import ProgressSender, TaskLine
from workers.runner import STALE_HINT, run_job

# What the scheduler writes: an id that the database can hold, and a token of its own making.
_MOST_JOB_ID = 2**31 - 1
_TOKEN = re.compile("[0-9a-f]{1,32}", re.ASCII)
_LONGEST_LABEL = 300

log = logging.getLogger("bakeoff.worker")


def parse_hint(args: Sequence[object]) -> tuple[int, str] | None:
    """Job id and order token of a message; None for anything that the scheduler does not send."""
    match args:
        case [int(job_id), str(token)] if type(job_id) is int and 0 < job_id <= _MOST_JOB_ID:
            return (job_id, token) if _TOKEN.fullmatch(token) else None
    return None


def _label(given: object, job_id: int) -> str:
    return given[:_LONGEST_LABEL] if isinstance(given, str) and given else f"job {job_id}"


def register(app: Celery, context: WorkerContext) -> None:
    """Add the task to an application; every run shares `context`."""
    sender = ProgressSender(app)
    sender.start()

    @app.task(name=TASK_NAME, bind=True, Strategy="workers.messages:strategy")
    def job(self: Task[Any, Any], *args: Any, **kwargs: Any) -> str:
        request = self.request
        hint = None if kwargs else parse_hint(args)
        if hint is None:
            log.warning("message_dropped reason=malformed task=%.80r", request.id)
            return "malformed"
        job_id, order_token = hint
        task_id, hostname = str(request.id), str(request.hostname)
        line = TaskLine(task_id=task_id, label=_label(request.get("argsrepr"), job_id), since_epoch=time.time())
        try:
            # The text is ours, never the agent's.
            result = run_job(context, job_id, order_token, lambda text: sender.say(line, text, hostname))
        finally:
            sender.end(task_id)
        if result == STALE_HINT:
            # The same hint, sent again, has the same id: a success here would hide the job that is running under it.
            sender.withdraw(line, hostname)
            raise Ignore
        return result
