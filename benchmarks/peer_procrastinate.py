"""The procrastinate side of `queue_throughput`: python -m benchmarks.peer_procrastinate URL CONCURRENCY."""

import asyncio
import sys

import procrastinate
import psycopg


def make_app(url: str) -> procrastinate.App:
    """An application with one empty task."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="empty")
    async def empty() -> None:
        """Does nothing."""

    return app


async def prepare(url: str) -> None:
    """Its schema."""
    app = make_app(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def defer(url: str, count: int) -> None:
    """Enqueue `count` jobs."""
    app = make_app(url)
    async with app.open_async():
        task = app.configure_task("empty")
        for _ in range(0, count, 500):
            await task.batch_defer_async(*[{} for _ in range(min(500, count))])


async def done(url: str) -> int:
    """How many have ended."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        row = await (await connection.execute(query)).fetchone()
        return int(row[0]) if row else 0


async def work(url: str, concurrency: int) -> None:
    """Run until TERM."""
    app = make_app(url)
    async with app.open_async():
        await app.run_worker_async(concurrency=concurrency)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
