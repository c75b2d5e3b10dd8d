"""A lock before a model server: 401 to every request whose key is not the right one, and the rest is handed on."""

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TIMEOUT_SECONDS = 60
_HANDED_ON = ("content-type", "accept")


class Doorkeeper:
    """Stands before the server at `upstream`, in a thread of its own, until `close`."""

    def __init__(self, upstream: str, key: str) -> None:
        handler = type("Handler", (_Handler,), {"upstream": upstream, "wanted": f"Bearer {key}"})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="doorkeeper", daemon=True)
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


class _Handler(BaseHTTPRequestHandler):
    upstream = ""
    wanted = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != self.wanted:
            self._answer(401, b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}')
            return
        headers = {name: self.headers[name] for name in _HANDED_ON if name in self.headers}
        asked = urllib.request.Request(self.upstream + self.path, body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=_TIMEOUT_SECONDS) as answer:
                self._answer(answer.status, answer.read(), answer.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read(), error.headers["Content-Type"])

    def _answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
