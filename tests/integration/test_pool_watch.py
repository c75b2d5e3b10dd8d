"""A GPU worker's looks at its pool's server, against servers that come and go on one port."""

import json
import socket
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.domain.fleet import Fleet
from orchestrator.domain.model_server import Health
from orchestrator.storage.engine import Database
from orchestrator.storage.pools import all_pools
from orchestrator.storage.submit import store_fleet
from tests.support.somebody import Somebody
from tests.support.world import WORKER
from workers.models.probe import Prober
from workers.models.watch import PoolWatch
from workers.slots import Places


class Fake:
    """A llama.cpp server as its recordings show it, with slots that change."""

    def __init__(self, port: int, slots: int) -> None:
        bodies = {
            "/health": {"status": "ok"},
            "/props": {"total_slots": slots, "default_generation_settings": {"n_ctx": 4096}, "build_info": "b1"},
            "/slots": [{"id": number, "n_ctx": 4096, "is_processing": False} for number in range(slots)],
            "/v1/models": {"data": [{"id": "tiny", "owned_by": "llamacpp"}]},
        }
        asked = list[tuple[str, str | None]]()
        self.asked = asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers.get("Authorization")))
                body = json.dumps(bodies.get(self.path)).encode()
                self.send_response(200 if self.path in bodies else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Night:
    """A watch with a clock that is moved by hand."""

    def __init__(self, database: Database, port: int) -> None:
        pool = {"base_url": f"http://127.0.0.1:{port}", "key": "env:NIGHT_KEY"}
        model = {"name": "tiny", "pool": "p", "context_window": 8192}
        store_fleet(database, Fleet.model_validate({"pools": {"p": pool}, "models": {"m": model}}))
        self.now, self.sizes, self.given_up = 1000.0, list[int](), list[str]()
        self._database = database
        self._watch = PoolWatch(
            database, WORKER, "p", resize=self.sizes.append, give_up=self.given_up.append, clock=lambda: self.now
        )

    def look(self, seconds_later: float = 2.0) -> Health:
        self.now += seconds_later
        self._watch.look()
        ((_, (one,)),) = all_pools(self._database)
        return one.report.health


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NIGHT_KEY", "open-sesame")
    return "open-sesame"


def test_a_server_that_comes_grows_dies_and_stays_away(database: Database, port: int, key: str) -> None:
    night = Night(database, port)
    assert night.look() is Health.DOWN
    with closing(Fake(port, 2)) as server:
        assert night.look() is Health.HEALTHY
        assert {sent for _, sent in server.asked} == {f"Bearer {key}"}
        first = len(server.asked)
        night.look()
        assert sorted(path for path, _ in server.asked[first:]) == [
            *("/health", "/metrics", "/props", "/slots", "/v1/models")
        ], "what it is was found out once"
    with closing(Fake(port, 5)):
        assert night.look() is Health.HEALTHY
    assert night.sizes == [0, 2, 2, 5]

    assert night.look() is Health.DOWN
    night.look(59)
    assert night.given_up == []
    night.look(1)
    assert night.given_up == [
        f"the model server http://127.0.0.1:{port} of pool p is down: cannot connect: connection refused"
    ]
    with closing(Fake(port, 2)):
        assert night.look() is Health.HEALTHY
    night.look()
    assert len(night.given_up) == 1, "it was back meanwhile, and has just gone again"


def test_another_program_on_the_same_port_is_found_out(port: int) -> None:
    prober = Prober(f"http://127.0.0.1:{port}/v1/")
    with closing(Fake(port, 2)):
        assert prober.look().kind == "llama.cpp"
    with closing(Somebody(port)):
        report = prober.look()
    assert (report.health, report.kind, report.slots) == (Health.UNKNOWN, None, None)
    with closing(Fake(port, 3)):
        assert prober.look().slots == 3


def test_a_server_that_accepts_and_never_answers_is_down_after_two_tries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        report = Prober(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_seconds=0.2).look()
    assert (report.health, report.detail) == (Health.DOWN, "no answer within 0.2 s")


def test_a_worker_whose_server_has_gone_lets_nobody_in_and_goes_on_when_it_is_back() -> None:
    places = Places(1)
    assert places.acquire(0)
    places.resize(2)
    assert places.acquire(0)
    places.resize(0)
    places.release()
    assert not places.acquire(0), "one is still in, and none is allowed"
    entered = threading.Event()

    def enter() -> None:
        if places.acquire(60):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    places.resize(2)
    assert entered.wait(60)
