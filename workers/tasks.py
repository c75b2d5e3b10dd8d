"""The one Celery task: a hint that a job may start."""

import logging
from typing import Any

from celery import Celery
from celery.app.task import Task

from orchestrator.broker import TASK_NAME
from workers.context import WorkerContext
from workers.runner import run_job

log = logging.getLogger("bakeoff.worker")


def register(app: Celery, context: WorkerContext) -> None:
    """Add the task to an application; every run shares `context`."""

    @app.task(name=TASK_NAME, bind=True)
    def job(self: Task[Any, Any], *args: Any, **kwargs: Any) -> str:
        match args, kwargs:
            case (int(job_id), str(order_token)), {}:
                pass
            case _:
                log.warning("message_dropped reason=malformed task=%s", self.request.id)
                return "malformed"

        def progress(text: str) -> None:
            # Flower shows the result of a progress event beside the state; the text is ours, never the agent's.
            self.send_event("task-progress", result=text)

        return run_job(context, job_id, order_token, progress)
