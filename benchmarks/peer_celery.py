"""The Celery side of `queue_throughput`: python -m benchmarks.peer_celery plain|tuned CONCURRENCY.

`plain` is Celery as it comes (prefork pool, every option at its default), `tuned` has this project's options.
"""

import sys

from celery import Celery

from orchestrator.broker import celery_app
from orchestrator.settings import load_settings
from workers.events import batch_events


def make_app(kind: str) -> Celery:
    """The application of either kind; its broker is BAKEOFF_BROKER_URL."""
    settings = load_settings()
    app = celery_app(settings) if kind == "tuned" else Celery("plain", broker=settings.broker_url)

    @app.task(name="bench.empty", ignore_result=True)
    def empty() -> None:
        """Does nothing."""

    return app


def main() -> None:
    """Run until TERM."""
    kind, concurrency = sys.argv[1:3]
    app = make_app(kind)
    if kind == "tuned":
        batch_events(app)
    app.Worker(
        queues=["plain"],
        concurrency=int(concurrency),
        pool="threads" if kind == "tuned" else "prefork",
        loglevel="WARNING",
    ).start()


if __name__ == "__main__":
    main()
