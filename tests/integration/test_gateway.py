"""The gateway over real HTTP: the same bytes as without it, the right key, nothing leaked, every end reported."""

import http.client
import json
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.decision import Action
from orchestrator.domain.events import ErrorKind, OutputSeen, RequestEnded, RequestStarted
from orchestrator.domain.fleet import Protocol
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.watch import StageFrame, Watch
from tests.support.streams import PROTOCOLS, damaged
from workers.gateway.routes import GatewayEvent, Registration, Route
from workers.gateway.server import Gateway

RECORDED = Path(__file__).parent.parent / "fixtures" / "llama_server"
SECRET = "sk-real-0123456789"
CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/asked:streamGenerateContent"
BODY = json.dumps({"model": "asked", "messages": []}).encode()
PLENTY_SECONDS = 20.0


@dataclass
class Upstream:
    """A model server that sends exactly the parts it is given, and keeps what it received."""

    parts: list[bytes] = field(default_factory=list)
    hold: bool = False
    port: int = 0
    requests: "queue.Queue[bytes]" = field(default_factory=queue.Queue)
    client_gone: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with closing(connection):
            self.requests.put(_whole_request(connection))
            for part in self.parts:
                connection.sendall(part)
            if self.hold and connection.recv(1) == b"":
                self.client_gone.set()


def _whole_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += connection.recv(1 << 20)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = Upstream(port=listener.getsockname()[1])
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    running.start()
    yield running
    running.stop()


@dataclass
class Stage:
    """A registered stage and the events that the gateway reported for it."""

    registration: Registration
    events: "queue.Queue[GatewayEvent]"

    def started(self) -> RequestStarted:
        event = self.events.get(timeout=PLENTY_SECONDS)
        assert isinstance(event, RequestStarted)
        return event

    def ended(self) -> RequestEnded:
        self.started()
        event = self.events.get(timeout=PLENTY_SECONDS)
        assert isinstance(event, RequestEnded)
        return event


Open = Callable[..., Stage]


@pytest.fixture
def stage(gateway: Gateway, upstream: Upstream) -> Iterator[Open]:
    registrations = []

    def open_stage(protocol: Protocol = "chat", url: str | None = None, secret: str | None = SECRET) -> Stage:
        events: queue.Queue[GatewayEvent] = queue.Queue()
        route = Route(
            attempt_id="attempt-1",
            stage="build.1",
            upstream=url or upstream.url,
            protocol=protocol,
            secret=secret,
            on_event=events.put,
        )
        registrations.append(gateway.register(route))
        return Stage(registrations[-1], events)

    yield open_stage
    for registration in registrations:
        gateway.unregister(registration)


@dataclass
class Received:
    """An answer as a client sees it."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool = True


def send(
    base_url: str,
    path: str = CHAT,
    *,
    body: bytes = BODY,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> Received:
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=PLENTY_SECONDS)
    with closing(connection):
        given = {"content-type": "application/json", **(headers or {})}
        connection.request(
            "POST", parts.path + path, body, given | ({"authorization": f"Bearer {key}"} if key else {})
        )
        response = connection.getresponse()
        try:
            data, whole = response.read(), True
        except http.client.IncompleteRead as error:
            data, whole = error.partial, False
        return Received(response.status, response.reason, response.getheaders(), data, whole)


def ask(stage: Stage, path: str = CHAT, body: bytes = BODY) -> Received:
    return send(stage.registration.base_url, path, body=body, key=stage.registration.api_key)


def end_to_end(received: Received) -> list[tuple[str, str]]:
    hop_by_hop = {"connection", "keep-alive", "transfer-encoding"}
    return [(name, value) for name, value in received.headers if name.lower() not in hop_by_hop]


def chunked(*chunks: bytes, status: str = "200 OK", head: str = "content-type: text/event-stream") -> list[bytes]:
    start = f"HTTP/1.1 {status}\r\n{head}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return [start, *(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk), b"0\r\n\r\n"]


def plain(body: bytes, *, status: str = "200 OK", head: str = "content-type: application/json") -> list[bytes]:
    return [f"HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body]


def recorded_parts(name: str) -> list[bytes]:
    """A recorded answer with the status and headers it really had."""
    head, body = (RECORDED / name).read_bytes().replace(b"\r\n", b"\n").split(b"\n\n", 1)
    lines = head.split(b"\n")
    if b"chunked" in head:
        events = body.splitlines(keepends=True)
        chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        return [b"\r\n".join(lines) + b"\r\n\r\n", *chunks, b"0\r\n\r\n"]
    kept = [line for line in lines if not line.lower().startswith(b"content-length")]
    return [b"\r\n".join([*kept, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body]


@pytest.mark.parametrize(
    ("name", "protocol", "path", "usage"),
    [
        ("chat.stream.http", "chat", CHAT, TokenUsage(input=17, cache_read=17, output=6)),
        ("chat.nonstream.cached.http", "chat", CHAT, TokenUsage(input=1, cache_read=29, output=8)),
        ("anthropic_messages.stream.http", "messages", "/v1/messages", TokenUsage(input=1, cache_read=29, output=4)),
        ("responses.stream.http", "responses", "/v1/responses", TokenUsage(input=1, cache_read=23, output=4)),
    ],
)
def test_the_agent_gets_the_same_answer_as_without_the_gateway(
    stage: Open, upstream: Upstream, name: str, protocol: Protocol, path: str, usage: TokenUsage
) -> None:
    upstream.parts = recorded_parts(name)
    opened = stage(protocol)

    direct = send(upstream.url, path)
    through = ask(opened, path)
    ended = opened.ended()

    assert (through.status, through.reason, through.body) == (direct.status, direct.reason, direct.body)
    assert end_to_end(through) == end_to_end(direct)
    assert (ended.model_asked, ended.model_served, ended.status, ended.error) == ("asked", "tiny-random", 200, None)
    assert (ended.usage, ended.path) == (usage, path)
    assert (ended.request_bytes, ended.response_bytes) == (len(BODY), len(direct.body))
    assert ended.first_byte_seconds is not None
    assert ended.first_byte_seconds <= ended.duration_seconds


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), cuts=st.lists(st.integers(0, 4000), max_size=6), streaming=st.booleans(), framed=st.booleans())
def test_whatever_the_server_sends_arrives(
    stage: Open, upstream: Upstream, protocol: Protocol, data: st.DataObject, cuts: list[int], streaming: bool,
    framed: bool,
) -> None:  # fmt: skip
    body = data.draw(st.binary(max_size=300) | damaged(protocol))
    places = sorted(min(cut, len(body)) for cut in cuts)
    chunks = [body[start:end] for start, end in pairwise([0, *places, len(body)])]
    kind = f"content-type: {'text/event-stream' if streaming else 'application/json'}"
    upstream.parts = chunked(*chunks, head=kind) if framed else plain(body, head=kind)
    opened = stage(protocol)

    assert ask(opened, GEMINI if protocol == "gemini" else CHAT).body == body
    assert opened.ended().status == 200


def test_each_chunk_arrives_before_the_next_one_is_sent(stage: Open, upstream: Upstream) -> None:
    upstream.parts, upstream.hold = chunked(b"data: one\n\n")[:-1], True
    opened = stage()
    parts = urlsplit(opened.registration.base_url)

    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PLENTY_SECONDS)) as connection:
        connection.request("POST", parts.path + CHAT, BODY, {"x-api-key": opened.registration.api_key})
        response = connection.getresponse()
        assert response.read(11) == b"data: one\n\n"
        assert opened.started().model == "asked"


def test_when_the_agent_goes_away_the_server_is_told_and_the_end_is_reported(stage: Open, upstream: Upstream) -> None:
    upstream.parts, upstream.hold = chunked(b'data: {"model":"m"}\n\n')[:-1], True
    opened = stage()
    parts = urlsplit(opened.registration.base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PLENTY_SECONDS)
    connection.request("POST", parts.path + CHAT, BODY, {"x-api-key": opened.registration.api_key})
    response = connection.getresponse()
    response.read(10)

    response.close()
    connection.close()

    assert upstream.client_gone.wait(PLENTY_SECONDS)
    ended = opened.ended()
    assert ended.error is not None
    assert (ended.error.kind, ended.model_served) == (ErrorKind.NETWORK, "m")


def test_closing_a_stage_ends_its_open_request_and_delivers_the_event(
    gateway: Gateway, stage: Open, upstream: Upstream
) -> None:
    upstream.hold = True
    opened = stage()
    results: queue.Queue[str] = queue.Queue()

    def wait_for_answer() -> None:
        try:
            ask(opened)
        except (http.client.HTTPException, OSError) as error:
            results.put(type(error).__name__)

    threading.Thread(target=wait_for_answer, daemon=True).start()
    opened.started()
    upstream.requests.get(timeout=PLENTY_SECONDS)

    gateway.unregister(opened.registration)

    event = opened.events.get_nowait()
    assert isinstance(event, RequestEnded)
    assert event.error is not None
    assert (event.error.kind, event.status) == (ErrorKind.NETWORK, None)
    assert results.get(timeout=PLENTY_SECONDS) in {"RemoteDisconnected", "ConnectionResetError"}
    assert upstream.client_gone.wait(PLENTY_SECONDS)
    assert ask(opened).status == 404


@pytest.mark.parametrize(
    "kept_open",
    [b": PROCESSING\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b'data: {"type":"keepalive"}\n\n', b""],
)
def test_a_stream_that_stalls_ends_by_silence_though_it_is_kept_open(
    gateway: Gateway, stage: Open, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, kept_open: bytes
) -> None:
    monkeypatch.setattr("workers.gateway.exchange._SIGN_SECONDS", 0.0)
    said = b'data: {"type":"message_start","message":{"model":"m"}}\n\n'
    upstream.parts, upstream.hold = [*chunked(said)[:-1], *(chunked(kept_open)[1:-1] * 3)], True
    opened = stage("messages")
    watch = Watch(
        StageFrame(limits=Limits(), context_window=1000, prices=None, started_at=0.0, attempt_started_at=0.0)
    )
    parts = urlsplit(opened.registration.base_url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PLENTY_SECONDS)) as connection:
        connection.request("POST", parts.path + "/v1/messages", BODY, {"x-api-key": opened.registration.api_key})
        answer = connection.getresponse()
        assert answer.read(len(said + 3 * kept_open)) == said + 3 * kept_open
        watch.see(opened.started(), 1.0)
        sign = opened.events.get_nowait()
        assert isinstance(sign, OutputSeen)
        watch.see(sign, 2.0)

        idle = watch.frame.limits.idle_timeout
        assert watch.tick(2.0 + idle - 0.1).action is Action.CONTINUE
        assert watch.tick(2.0 + idle).outcome is Outcome.IDLE_TIMEOUT
        gateway.unregister(opened.registration)  # as the end of the stage does
        with pytest.raises(http.client.IncompleteRead):
            answer.read()

    assert isinstance(ended := opened.events.get_nowait(), RequestEnded)
    assert ended.error is not None
    assert (ended.error.kind, ended.status, ended.model_served) == (ErrorKind.NETWORK, 200, "m")


def test_a_dead_server_is_a_502_and_a_network_error(stage: Open) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    opened = stage(url=f"http://127.0.0.1:{port}/v1")

    answer = ask(opened)
    ended = opened.ended()

    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "gateway_upstream_unreachable")
    assert ended.error is not None
    assert (ended.error.kind, ended.status, ended.first_byte_seconds) == (ErrorKind.NETWORK, None, None)


def test_a_server_that_breaks_off_breaks_the_agents_answer_too(stage: Open, upstream: Upstream) -> None:
    upstream.parts = chunked(b'data: {"model":"m"}\n\n', b"data: {}\n\n")[:-1]
    opened = stage()

    answer = ask(opened)
    ended = opened.ended()

    assert (answer.whole, answer.body) == (False, b'data: {"model":"m"}\n\ndata: {}\n\n')
    assert ended.error is not None
    assert (ended.error.kind, ended.status) == (ErrorKind.NETWORK, 200)


def test_a_stream_without_its_last_event_is_reported_though_http_ended_well(stage: Open, upstream: Upstream) -> None:
    upstream.parts = chunked(b'data: {"model":"m"}\n\n')
    opened = stage()

    assert ask(opened).whole
    error = opened.ended().error
    assert error is not None
    assert error.kind is ErrorKind.NETWORK


def test_a_rate_limit_passes_unchanged_and_its_headers_are_read(stage: Open, upstream: Upstream) -> None:
    body = b'{"error":{"code":"rate_limit_exceeded","message":"slow down"}}'
    head = "content-type: application/json\r\nRetry-After: 7\r\nX-RateLimit-Reset-Tokens: 6s"
    upstream.parts = plain(body, status="429 Too Many Requests", head=head)
    opened = stage()

    answer = ask(opened)
    ended = opened.ended()

    assert (answer.status, answer.reason, answer.body) == (429, "Too Many Requests", body)
    assert ("Retry-After", "7") in answer.headers
    assert ended.error is not None
    assert (ended.error.kind, ended.error.status, ended.error.retry_after_seconds) == (ErrorKind.RATE_LIMIT, 429, 7.0)
    assert ended.limit_headers == {"retry-after": "7", "x-ratelimit-reset-tokens": "6s"}
    assert ended.usage is None


@pytest.mark.parametrize(
    ("protocol", "secret", "lines"),
    [
        ("chat", SECRET, {b"authorization: bearer sk-real-0123456789"}),
        ("responses", SECRET, {b"authorization: bearer sk-real-0123456789"}),
        ("messages", SECRET, {b"x-api-key: sk-real-0123456789"}),
        (
            "messages",
            "sk-ant-oat01-x",
            {b"authorization: bearer sk-ant-oat01-x", b"anthropic-beta: oauth-2025-04-20"},
        ),
        ("gemini", SECRET, {b"x-goog-api-key: sk-real-0123456789"}),
        ("chat", None, set()),
    ],
)
def test_the_real_key_goes_upstream_in_the_protocols_style(
    stage: Open, upstream: Upstream, protocol: Protocol, secret: str | None, lines: set[bytes]
) -> None:
    upstream.parts = plain(b"{}")
    opened = stage(protocol, secret=secret)
    key = opened.registration.api_key

    for name, value in _key_headers(key).items():
        assert send(opened.registration.base_url, headers={name: value, "Cookie": "a=b"}).status == 200
        head = upstream.requests.get(timeout=PLENTY_SECONDS).partition(b"\r\n\r\n")[0].lower()
        found = set(head.split(b"\r\n"))
        assert {
            line for line in found if line.startswith((b"authorization", b"x-api", b"x-goog", b"anthropic", b"api-"))
        } == lines
        assert key.lower().encode() not in head
        assert b"cookie" not in head
        assert b"accept-encoding: identity" in found


def _key_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "X-Api-Key": key, "api-key": key, "x-goog-api-key": key}


def test_gemini_names_model_and_key_in_the_url(stage: Open, upstream: Upstream) -> None:
    event = {"modelVersion": "flash-002", "candidates": [{"finishReason": "STOP"}]}
    upstream.parts = chunked(f"data: {json.dumps(event)}\n\n".encode())
    opened = stage("gemini", url=upstream.url + "/google/v1beta")
    key = quote(opened.registration.api_key)

    counted = send(opened.registration.base_url, f"/v1beta/models/flash%40002:countTokens?key={key}")
    streamed = f"/v1beta/models/flash%40002:streamGenerateContent?alt=sse&key={key}&x"
    assert (counted.status, send(opened.registration.base_url, streamed).status) == (200, 200)
    asked = [upstream.requests.get(timeout=PLENTY_SECONDS).split(b"\r\n")[0].split()[1] for _ in range(2)]

    assert asked == [
        b"/google/v1beta/models/flash%40002:countTokens",
        b"/google/v1beta/models/flash%40002:streamGenerateContent?alt=sse&x",
    ]
    ended = opened.ended()
    assert (ended.model_asked, ended.model_served, ended.error) == ("flash@002", "flash-002", None)
    assert opened.events.empty()  # counting tokens is no model request


def test_wrong_keys_and_unknown_paths_never_reach_the_server(stage: Open, upstream: Upstream) -> None:
    opened, other = stage(), stage()
    base = opened.registration.base_url
    refusals = [
        send(base).status,
        send(base, key="sk-wrong").status,
        send(base, key=other.registration.api_key).status,
        send(base, headers={"Authorization": f"Basic {opened.registration.api_key}"}).status,
        send(base[:-1], key=opened.registration.api_key).status,
        send(base.replace("build.1", "build.2"), key=opened.registration.api_key).status,
        send(base.rsplit("/a/", 1)[0], "/", key=opened.registration.api_key).status,
    ]

    assert refusals == [401, 401, 401, 401, 404, 404, 404]
    assert upstream.requests.empty()
    assert opened.events.empty()


def test_the_real_key_is_in_no_log_event_or_repr(
    stage: Open, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"error": {"code": "invalid_api_key", "message": f"Incorrect API key: {SECRET}"}}).encode()
    upstream.parts = plain(echo, status="401 Unauthorized")
    opened = stage()

    ask(opened)
    ended = opened.ended()
    upstream.parts = [b"nonsense\r\n\r\n"]
    assert ask(opened).status == 502
    route = Route(attempt_id="a", stage="s", upstream="", protocol="chat", secret=SECRET, on_event=lambda event: None)

    assert ended.error is not None
    assert ended.error.text == "invalid_api_key: Incorrect API key: ***"
    everything = f"{ended} {opened.ended()} {caplog.text} {route} {opened.registration}"
    assert SECRET not in everything
    assert opened.registration.api_key not in everything


def test_a_key_that_the_server_quotes_never_reaches_the_agent(stage: Open, upstream: Upstream) -> None:
    said = f"{'x' * 270} {SECRET} and {SECRET[:7]}, {SECRET}"
    body = json.dumps({"error": {"code": "invalid_api_key", "message": said}}).encode()
    stars = "*" * len(SECRET)
    head = f"www-authenticate: Bearer {SECRET}"
    cuts = [chunked(body[:at], body[at:], status="401 Unauthorized", head=head) for at in (290, 300, len(body) - 4)]
    opened = stage()

    for upstream.parts in (*cuts, plain(body, status="401 Unauthorized", head=head)):
        answer = ask(opened)
        assert answer.whole
        assert answer.body.decode() == body.decode().replace(SECRET, stars)
        assert ("www-authenticate", f"Bearer {stars}") in answer.headers
        error = opened.ended().error
        assert error is not None
        assert SECRET[:5] not in error.text, "nor a part of it, where the text is cut"


def test_clients_of_every_age_get_their_answer(stage: Open, upstream: Upstream) -> None:
    upstream.parts = chunked(b"data: 1\n\n")
    opened = stage()
    url, key = urlsplit(opened.registration.base_url), opened.registration.api_key
    head = f"content-length: {len(BODY)}\r\nhost: x\r\n"

    def answer(line: str, more: str) -> bytes:
        with socket.create_connection((url.hostname, url.port), PLENTY_SECONDS) as client:
            asked = f"POST {url.path}{CHAT} {line}\r\n{head}{more}connection: close\r\n\r\n".encode("latin-1") + BODY
            client.sendall(asked)
            return b"".join(iter(lambda: client.recv(65536), b""))

    old = answer("HTTP/1.0", f"authorization: Bearer {key}\r\n")
    assert (old[:12], old[-9:]) == (b"HTTP/1.0 200", b"data: 1\n\n")
    careful = answer("HTTP/1.1", f"authorization: Bearer {key}\r\nexpect: 100-continue\r\n")
    assert careful.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    heads = [upstream.requests.get(timeout=PLENTY_SECONDS).lower() for _ in range(2)]
    assert not any(b"expect" in one for one in heads), "a server that never says so would be waited for"
    assert answer("HTTP/1.1", "authorization: Bearer \xff\r\n").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("base", "asked", "arrives"),
    [
        ("", "/v1/chat/completions", b"/v1/chat/completions"),
        ("/v1", "/v1/chat/completions", b"/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions?beta=a%2Fb", b"/v1/chat/completions?beta=a%2Fb"),
        ("/api/paas/v4", "/v1/chat/completions", b"/api/paas/v4/chat/completions"),
        ("/proxy", "/v1/messages", b"/proxy/v1/messages"),
    ],
)
def test_the_upstream_path(stage: Open, upstream: Upstream, base: str, asked: str, arrives: bytes) -> None:
    upstream.parts = plain(b"{}")

    ask(stage(url=upstream.url + base), asked)

    assert upstream.requests.get(timeout=PLENTY_SECONDS).split(b" ")[1] == arrives


def test_a_pooled_connection_that_went_stale_costs_the_agent_nothing(stage: Open) -> None:
    def serve(listener: socket.socket) -> None:
        first, _ = listener.accept()
        with closing(first):
            _whole_request(first)
            first.sendall(b"".join(plain(b"first")))
            _whole_request(first)
        second, _ = listener.accept()
        with closing(second):
            _whole_request(second)
            second.sendall(b"".join(plain(b"second")))

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        opened = stage(url=f"http://127.0.0.1:{listener.getsockname()[1]}")

        assert [ask(opened).body, ask(opened).body] == [b"first", b"second"]

    assert [opened.ended().status, opened.ended().status] == [200, 200]
    assert opened.events.empty()


def test_a_large_request_passes_whole(stage: Open, upstream: Upstream) -> None:
    upstream.parts = plain(b"{}")
    opened = stage()
    body = b'{"model":"asked","padding":"' + b"x" * 12_000_000 + b'"}'

    assert ask(opened, body=body).status == 200
    assert upstream.requests.get(timeout=PLENTY_SECONDS).partition(b"\r\n\r\n")[2] == body
    assert opened.ended().request_bytes == len(body)


def test_a_compressed_request_is_not_unpacked(stage: Open, upstream: Upstream) -> None:
    upstream.parts = plain(b"{}")
    opened = stage()

    send(
        opened.registration.base_url,
        body=b"\x1f\x8bnot really",
        key=opened.registration.api_key,
        headers={"content-encoding": "gzip"},
    )

    assert upstream.requests.get(timeout=PLENTY_SECONDS).endswith(b"\r\n\r\n\x1f\x8bnot really")


def test_a_redirect_is_the_agents_affair_and_the_key_does_not_follow_it(stage: Open, upstream: Upstream) -> None:
    upstream.parts = [
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    ]

    answer = ask(stage())

    assert (answer.status, dict(answer.headers)["location"]) == (307, "http://127.0.0.1:1/")


def test_a_faulty_callback_does_not_break_the_agent(
    gateway: Gateway, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: GatewayEvent) -> None:
        raise RuntimeError("the runner is gone")

    upstream.parts = plain(b'{"model":"m"}')
    route = Route(attempt_id="a", stage="s", upstream=upstream.url, protocol="chat", on_event=fails)
    registration = gateway.register(route)

    assert send(registration.base_url, key=registration.api_key).body == b'{"model":"m"}'
    assert "gateway_callback_fault attempt=a" in caplog.text
    gateway.unregister(registration)


def test_other_calls_pass_without_an_event(stage: Open, upstream: Upstream) -> None:
    upstream.parts = plain(b'{"input_tokens":3}')
    opened = stage("messages")

    assert ask(opened, "/v1/messages/count_tokens").body == b'{"input_tokens":3}'
    assert opened.events.empty()


def test_it_stops_with_requests_open_and_can_start_again(upstream: Upstream) -> None:
    upstream.hold = True
    events: queue.Queue[GatewayEvent] = queue.Queue()
    route = Route(attempt_id="a", stage="s", upstream=upstream.url, protocol="chat", on_event=events.put)
    gateway = Gateway()
    gateway.start()
    registration = gateway.register(route)
    gone = threading.Event()

    def ask_and_lose() -> None:
        try:
            send(registration.base_url, key=registration.api_key)
        except (http.client.HTTPException, OSError):
            gone.set()

    threading.Thread(target=ask_and_lose, daemon=True).start()
    upstream.requests.get(timeout=PLENTY_SECONDS)

    gateway.stop()
    gateway.stop()

    assert [type(events.get_nowait()) for _ in range(2)] == [RequestStarted, RequestEnded]
    assert gone.wait(PLENTY_SECONDS)
    gateway.start()
    assert gateway.port
    gateway.stop()
