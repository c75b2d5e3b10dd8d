"""The scripted model server as a program: `python -m workers.gateway.scripted --script FILE`, or `--cassette PATH`.

Real agents run against it end to end, with no key, no cost and no network. It listens on loopback only.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from orchestrator.domain.errors import BakeoffError, ExitCode, Unavailable
from workers.gateway.cassette import load_cassettes
from workers.gateway.replay import ReplayServer
from workers.gateway.script import load_script
from workers.gateway.scripted_server import scripted_application

_HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM, SIGINT or the end of the given parent. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.gateway.scripted", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--script", type=Path, help="YAML file: what each model says and does")
    what.add_argument("--cassette", type=Path, help="recorded stage, or folder of an attempt's stages, to replay")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; default: a free one")
    parser.add_argument("--port-file", type=Path, help="write the port here once the server listens")
    parser.add_argument("--parent-pid", type=int, help="exit when this process ends")
    options = parser.parse_args(argv)
    try:
        if options.cassette is not None:
            replay = ReplayServer(load_cassettes(options.cassette))
            asyncio.run(_serve(replay.application(), options.port, options.port_file, options.parent_pid))
            sys.stderr.write(f"{replay.summary()}\n")
        else:
            application = scripted_application(load_script(options.script))
            asyncio.run(_serve(application, options.port, options.port_file, options.parent_pid))
    except BakeoffError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return int(ExitCode.OK)


async def _serve(application: web.Application, port: int, port_file: Path | None, parent_pid: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.ExitStack() as resources:
        if parent_pid is not None:
            _stop_with(parent_pid, stop, loop, resources)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await _listen(runner, port)
            actual: int = runner.addresses[0][1]
            _announce(actual, port_file)
            await stop.wait()
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, _HOST, port, backlog=1024).start()
    except OSError as error:
        raise Unavailable(f"cannot listen on {_HOST}:{port}: {error.strerror}") from None


def _announce(port: int, port_file: Path | None) -> None:
    """Tell the address, and put the port into the file in one step, so that a reader never sees half of it."""
    if port_file is not None:
        unfinished = port_file.with_name(f".{port_file.name}.{os.getpid()}")
        unfinished.write_text(f"{port}\n", "utf-8")
        unfinished.replace(port_file)
    sys.stdout.write(f"http://{_HOST}:{port}\n")
    sys.stdout.flush()


def _stop_with(
    pid: int, stop: asyncio.Event, loop: asyncio.AbstractEventLoop, resources: contextlib.ExitStack
) -> None:
    """Stop when the process ends: its pidfd becomes readable then, also if the number is used again later."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        stop.set()
        return
    resources.callback(os.close, watched)
    loop.add_reader(watched, stop.set)
    resources.callback(loop.remove_reader, watched)


if __name__ == "__main__":
    sys.exit(main())
