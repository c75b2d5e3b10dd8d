"""A real worker of the product whose jobs do nothing, or sleep: claim, lease, heartbeat, fenced result.

Usage: bare_worker.py THREADS SECONDS RESOURCE
"""

import logging
import sys
import time

from celery import Celery

from orchestrator.broker import TASK_NAME, celery_app, queue_of
from orchestrator.clock import utc_now
from orchestrator.domain.outcome import Outcome
from orchestrator.settings import load_settings
from orchestrator.storage import machines
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from workers.context import WorkerContext
from workers.events import batch_events
from workers.heartbeat import Held
from workers.main import make_context
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView

DONE = AttemptResult(outcome=Outcome.COMPLETE, detail="")


def register(app: Celery, context: WorkerContext, seconds: float) -> None:
    """The product's task with an empty run in the place of the attempt."""

    @app.task(name=TASK_NAME)
    def job(job_id: int, order_token: str) -> None:
        claimed = context.desk.claim(job_id, order_token, patience_seconds=5.0)
        if claimed is None:
            return
        inbox = StageInbox()
        attempt_id = claimed.claim.attempt_id
        context.heartbeats.hold(attempt_id, Held(LeaseView(context.heartbeats.deadline(claimed.asked_at)), inbox))
        try:
            if seconds:
                time.sleep(seconds)
            context.desk.finish(attempt_id, DONE)
        finally:
            claimed.place.give_back()
            context.heartbeats.drop(attempt_id)
            inbox.close()


def main() -> None:
    """Consume until TERM."""
    threads, seconds, resource = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    logging.basicConfig(level=logging.WARNING)
    settings = load_settings()
    context = make_context(settings, Database(settings.database_url), resource, threads)
    app = celery_app(settings)
    register(app, context, seconds)
    batch_events(app)
    context.heartbeats.start()
    machines.announce(context.database, context.identity, f"bare@{context.identity.pid}", {}, utc_now())
    app.Worker(
        queues=[queue_of([resource])],
        concurrency=threads,
        pool="threads",
        hostname=f"bare@{context.identity.pid}",
        without_mingle=True,
        without_gossip=True,
        loglevel="WARNING",
    ).start()


if __name__ == "__main__":
    main()
