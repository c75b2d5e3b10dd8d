"""A run that was recorded is replayed without its model server, and no cassette holds a key."""

import http.client
import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.events import ErrorKind, RequestEnded, RequestStarted
from tests.support.lab import Lab
from tests.support.scripted import scripted_models
from workers.gateway.cassette import CassetteFile, End, Take, load_cassettes, shape_of
from workers.gateway.recording import StageRecorder
from workers.gateway.routes import GatewayEvent, Route
from workers.gateway.server import Gateway

PLENTY_SECONDS = 20.0
CANARY = "sk-canary-0123456789"
CHAT = "/v1/chat/completions"


class Replay(NamedTuple):
    """A replay server as a program."""

    process: subprocess.Popen[str]
    url: str

    def end(self) -> str:
        """Stop it; what it wrote on standard error."""
        self.process.terminate()
        return self.process.communicate(timeout=PLENTY_SECONDS)[1]


@contextmanager
def replaying(cassette: Path) -> Iterator[Replay]:
    command = [sys.executable, "-m", "workers.gateway.scripted", "--cassette", str(cassette)]
    process = subprocess.Popen(
        [*command, "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Replay(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait(PLENTY_SECONDS)


class Answer(NamedTuple):
    """An answer as the agent sees it; `whole` unless the connection broke before its end."""

    status: int
    body: bytes
    whole: bool


def ask(
    base_url: str, body: object, *, path: str = CHAT, key: str = "any", patience_seconds: float = PLENTY_SECONDS
) -> Answer:
    parts = urlsplit(base_url)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    with closing(
        http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience_seconds)
    ) as connection:
        connection.request("POST", parts.path + path, json.dumps(body), headers)
        response = connection.getresponse()
        try:
            return Answer(response.status, response.read(), True)
        except http.client.IncompleteRead as cut:
            return Answer(response.status, cut.partial, False)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    running.start()
    yield running
    running.stop()


def conversation(model: str, *results: str) -> dict[str, object]:
    turns = [turn for said in results for turn in ({"role": "assistant"}, {"role": "tool", "content": said})]
    tools = [{"type": "function", "function": {"name": "bash", "parameters": {}}}]
    messages = [{"role": "user", "content": "do it"}, *turns]
    return {"model": model, "stream": True, "messages": messages, "tools": tools}


def test_what_passed_the_gateway_is_answered_again_and_nothing_else_is(tmp_path: Path, gateway: Gateway) -> None:
    script = {
        "good": [{"turns": [{"bash": "date"}, {"say": "Done.", "error": {"kind": "rate_limit", "retry_after": 9}}]}],
        "torn": [{"turns": [{"say": "Only a half of this.", "half_stream": True}]}],
    }
    (tmp_path / "models.yaml").write_text(json.dumps({"models": script}))
    asked = [conversation("good"), conversation("good", "at noon"), conversation("torn")]
    live, events = _recorded(tmp_path / "01-build.jsonl", tmp_path / "models.yaml", gateway, asked)

    # Another run of the same: its tools print something else.
    again = [conversation("good"), conversation("good", "at midnight"), conversation("torn")]
    with replaying(tmp_path) as replay:
        assert [ask(replay.url, body) for body in again] == live
        refused = ask(replay.url + "/box", conversation("good", "a", "b"))
        said = replay.end()

    assert [answer.status for answer in live] == [200, 429, 200]
    assert [answer.whole for answer in live] == [True, True, False]
    assert [take.end for take in load_cassettes(tmp_path)[0]] == [End.WHOLE, End.WHOLE, End.BROKEN]
    assert [event.error.kind if event.error else None for event in events] == [
        None, ErrorKind.RATE_LIMIT, ErrorKind.NETWORK
    ]  # fmt: skip
    assert refused.status == 400
    message = json.loads(refused.body)["error"]["message"]
    assert "POST /box/v1/chat/completions of good with tools" in message
    assert "2 answers and 2 tool results; everything recorded was played" in message
    assert said.splitlines() == [
        message, "replayed 3 of 3 recorded answers; 1 requests were not recorded"
    ]  # fmt: skip


def _recorded(
    cassette: Path, script: Path, gateway: Gateway, asked: list[dict[str, object]]
) -> tuple[list[Answer], list[RequestEnded]]:
    events: queue.Queue[GatewayEvent] = queue.Queue()
    command = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script)]
    server = subprocess.Popen([*command, "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, text=True)
    recorder = StageRecorder(cassette, {"stage": "01-build"}, CANARY)
    try:
        assert server.stdout is not None
        upstream = server.stdout.readline().strip()
        route = Route(
            attempt_id="a", stage="s", upstream=upstream, protocol="chat", on_event=events.put, recorder=recorder
        )
        registration = gateway.register(route)
        live = [ask(registration.base_url, body, key=registration.api_key) for body in asked]
        gateway.unregister(registration)
    finally:
        recorder.close()
        server.terminate()
        server.wait(PLENTY_SECONDS)
    found = [events.get_nowait() for _ in range(2 * len(asked))]
    assert all(isinstance(event, RequestStarted | RequestEnded) for event in found)
    return live, [event for event in found if isinstance(event, RequestEnded)]


def test_what_an_agent_did_not_wait_for_is_silence_again(tmp_path: Path) -> None:
    body = conversation("m")
    shape = shape_of("POST", CHAT, json.dumps(body).encode())
    ends = [(None, End.LEFT), (200, End.LEFT), (None, End.BROKEN)]
    with CassetteFile(tmp_path / "01-build.jsonl", {}) as file:
        for status, end in ends:
            file.add(Take(shape=shape, request="", status=status, body="data: half" if status else "", end=end))

    with replaying(tmp_path) as replay:
        with pytest.raises(TimeoutError):
            ask(replay.url, body, patience_seconds=0.3)
        with pytest.raises(TimeoutError):
            ask(replay.url, body, patience_seconds=0.3)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(replay.url, body)
        assert replay.end() == "replayed 3 of 3 recorded answers; 0 requests were not recorded\n"


# -- whole runs --


def test_a_recorded_run_is_replayed_with_the_same_result_and_no_model_server(tmp_path: Path) -> None:
    cassettes = tmp_path / "cassettes"
    with scripted_models(tmp_path) as url, _lab(tmp_path / "live", url) as lab:
        account = {"key": "env:CANARY_KEY"}
        lab.write_fleet(models={"good": {"account": "cloud"}}, account=account)
        live = _outcome(lab, {"BAKEOFF_CASSETTES": str(cassettes), "CANARY_KEY": CANARY})

    files = sorted(cassettes.rglob("*.jsonl"))
    assert [path.stem for path in files] == [f"{number:02d}-{stage}" for number, stage in enumerate(STAGES, start=1)]
    for path in files:
        words = path.read_text()
        assert CANARY not in words
        assert "sk-bakeoff" not in words
    with replaying(files[0].parent) as replay, _lab(tmp_path / "again", replay.url) as lab:
        lab.write_fleet(models={"good": {"account": "cloud"}})
        assert _outcome(lab, {}) == live
        said = replay.end()
    assert said.splitlines()[-1].endswith("; 0 requests were not recorded")


STAGES = ("plan", "build")


@contextmanager
def _lab(root: Path, base_url: str) -> Iterator[Lab]:
    root.mkdir()
    with closing(Lab(root, base_url=base_url)) as lab:
        yield lab


_FIGURES = (
    "stage",
    "outcome",
    "requests",
    "turns",
    "tool_calls",
    "input_tokens",
    "output_tokens",
    "answer",
    "changed",
)


def _outcome(lab: Lab, env: dict[str, str]) -> list[object]:
    """What a run of the planned loop came to, without what differs from run to run."""
    lab.write(agent="reference", loop={"kind": "staged", "max_builds": 1}, profiles={"one": "good"})
    done = lab.run(env=env)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    (patch,) = lab.results.rows("SELECT sha256 FROM artifacts WHERE kind = 'patch'")
    figures = [{name: stage[name] for name in _FIGURES} for stage in lab.results.stages()]
    return [*lab.results.outcomes(), patch, *figures]
