"""Serving metrics to Prometheus: a process that only reads the results database."""

import base64
import hashlib
import hmac
import logging
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.reports.metrics import families
from orchestrator.storage.engine import Database
from orchestrator.storage.figures import Past, past, present
from orchestrator.storage.quota import quotas

log = logging.getLogger("bakeoff.metrics")

USER = "bakeoff"
# Sums over everything are made anew this often, and rest so many times as long as they took.
_TOTALS_SECONDS = 15.0
_TOTALS_REST = 20.0
# Who asks and then says nothing does not keep a thread for ever.
_SILENT_SECONDS = 10.0


class Fleet(Collector):
    """The figures of one database. What is so now is read at each scrape, one at a time; sums in the background."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._totals: Past = past(database)
        self._made_at = boot_seconds()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks the database nothing."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Every metric now. Raises StorageError."""
        with self._turn:
            now = utc_now()
            accounts = quotas(self._database, now)
            return families(present(self._database), self._totals, accounts, now, boot_seconds() - self._made_at)

    def keep_totals(self, stop: threading.Event) -> None:
        """Make the sums anew until `stop`."""
        pause = _TOTALS_SECONDS
        while not stop.wait(pause):
            began = boot_seconds()
            try:
                self._totals, self._made_at = past(self._database), began
            except StorageError as error:
                log.warning("totals_failed error=%s", error)
            pause = max(_TOTALS_SECONDS, _TOTALS_REST * (boot_seconds() - began))


class MetricsServer:
    """`/metrics` behind an optional login, and `/healthcheck` without."""

    def __init__(self, database: Database, address: str, port: int, password: str | None) -> None:
        """Listen; raises OSError when the port is taken."""
        self._fleet = Fleet(database)
        self._stop = threading.Event()
        self._server = _Server((address, port), _handler(self._fleet, password))
        self.port = self._server.server_port

    def run(self) -> None:
        """Serve until `stop`."""
        keeper = threading.Thread(target=self._fleet.keep_totals, args=(self._stop,), name="totals", daemon=True)
        keeper.start()
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `run`. From another thread."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone."""


def _handler(fleet: Fleet, password: str | None) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry()
    registry.register(fleet)
    login = None if password is None else _digest(base64.b64encode(f"{USER}:{password}".encode()))

    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_SECONDS
        server_version, sys_version = "bakeoff", ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/healthcheck":
                self._answer(200, b"OK")
            elif not self._knows():
                self._answer(401, b"Log in.\n", {"WWW-Authenticate": 'Basic realm="Bakeoff", charset="UTF-8"'})
            elif path != "/metrics":
                self._answer(404, b"/metrics\n")
            else:
                self._metrics()

        def _knows(self) -> bool:
            scheme, _, given = self.headers.get("Authorization", "").partition(" ")
            known = _digest(given.strip().encode("utf-8", "replace"))
            return login is None or (scheme.lower() == "basic" and hmac.compare_digest(known, login))

        def _metrics(self) -> None:
            encode, kind = exposition.choose_encoder(self.headers.get("Accept", ""))
            try:
                body = encode(registry)
            except StorageError as error:
                log.warning("scrape_failed error=%s", error)
                self._answer(503, b"the database does not answer\n")
                return
            self._answer(200, body, {"Content-Type": kind})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": "text/plain; charset=utf-8"} | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line per scrape would fill the disk."""

    return Handler


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
