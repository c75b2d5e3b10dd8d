"""Those who are told: a web server that keeps what is posted, and a mail server that keeps what is sent."""

import base64
import json
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.tls import Authority
from tests.support.waiting import PLENTY_SECONDS, until


class Posted(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body as a document."""
        return json.loads(self.body)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has gone."""


class Hook:
    """Answers with `status` and `headers`, and not before `open` is set."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        self.open = threading.Event()
        self.open.set()
        self.posted: list[Posted] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                hook.posted.append(Posted(self.command, self.path, headers, body))
                hook.open.wait(PLENTY_SECONDS)
                self.send_response(hook.status)
                for name, value in hook.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="hook", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def await_posts(self, count: int) -> list[Posted]:
        """Wait for so many requests."""
        until(lambda: len(self.posted) >= count, f"{count} posts")
        return self.posted

    def close(self) -> None:
        """End it."""
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Mail(NamedTuple):
    """A mail as it came. `login` is None without one, `encrypted` whether it came over TLS."""

    sender: str
    to: list[str]
    text: str
    login: str | None
    encrypted: bool


class Mailbox:
    """An SMTP server. With an `authority` it offers STARTTLS, or speaks TLS at once when `wrapped`.

    `refuses`: addresses that it takes no mail for; `password`: what a login has to give.
    """

    def __init__(
        self, authority: Authority | None = None, *, wrapped: bool = False, refuses: str = "", password: str = ""
    ) -> None:
        self.mails: list[Mail] = []
        self.refuses, self.password = refuses, password
        self.context: ssl.SSLContext | None = None
        if authority is not None:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(authority.certificate, authority.key)
        self.wrapped = wrapped
        box = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Session(box, self.request).run()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Handshakes that fail are what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="mailbox", daemon=True)
        self._thread.start()

    @property
    def server(self) -> str:
        """HOST:PORT."""
        return f"localhost:{self._server.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Session:
    def __init__(self, box: Mailbox, connection: Any) -> None:
        self._box, self._connection, self._encrypted = box, connection, False
        self._login: str | None = None
        if box.wrapped:
            self._encrypt()
        self._file = self._connection.makefile("rb")

    def _encrypt(self) -> None:
        assert self._box.context is not None
        self._connection = self._box.context.wrap_socket(self._connection, server_side=True)
        self._encrypted = True

    def _say(self, line: str) -> None:
        self._connection.sendall(line.encode() + b"\r\n")

    def run(self) -> None:
        self._say("220 box")
        sender = ""
        to: list[str] = []
        while line := self._file.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                offers = ["AUTH PLAIN", *(["STARTTLS"] if self._box.context and not self._encrypted else [])]
                self._say("250-box\r\n" + "\r\n".join(f"250-{one}" for one in offers) + "\r\n250 SMTPUTF8")
            elif word == "STARTTLS":
                self._say("220 go on")
                self._encrypt()
                self._file = self._connection.makefile("rb")
            elif word == "AUTH":
                _, self._login, given = base64.b64decode(line.split()[2]).decode().split("\0")
                self._say("235 welcome" if given == self._box.password else "535 no")
            elif word == "MAIL":
                sender, to = line.partition("<")[2].partition(">")[0], []
                self._say("250 ok")
            elif word == "RCPT":
                address = line.partition("<")[2].partition(">")[0]
                if address == self._box.refuses:
                    self._say("550 nobody of that name")
                else:
                    to.append(address)
                    self._say("250 ok")
            elif word == "DATA":
                self._say("354 go on")
                lines = []
                while (part := self._file.readline()) not in (b".\r\n", b""):
                    lines.append(part)
                text = b"".join(lines).decode()
                self._box.mails.append(Mail(sender, to, text, self._login, self._encrypted))
                self._say("250 taken")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")
