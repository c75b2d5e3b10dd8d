"""What the gateway costs: latency added to streamed answers, and 500 slow streams at a time through one gateway.

    python benchmarks/gateway_latency.py [--requests 150] [--streams 500] [--seconds 10] [--json]

Goals: at most 2 ms added to the first byte, and 500 streams at a time on one core, each reported with its tokens.

Direct and through the gateway are measured in turns within one run, on the same server. Server, gateway and clients
are processes of their own, so that on a busy machine each hop waits for a core: what is added is judged by the
quarter of the pairs that this disturbed least, and the median stands beside it. For the streams the gateway is pinned
to one core, and the others to the rest, where there is a rest; what it used of that core is its own CPU time, so it
says how many streams a core would bear also on a machine that does other things meanwhile.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.domain.events import RequestEnded
from workers.gateway.routes import GatewayEvent, Route
from workers.gateway.server import Gateway

# An answer of a usual turn, at a pace that is fast for a model, so that the gateway's part shows.
_CHUNKS = 60
_PACE_SECONDS = 0.002
_GOAL_ADDED_MS = 2.0
_GOAL_STREAMS = 500
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


class Use(NamedTuple):
    """What the gateway's process has done: requests reported with tokens and without fault, CPU, memory."""

    reported: int
    cpu_seconds: float
    peak_rss_mib: float


def gate(upstream: str, cores: set[int], link: Connection) -> None:
    """The gateway: sends its routes (URL and key, the usual one first); asked for its use, it pins itself first."""
    gateway = Gateway()
    gateway.start()
    reported = 0

    def keep(event: GatewayEvent) -> None:
        nonlocal reported
        reported += isinstance(event, RequestEnded) and event.usage is not None and event.error is None

    routes = [
        gateway.register(Route(attempt_id="a", stage="s", upstream=base, protocol="chat", on_event=keep))
        for base in (upstream, f"{upstream}/slow")
    ]
    link.send([(route.base_url, route.api_key) for route in routes])
    while link.recv():
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        link.send(Use(reported, time.process_time(), peak))
    gateway.stop()


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
        figures[f"{name}_added_p25_ms"] = 1000 * added[int(0.25 * (len(added) - 1))]
        figures[f"{name}_added_p95_ms"] = 1000 * added[int(0.95 * (len(added) - 1))]
        figures[f"{name}_ratio"] = statistics.median(routed) / statistics.median(plain)
    return figures


def report_load(
    timings: list[Timing], direct: list[Timing], use: Use, wall_seconds: float, seconds: float
) -> dict[str, float]:
    """Completeness, lateness, and the gateway's share of its core."""
    first = sorted(timing.first_byte for timing in timings)
    share = use.cpu_seconds / wall_seconds
    return {
        "streams": len(timings),
        "reported_with_usage": use.reported,
        "first_byte_direct_median_ms": 1000 * statistics.median(timing.first_byte for timing in direct),
        "first_byte_median_ms": 1000 * statistics.median(first),
        "first_byte_worst_ms": 1000 * first[-1],
        "total_median_seconds": statistics.median(timing.total for timing in timings),
        "total_ideal_seconds": seconds,
        "gateway_share_of_its_core": share,
        "streams_that_a_core_would_bear": len(timings) / share,
        "gateway_peak_rss_mib": use.peak_rss_mib,
    }


def report_goals(latency: dict[str, float], load: dict[str, float]) -> dict[str, float]:
    """Goals as ratios: 1 and more is reached."""
    complete = load["reported_with_usage"] == load["streams"]
    return {
        "added_to_first_byte": _GOAL_ADDED_MS / max(latency["first_byte_added_p25_ms"], 1e-3),
        "streams_on_one_core": load["streams_that_a_core_would_bear"] / _GOAL_STREAMS if complete else 0.0,
    }


def measure(requests: int, streams: int, seconds: float) -> dict[str, dict[str, float]]:
    """Both measurements against one server and one gateway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8 * streams)), hard))
    cores = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    link, far_end = context.Pipe()
    upstream = f"http://127.0.0.1:{receiver.recv()}"
    gateway = context.Process(target=gate, args=(upstream, {cores[0]}, far_end), daemon=True)
    gateway.start()
    path = "/v1/chat/completions"
    try:
        (fast, fast_key), (slow, slow_key) = link.recv()
        latency = report_latency(*asyncio.run(paired(upstream + path, fast + path, fast_key, requests)))
        for pid in (os.getpid(), server.pid or 0):
            os.sched_setaffinity(pid, cores[1:] or cores)
        direct = asyncio.run(many(f"{upstream}/slow{path}", "none", streams, _SLOW_PACE_SECONDS))
        before, began = _use(link), time.perf_counter()
        timings = asyncio.run(many(slow + path, slow_key, streams, seconds))
        wall, after = time.perf_counter() - began, _use(link)
        link.send(False)
        used = Use(after.reported - before.reported, after.cpu_seconds - before.cpu_seconds, after.peak_rss_mib)
        load = report_load(timings, direct, used, wall, seconds)
        return {"latency": latency, "load": load, "goals": report_goals(latency, load)}
    finally:
        for process in (gateway, server):
            process.terminate()
            process.join(5)


def _use(link: Connection) -> Use:
    link.send(True)
    use: Use = link.recv()
    return use


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
    else:
        for part, values in figures.items():
            print(part)
            for name, value in values.items():
                print(f"  {name:32} {value:10.3f}")
    if min(figures["goals"].values()) < 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
