"""What the gateway costs: latency added to streamed answers, and 500 slow streams at a time through one gateway.

    python benchmarks/gateway_latency.py [--requests 150] [--streams 500] [--seconds 10] [--json]

Direct and through the gateway are measured in turns within one run, on the same server, so that a busy machine
disturbs both alike. The server runs in a process of its own; the gateway in this one, as it does in a worker.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.domain.events import RequestEnded
from workers.gateway.routes import GatewayEvent, Registration, Route
from workers.gateway.server import Gateway

# An answer of a usual turn, at a pace that is fast for a model, so that the gateway's part shows.
_CHUNKS = 60
_PACE_SECONDS = 0.002
_SLOW_PACE_SECONDS = 0.25
_DELTA = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"w"}}]}\n\n'
)
_END = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":60}}\n\ndata: [DONE]\n\n'
_BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 20_000}]}).encode()


class Timing(NamedTuple):
    """Seconds of one answer: to its first byte, and in all."""

    first_byte: float
    total: float


def serve(port_sink: Connection) -> None:
    """The model server: `/v1/chat/completions` at the usual pace, `/slow/v1/...` at the slow one until asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        slow = request.path.startswith("/slow")
        chunks = int(request.headers.get("x-chunks", _CHUNKS))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(chunks):
            await response.write(_DELTA)
            await asyncio.sleep(_SLOW_PACE_SECONDS if slow else _PACE_SECONDS)
        await response.write(_END)
        return response

    async def run() -> None:
        application = web.Application()
        application.router.add_post("/{prefix:.*}chat/completions", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        port_sink.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def once(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Timing:
    """Ask once, and read the answer to its end."""
    began = time.perf_counter()
    async with session.post(url, data=_BODY, headers=headers) as response:
        await response.content.readany()
        first = time.perf_counter()
        await response.read()
    return Timing(first - began, time.perf_counter() - began)


async def paired(direct: str, through: str, key: str, requests: int) -> tuple[list[Timing], list[Timing]]:
    """Timings of direct and gateway requests, one of each in turn; the first few warm up."""
    warm_up = 10
    results: tuple[list[Timing], list[Timing]] = ([], [])
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as session:
        for number in range(requests + warm_up):
            order = (0, 1) if number % 2 else (1, 0)
            for which in order:
                timing = await once(session, (direct, through)[which], headers)
                if number >= warm_up:
                    results[which].append(timing)
    return results


async def many(url: str, key: str, streams: int, seconds: float) -> list[Timing]:
    """This many slow streams at the same time."""
    chunks = max(1, round(seconds / _SLOW_PACE_SECONDS))
    headers = {"Authorization": f"Bearer {key}", "x-chunks": str(chunks)}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        return await asyncio.gather(*(once(session, url, headers) for _ in range(streams)))


def report_latency(direct: list[Timing], through: list[Timing]) -> dict[str, float]:
    """Medians in milliseconds, and what the gateway adds; added = median of the paired differences."""
    figures: dict[str, float] = {"requests": len(direct)}
    for name in ("first_byte", "total"):
        plain = [getattr(timing, name) for timing in direct]
        routed = [getattr(timing, name) for timing in through]
        added = sorted(b - a for a, b in zip(plain, routed, strict=True))
        figures[f"{name}_direct_ms"] = 1000 * statistics.median(plain)
        figures[f"{name}_gateway_ms"] = 1000 * statistics.median(routed)
        figures[f"{name}_added_ms"] = 1000 * statistics.median(added)
        figures[f"{name}_added_p95_ms"] = 1000 * added[int(0.95 * (len(added) - 1))]
        figures[f"{name}_ratio"] = statistics.median(routed) / statistics.median(plain)
    return figures


class Load(NamedTuple):
    """What the slow streams did to this process."""

    timings: list[Timing]
    cpu_seconds: float
    wall_seconds: float


def run_many(url: str, key: str, streams: int, seconds: float) -> Load:
    """The slow streams, driven from a thread of their own; the clients' own CPU is measured and taken off."""
    box: list[tuple[list[Timing], float]] = []

    def drive() -> None:
        began = time.thread_time()
        timings = asyncio.run(many(url, key, streams, seconds))
        box.append((timings, time.thread_time() - began))

    wall, cpu = time.perf_counter(), time.process_time()
    driver = threading.Thread(target=drive)
    driver.start()
    driver.join()
    timings, clients_cpu = box[0]
    return Load(timings, time.process_time() - cpu - clients_cpu, time.perf_counter() - wall)


def report_load(load: Load, ended: list[RequestEnded], seconds: float) -> dict[str, float]:
    """Completeness, lateness and the gateway's share of one core."""
    first = sorted(timing.first_byte for timing in load.timings)
    return {
        "streams": len(load.timings),
        "reported_with_usage": sum(event.usage is not None and event.error is None for event in ended),
        "first_byte_median_ms": 1000 * statistics.median(first),
        "first_byte_worst_ms": 1000 * first[-1],
        "total_median_seconds": statistics.median(timing.total for timing in load.timings),
        "total_ideal_seconds": seconds,
        "gateway_cpu_share_of_one_core": load.cpu_seconds / load.wall_seconds,
        "peak_rss_mib_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure(requests: int, streams: int, seconds: float) -> dict[str, dict[str, float]]:
    """Both measurements against one server and one gateway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8 * streams)), hard))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    upstream = f"http://127.0.0.1:{receiver.recv()}"
    gateway = Gateway()
    gateway.start()
    ended: list[RequestEnded] = []

    def keep(event: GatewayEvent) -> None:
        if isinstance(event, RequestEnded):
            ended.append(event)

    def route(base: str) -> Registration:
        return gateway.register(Route(attempt_id="a", stage="s", upstream=base, protocol="chat", on_event=keep))

    try:
        fast, slow = route(upstream), route(f"{upstream}/slow")
        path = "/v1/chat/completions"
        timings = asyncio.run(paired(upstream + path, fast.base_url + path, fast.api_key, requests))
        latency = report_latency(*timings)
        ended.clear()
        load = run_many(slow.base_url + path, slow.api_key, streams, seconds)
        return {"latency": latency, "load": report_load(load, ended, seconds)}
    finally:
        gateway.stop()
        server.terminate()
        server.join(5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.requests, options.streams, options.seconds)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for part, values in figures.items():
        print(part)
        for name, value in values.items():
            print(f"  {name:32} {value:10.3f}")


if __name__ == "__main__":
    main()
