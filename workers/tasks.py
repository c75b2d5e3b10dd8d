"""The one Celery task: a hint that a job may start."""

import logging
import time
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.exceptions import Ignore

from orchestrator.broker import TASK_NAME
from workers.context import WorkerContext
from workers.progress import ProgressSender, TaskLine
from workers.runner import STALE_HINT, run_job

log = logging.getLogger("bakeoff.worker")


def register(app: Celery, context: WorkerContext) -> None:
    """Add the task to an application; every run shares `context`."""
    sender = ProgressSender(app)
    sender.start()

    @app.task(name=TASK_NAME, bind=True)
    def job(self: Task[Any, Any], *args: Any, **kwargs: Any) -> str:
        match args, kwargs:
            case (int(job_id), str(order_token)), {}:
                pass
            case _:
                log.warning("message_dropped reason=malformed task=%s", self.request.id)
                return "malformed"
        request = self.request
        task_id, hostname = str(request.id), str(request.hostname)
        line = TaskLine(task_id=task_id, label=request.get("argsrepr") or f"job {job_id}", since_epoch=time.time())
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
