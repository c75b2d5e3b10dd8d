"""The gateway: a streaming reverse proxy on loopback between the agents of one worker and the model servers.

It knows for every request whose it is, holds the real keys, and reports what every answer tells. It sets no limit on
how long a model may take: that is the guard's part, which sees the silence.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import Iterable

from aiohttp import web

from orchestrator.domain.errors import Conflict, Unavailable
from workers.gateway.exchange import Exchange
from workers.gateway.forward import error_response, forward, only_upstream_headers
from workers.gateway.routes import Entry, Registration, Route, RouteTable
from workers.gateway.upstream import MAX_HEADER_BYTES, Upstreams

_log = logging.getLogger(__name__)
_HOST = "127.0.0.1"
# Agents keep connections open between turns while a tool runs; closing earlier makes them see resets.
_KEEPALIVE_SECONDS = 3600.0
_STOP_SECONDS = 5.0


class Gateway:
    """One per worker process, in a thread of its own. Every method may be called from any thread but that one."""

    def __init__(self) -> None:
        self._routes = RouteTable()
        self._open: dict[Entry, set[asyncio.Task[object]]] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._upstreams: Upstreams | None = None
        self._port = 0
        self._fault: BaseException | None = None

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before `start`."""
        return self._port

    def start(self) -> None:
        """Begin to listen on a free port. Raises Unavailable when that fails, Conflict when it already runs."""
        if self._thread is not None:
            raise Conflict("the gateway runs already")
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="gateway", daemon=True)
        self._thread.start()
        ready.wait()
        if self._fault is not None:
            self._thread.join()
            self._thread = None
            raise Unavailable(f"the gateway cannot listen on {_HOST}: {self._fault}")

    def stop(self) -> None:
        """End every open request and stop listening. Idempotent."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_SECONDS)
        self._thread = None

    def register(self, route: Route) -> Registration:
        """Open a route for one stage."""
        if self._thread is None:
            raise Conflict("the gateway does not run")
        entry = self._routes.add(route)
        return Registration(base_url=f"http://{_HOST}:{self._port}{entry.prefix}", api_key=entry.api_key)

    def unregister(self, registration: Registration) -> None:
        """Close a route and end its open requests; their last events are delivered before this returns."""
        entry = self._routes.remove(registration.base_url.removeprefix(f"http://{_HOST}:{self._port}"))
        if entry is None or self._loop is None or self._thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(entry), self._loop)
        try:
            ending.result(_STOP_SECONDS)
        except TimeoutError:
            _log.warning("gateway_requests_linger attempt=%s", entry.route.attempt_id)

    # -- in the gateway's thread --

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        # Reported by `start` in the caller's thread; after that only a bug of ours ends up here.
        except Exception as error:  # noqa: BLE001
            self._fault = error
            if ready.is_set():
                _log.exception("gateway_died port=%d", self._port)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with Upstreams() as upstreams:
            self._upstreams = upstreams
            runner = web.AppRunner(
                self._application(),
                access_log=None,  # paths carry tokens
                handler_cancellation=True,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                shutdown_timeout=0.1,
                auto_decompress=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
            await runner.setup()
            try:
                await web.TCPSite(runner, _HOST, 0, backlog=1024).start()
                self._port = runner.addresses[0][1]
                ready.set()
                await self._stopping.wait()
                await _cancel(task for tasks in self._open.values() for task in tasks)
            finally:
                await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.on_response_prepare.append(only_upstream_headers)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        entry = self._routes.find(request.raw_path)
        if entry is None:
            return error_response(404, "gateway_unknown_route", "no stage is registered under this path")
        if not entry.accepts(request.headers, request.raw_path):
            return error_response(401, "gateway_wrong_key", "this is not the key of this stage")
        if request.headers.get("Upgrade"):
            return error_response(426, "gateway_no_upgrade", "only plain HTTP passes here")
        path = request.raw_path[len(entry.prefix) :]
        exchange = Exchange(entry.route, secrets.token_hex(8), request.method, path)
        task = asyncio.current_task()
        assert task is not None
        assert self._upstreams is not None
        tasks = self._open.setdefault(entry, set())
        tasks.add(task)
        try:
            return await forward(self._upstreams, entry, request, exchange)
        finally:
            tasks.discard(task)
            if not tasks:
                self._open.pop(entry, None)

    async def _end(self, entry: Entry) -> None:
        await _cancel(self._open.get(entry, ()))


async def _cancel(tasks: Iterable[asyncio.Task[object]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting, timeout=_STOP_SECONDS)
