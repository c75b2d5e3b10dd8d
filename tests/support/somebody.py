"""An HTTP server that answers everything with 404: enough for a pool whose agents ask no model."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _NotHere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has gone."""


class Somebody:
    """The server, in a thread of its own, until `close`."""

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _NotHere)
        self._thread = threading.Thread(target=self._server.serve_forever, name="somebody", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
