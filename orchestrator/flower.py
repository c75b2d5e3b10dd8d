"""Flower with the fleet's own settings: `python -m orchestrator.flower PORT ADDRESS`. Started by `bakeoff flower`.

The login comes in the environment, not on the command line, where every user of the machine could read it. Flower's
own command is not used: it takes options from the environment and runs a `flowerconfig.py` of the current directory.
"""

import base64
import hashlib
import hmac
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from flower.app import Flower
from flower.inspector import Inspector
from flower.urls import settings as page_settings
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.options import options
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from orchestrator.broker import celery_app
from orchestrator.domain.errors import ExitCode
from orchestrator.embedded import running_broker_url
from orchestrator.logs import log_to
from orchestrator.settings import Settings, flower_login, load_settings

log = logging.getLogger("bakeoff.flower")

# Flower keeps about 5 KiB per task: this bounds it at some 25 MiB also beside a matrix of 100,000 jobs.
MAX_TASKS = 5000
# Says "OK" and nothing else, so that a supervisor can ask without a password.
_OPEN_PATH = "/healthcheck"
_FOLLOW_MILLISECONDS = 2000


class _Refusal(RequestHandler):
    """Asks for the login, whatever was asked for."""

    def prepare(self) -> None:
        """Answer before any method does."""
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="Bakeoff", charset="UTF-8"')
        self.finish("Log in: user and password are what `bakeoff flower` was started with.\n")


class Gate(Router):
    """Stands before all of Flower, whose own login leaves /metrics, error pages and static files open."""

    def __init__(self, login: str, inner: Application) -> None:
        self._digest = _digest(base64.b64encode(login.encode()))
        self._inner = inner
        self._refusal = Application([(r".*", _Refusal)])

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        """Flower for those who are logged in, the refusal for everybody else."""
        if request.path == _OPEN_PATH or self._knows(request.headers.get("Authorization", "")):
            return self._inner.find_handler(request)
        return self._refusal.find_handler(request)

    def _knows(self, header: str) -> bool:
        scheme, _, credentials = header.partition(" ")
        given = credentials.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "basic" and hmac.compare_digest(_digest(given), self._digest)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


# User and password of a URL.
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@]*@")


class _Inspector(Inspector):  # type: ignore[misc]  # Flower has no types
    """Keeps passwords out of what workers tell: a Unix socket's URL stands whole in their statistics."""

    def _on_update(self, workername: str, method: str, response: object) -> None:
        super()._on_update(workername, method, without_logins(response))


def without_logins(value: object) -> object:
    """The same JSON value without user and password in any URL of it."""
    match value:
        case str():
            return _URL_LOGIN.sub("**@", value)
        case dict():
            return {name: without_logins(item) for name, item in value.items()}
        case list():
            return [without_logins(item) for item in value]
    return value


def configure(login: str) -> None:
    """Set Flower's options, the only way in which it takes them."""
    values: dict[str, object] = {
        # Flower opens its API only when it has a login of its own; the gate has asked for the same one before.
        "basic_auth": [login],
        # Jobs are controlled through the database; a revoke here would lose a hint and look like a success.
        "read_only": True,
        "max_tasks": MAX_TASKS,
        # A worker that is gone disappears; its health is the database's to tell.
        "purge_offline_workers": 60,
        "natural_time": True,
        "inspect_timeout": 3000.0,
        "tasks_columns": "args,state,result,runtime,started,worker,uuid",
    }
    for name, value in values.items():
        setattr(options, name, value)


def main() -> int:
    """Serve until TERM or Ctrl-C. Returns an exit code of `ExitCode`."""
    port, address = int(sys.argv[1]), sys.argv[2]
    settings, login = load_settings(), flower_login()
    log_to(None, as_json=settings.log_json)
    # Every refused page view is a warning of Tornado's; scanners would fill the disk.
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    url = settings.broker_url or running_broker_url(settings.home)
    configure(login)
    try:
        sockets = bind_sockets(port, address)
    except OSError as error:
        log.error("port_unavailable address=%s port=%d error=%s", address, port, error.strerror)
        return ExitCode.UNAVAILABLE
    flower = Flower(capp=celery_app(replace(settings, broker_url=url)), options=options, **page_settings)
    flower.inspector = _Inspector(flower.io_loop, flower.capp, options.inspect_timeout / 1000)
    HTTPServer(Gate(login, flower)).add_sockets(sockets)
    log.info("flower_ready url=http://%s:%d", address, sockets[0].getsockname()[1])
    loop = IOLoop.current()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(flower.stop))
    if settings.broker_url is None:
        PeriodicCallback(_follower(settings, url), _FOLLOW_MILLISECONDS).start()
    flower.start()
    return ExitCode.OK


def _follower(settings: Settings, url: str | None) -> Callable[[], None]:
    """Begin anew when another `bakeoff run` has started a broker of its own in the same home."""

    def look() -> None:
        now = running_broker_url(settings.home)
        if now is not None and now != url:
            log.info("broker_changed action=restart")
            os.execv(sys.executable, [sys.executable, "-m", "orchestrator.flower", *sys.argv[1:]])  # noqa: S606

    return look


if __name__ == "__main__":
    # The thread that listens to events cannot be interrupted; nothing is left to be saved.
    code = main()
    logging.shutdown()
    os._exit(code)
