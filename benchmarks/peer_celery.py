"""The plain Celery side of `queue_throughput`: python -m benchmarks.peer_celery THREADS."""

import sys

from orchestrator.broker import celery_app
from orchestrator.settings import load_settings
from workers.events import batch_events


def main() -> None:
    """Run until TERM."""
    app = celery_app(load_settings())

    @app.task(name="bench.empty")
    def empty() -> None:
        """Does nothing."""

    batch_events(app)
    app.Worker(
        queues=["plain"],
        concurrency=int(sys.argv[1]),
        pool="threads",
        without_mingle=True,
        without_gossip=True,
        loglevel="WARNING",
    ).start()


if __name__ == "__main__":
    main()
