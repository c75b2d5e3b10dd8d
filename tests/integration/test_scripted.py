"""The scripted model server: as a program over real HTTP, and its decisions as pure functions."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from orchestrator.domain.errors import InvalidInput
from orchestrator.domain.events import ErrorKind, RequestEnded
from orchestrator.domain.fleet import Protocol
from workers.gateway.conversation import read_request
from workers.gateway.play import Player
from workers.gateway.routes import GatewayEvent, Route
from workers.gateway.script import Script, Turn, load_script
from workers.gateway.server import Gateway
from workers.gateway.toolcalls import call_of

EXAMPLE = Path(__file__).parents[2] / "workers" / "gateway" / "scripts" / "example.yaml"
PLENTY_SECONDS = 20.0
COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
PATHS: dict[Protocol, str] = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/{model}:{call}",
}


def start(script: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process, listening = start(EXAMPLE, "--parent-pid", str(os.getpid()))
    yield listening
    process.terminate()
    assert process.wait(PLENTY_SECONDS) == 0


Json = dict[str, object]


def request_body(protocol: Protocol, model: str, prompt: str, *, results: int = 0, stream: bool = False) -> Json:
    """A request of an agent that offers `bash` and has had this many tool results."""
    schema = {"parameters": COMMAND} if protocol != "messages" else {"input_schema": COMMAND}
    tool: Json = {"name": "bash", **schema}
    body: Json = {"model": model, "stream": stream, "stream_options": {"include_usage": True}}
    said: Json = {"parts": [{"text": prompt}]} if protocol == "gemini" else {"content": prompt}
    turns: list[Json] = [{"role": "user", **said}]
    for number in range(results):
        if protocol == "chat":
            turns += [{"role": "assistant"}, {"role": "tool", "tool_call_id": str(number), "content": "ok"}]
        elif protocol == "messages":
            turns += [{"role": "assistant"}, {"role": "user", "content": [{"type": "tool_result", "content": "ok"}]}]
        elif protocol == "gemini":
            turns += [{"role": "model"}, {"role": "user", "parts": [{"functionResponse": {"name": "bash"}}]}]
        else:
            turns += [{"type": "function_call"}, {"type": "function_call_output", "output": "ok"}]
    body[{"responses": "input", "gemini": "contents"}.get(protocol, "messages")] = turns
    if protocol == "gemini":
        capitals = {"type": "OBJECT", "properties": {"command": {"type": "STRING"}}, "required": ["command"]}
        return body | {"tools": [{"functionDeclarations": [{"name": "bash", "parameters": capitals}]}]}
    body["tools"] = [{"type": "function", "function": tool}] if protocol == "chat" else [{"type": "function", **tool}]
    return body


def post(port: int, path: str, body: Json, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    call = "streamGenerateContent?alt=sse" if body.get("stream") else "generateContent"
    path = path.format(model=body.get("model"), call=call)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PLENTY_SECONDS)) as connection:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()


def command_in(protocol: Protocol, answer: bytes) -> str | None:
    """The shell command that an answer calls for; None when it only speaks."""
    value = json.loads(answer)
    if protocol == "chat":
        calls = value["choices"][0]["message"].get("tool_calls") or []
        found = [json.loads(call["function"]["arguments"]) for call in calls]
    elif protocol == "messages":
        found = [block["input"] for block in value["content"] if block["type"] == "tool_use"]
    elif protocol == "gemini":
        parts = value["candidates"][0]["content"]["parts"]
        found = [part["functionCall"]["args"] for part in parts if "functionCall" in part]
    else:
        found = [json.loads(item["arguments"]) for item in value["output"] if item["type"] == "function_call"]
    return str(found[0]["command"]) if found else None


@pytest.mark.parametrize("protocol", list(PATHS))
def test_the_number_of_tool_results_chooses_the_turn(port: int, protocol: Protocol) -> None:
    commands = []
    for results in (0, 1, 1, 2, 3, 4):
        body = request_body(protocol, "steady", "Change the greeting", results=results)
        status, answer = post(port, PATHS[protocol], body)
        assert status == 200
        commands.append(command_in(protocol, answer))

    assert commands[0] == "ls -la && cat hello.py"
    assert commands[1] == commands[2]
    assert "sed -i" in str(commands[1])
    assert "cat > NOTES.md" in str(commands[3])
    assert commands[4:] == [None, None]


@pytest.mark.parametrize("protocol", list(PATHS))
@pytest.mark.parametrize("stream", [False, True])
def test_the_gateway_reads_the_tokens_and_the_model_that_it_states(
    port: int, protocol: Protocol, stream: bool, gateway: "Ask"
) -> None:
    ended = gateway(port, protocol, request_body(protocol, "impostor", "x", stream=stream))

    assert (ended.model_asked, ended.model_served, ended.error) == ("impostor", "some-smaller-model", None)
    assert ended.usage is not None
    assert ended.usage.input


def test_gemini_streams_an_array_counts_tokens_and_knows_no_other_call(port: int) -> None:
    models = "/some/prefix/v1beta/models/steady"
    body = request_body("gemini", "steady", "Change the greeting")

    status, answer = post(port, f"{models}:streamGenerateContent", body)
    assert (status, {part["modelVersion"] for part in json.loads(answer)}) == (200, {"steady"})
    status, answer = post(port, f"{models}:countTokens", body)
    assert (status, list(json.loads(answer))) == (200, ["totalTokens"])
    status, answer = post(port, f"{models}:embedContent", body)
    assert (status, json.loads(answer)["error"]["status"]) == (404, "NOT_FOUND")


def test_the_reported_context_grows(port: int, gateway: "Ask") -> None:
    filled = []
    for results in range(3):
        usage = gateway(port, "chat", request_body("chat", "filling", "x", results=results)).usage
        filled.append(usage.occupancy if usage else None)

    assert filled == [9000, 18000, 27000]


def test_faults_are_what_they_are_called(port: int, gateway: "Ask") -> None:
    limited = gateway(port, "messages", request_body("messages", "limited", "once more", results=1)).error
    broke = gateway(port, "chat", request_body("chat", "broke", "x")).error
    torn = gateway(port, "chat", request_body("chat", "torn", "by gateway", stream=True)).error

    assert limited is not None
    assert limited.kind is ErrorKind.USAGE_LIMIT
    assert limited.retry_after_seconds == pytest.approx(7200, abs=5)
    assert broke is not None
    assert (broke.kind, broke.retry_after_seconds) == (ErrorKind.QUOTA_EXHAUSTED, None)
    assert torn is not None
    assert torn.kind is ErrorKind.NETWORK


Ask = Callable[[int, Protocol, Json], RequestEnded]


@pytest.fixture
def gateway() -> Iterator[Ask]:
    running = Gateway()
    running.start()

    def ask(port: int, protocol: Protocol, body: Json) -> RequestEnded:
        events: queue.Queue[GatewayEvent] = queue.Queue()
        upstream = f"http://127.0.0.1:{port}"
        route = Route(attempt_id="a", stage="s", upstream=upstream, protocol=protocol, on_event=events.put)
        registration = running.register(route)
        prefix = registration.base_url.partition(f":{running.port}")[2]
        with suppress(http.client.IncompleteRead):
            post(running.port, prefix + PATHS[protocol], body, {"x-api-key": registration.api_key})
        events.get(timeout=PLENTY_SECONDS)
        event = events.get(timeout=PLENTY_SECONDS)
        assert isinstance(event, RequestEnded)
        return event

    yield ask
    running.stop()


def test_every_kind_of_error_is_read_back_as_its_kind(tmp_path: Path, gateway: Ask) -> None:
    kinds = {
        "rate_limit": ErrorKind.RATE_LIMIT,
        "usage_limit": ErrorKind.USAGE_LIMIT,
        "quota": ErrorKind.QUOTA_EXHAUSTED,
        "auth": ErrorKind.AUTH,
        "overloaded": ErrorKind.OVERLOADED,
        "server": ErrorKind.SERVER,
        "context_overflow": ErrorKind.CONTEXT_OVERFLOW,
    }
    models = {name: [{"turns": [{"error": {"kind": name, "retry_after": 60}}]}] for name in kinds}
    script = tmp_path / "script.yaml"
    script.write_text(json.dumps({"models": models}))
    process, listening = start(script)
    try:
        for protocol in PATHS:
            seen = {name: gateway(listening, protocol, request_body(protocol, name, "x")).error for name in kinds}
            found = {name: error.kind for name, error in seen.items() if error is not None}
            # Anthropic and Google say this one in words only, and words are not read.
            wordy = protocol in ("messages", "gemini")
            expected = kinds | ({"context_overflow": ErrorKind.BAD_REQUEST} if wordy else {})
            assert found == expected
    finally:
        process.terminate()
        process.wait(PLENTY_SECONDS)


def test_silence_lasts_until_the_client_goes_away(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=0.3)) as connection:
        connection.request("POST", PATHS["chat"], json.dumps(request_body("chat", "mute", "x")))
        with pytest.raises(TimeoutError):
            connection.getresponse()

    assert post(port, PATHS["chat"], request_body("chat", "steady", "greeting"))[0] == 200


def test_it_lists_its_models_and_is_healthy_under_any_prefix(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PLENTY_SECONDS)) as connection:
        connection.request("GET", "/some/prefix/v1/models")
        names = [model["id"] for model in json.loads(connection.getresponse().read())["data"]]
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read())

    assert names[:2] == ["steady", "limited"]
    assert health == {"status": "ok"}


def test_unknown_models_and_prompts_are_refused_by_name(port: int) -> None:
    status, answer = post(port, PATHS["chat"], request_body("chat", "nobody", "x"))

    assert (status, json.loads(answer)["error"]["code"]) == (404, "model_not_found")
    assert post(port, PATHS["chat"], {})[0] == 404


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(["sleep", "60"])
    port_file = tmp_path / "port"
    process, listening = start(EXAMPLE, "--parent-pid", str(parent.pid), "--port-file", str(port_file))

    assert int(port_file.read_text()) == listening
    parent.send_signal(signal.SIGKILL)
    parent.wait(PLENTY_SECONDS)

    assert process.wait(PLENTY_SECONDS) == 0


def test_it_starts_quickly() -> None:
    began = time.monotonic()
    process, _ = start(EXAMPLE)
    took = time.monotonic() - began
    process.terminate()
    process.wait(PLENTY_SECONDS)

    # 0.6 s on an idle core; the bound leaves room for a busy machine.
    assert took < 3.0


def test_a_faulty_script_is_refused_with_every_fault_and_its_line(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(
        "models:\n"
        "  m:\n"
        "    - match: {regex: '('}\n"
        "      turns:\n"
        "        - sya: hello\n"
        "        - bash: ls\n"
        "          error: {kind: tired}\n"
        "    - turns:\n"
        "        - {bash: ls, repeat: forever}\n"
        "        - say: never\n"
    )

    with pytest.raises(InvalidInput) as caught:
        load_script(script)

    places = {(fault.line, fault.field) for fault in caught.value.faults}
    assert places == {
        (3, "models.m.0.match.regex"),
        (5, "models.m.0.turns.0.sya"),
        (7, "models.m.0.turns.1.error.kind"),
        (8, "models.m.1"),
    }
    command = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script)]
    assert subprocess.run(command, capture_output=True).returncode == 3


def test_the_example_is_valid_and_shows_every_fault() -> None:
    assert set(load_script(EXAMPLE).models) >= {"steady", "limited", "endless", "filling", "mute", "torn", "impostor"}


# -- decisions --


def player(**models: list[Json]) -> Player:
    return Player(Script.model_validate({"models": models}))


def chat(model: str, messages: list[Json], *, tools: bool = True, size: int = 4000) -> Json:
    offered = [{"type": "function", "function": {"name": "bash", "parameters": COMMAND}}] if tools else []
    return {"model": model, "messages": messages, "tools": offered, "size": size}


def said(play: Player, messages: list[Json], key: str = "k", *, tools: bool = True) -> str | None:
    reply = play.reply(read_request("chat", chat("m", messages, tools=tools), 400), key)
    if reply is None or reply.error is not None:
        return None
    return reply.text


USER: Json = {"role": "user", "content": "do it"}


def test_times_begin_anew_after_the_request_that_passed() -> None:
    play = player(m=[{"turns": [{"say": "yes", "error": {"kind": "server", "times": 2}}]}])

    answers = [said(play, [USER]) for _ in range(6)]

    assert answers == [None, None, "yes", None, None, "yes"]


def test_times_are_counted_per_conversation() -> None:
    play = player(m=[{"turns": [{"say": "yes", "error": {"kind": "server", "times": 1}}]}])

    assert [said(play, [USER], key) for key in ("a", "b", "a", "b")] == [None, None, "yes", "yes"]


def test_a_conversation_is_its_prefix_model_and_session_or_opening() -> None:
    request = read_request("chat", chat("m", [USER]), 10)
    other = read_request("chat", chat("m", [{"role": "user", "content": "else"}]), 10)
    later = read_request("chat", chat("m", [USER, {"role": "assistant"}, {"role": "tool"}]), 10)

    assert request.key({}, "/a") == later.key({}, "/a")
    assert request.key({"x-session-id": "1"}, "/a") == other.key({"x-session-id": "1"}, "/a")
    keys = {
        request.key({}, "/a"),
        request.key({}, "/b"),
        other.key({}, "/a"),
        request.key({"x-session-id": "1"}, "/a"),
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        ({"prompt": "ALPHA"}, True),
        ({"prompt": "omega"}, True),
        ({"first": "omega"}, False),
        ({"last": "omega"}, True),
        ({"regex": "^al.ha"}, True),
        ({"regex": "beta"}, False),
        ({"stage": "Build"}, True),
        ({"stage": "plan"}, False),
        ({"prompt": "alpha", "stage": "plan"}, False),
    ],
)
def test_what_a_rule_matches(match: Json, hits: bool) -> None:
    play = player(m=[{"match": match, "turns": [{"say": "hit"}]}, {"turns": [{"say": "miss"}]}])
    first: Json = {"role": "user", "content": [{"type": "text", "text": "alpha\nstage: plan"}]}

    answer = said(
        play, [first, {"role": "assistant", "content": "beta"}, {"role": "user", "content": "stage: build\nomega"}]
    )

    assert answer == ("hit" if hits else "miss")


def test_turns_repeat_and_end_with_a_closing_word() -> None:
    play = player(m=[{"turns": [{"bash": "step {{turn}}", "repeat": 2}, {"say": "end"}]}])
    texts = []
    for results in range(4):
        request = read_request("chat", chat("m", [USER] + [{"role": "tool"}] * results), 40)
        reply = play.reply(request, "k")
        assert reply is not None
        texts.append(reply.call.arguments["command"] if reply.call else reply.text)

    assert texts == ["step 1", "step 2", "end", "Done."]


def test_counting_from_the_last_prompt() -> None:
    messages: list[Json] = [
        USER,
        {"role": "tool"},
        {"role": "tool"},
        {"role": "user", "content": "more"},
        {"role": "tool"},
    ]
    turns = [{"say": "zero"}, {"say": "one"}, {"say": "two"}, {"say": "three"}]

    assert said(player(m=[{"turns": turns}]), messages) == "three"
    assert said(player(m=[{"turns": turns, "count_from": "last_prompt"}]), messages) == "one"


def test_requests_without_tools_get_a_short_text_and_use_up_no_fault() -> None:
    play = player(m=[{"turns": [{"bash": "ls", "error": {"kind": "server", "times": 1}}]}])
    title: Json = {"role": "system", "content": "You write a title"}

    assert said(play, [title, USER], tools=False) == "Scripted conversation"
    assert said(play, [USER], tools=False) == "Summary: the scripted work goes on."
    assert said(play, [USER]) is None


def test_a_rule_that_only_speaks_answers_without_tools_too() -> None:
    play = player(m=[{"turns": [{"say": "first"}, {"say": "second"}]}])

    assert said(play, [USER], tools=False) == "first"
    assert said(play, [USER, {"role": "assistant", "content": "first"}, USER], tools=False) == "second"


@pytest.mark.parametrize(
    ("tools", "turn", "name", "arguments"),
    [
        ({"bash": COMMAND}, {"bash": "ls"}, "bash", {"command": "ls"}),
        ({"shell": COMMAND}, {"bash": "ls"}, "shell", {"command": "ls"}),
        ({"exec_command": {"properties": {"cmd": {}}}}, {"bash": "ls"}, "exec_command", {"cmd": "ls"}),
        (
            {"shell": {"properties": {"command": {"type": "array"}}}},
            {"bash": "ls"},
            "shell",
            {"command": ["bash", "-lc", "ls"]},
        ),
        (
            {"bash": {**COMMAND, "required": ["command", "description", "timeout"],
                      "properties": {**COMMAND["properties"], "timeout": {"type": "number"}}}},  # type: ignore[dict-item]
            {"bash": "ls"},
            "bash",
            {"command": "ls", "description": "Run a command", "timeout": 120000},
        ),
        (
            {"bash": COMMAND, "write": {"properties": {"filePath": {}, "content": {}}}},
            {"write": {"path": "a", "content": "b"}},
            "write",
            {"filePath": "a", "content": "b"},
        ),
        (
            {"run_shell_command": COMMAND,
             "write_file": {"properties": {"file_path": {"description": "Absolute path"}}}},
            {"write": {"path": "a", "content": "b"}},
            "run_shell_command",
            {"command": "mkdir -p \"$(dirname a)\" && cat > a <<'END_OF_FILE'\nb\nEND_OF_FILE"},
        ),
    ],
)  # fmt: skip
def test_a_turn_uses_the_tools_that_the_agent_offers(tools: Json, turn: Json, name: str, arguments: Json) -> None:
    offered = [
        {"type": "function", "function": {"name": tool, "parameters": schema}} for tool, schema in tools.items()
    ]
    request = read_request("chat", {"messages": [USER], "tools": offered}, 10)

    call = call_of(Turn.model_validate(turn), 0, request)

    assert call is not None
    assert (call.name, dict(call.arguments)) == (name, arguments)


def test_a_written_file_arrives_byte_for_byte_through_a_shell(tmp_path: Path) -> None:
    content = "it's $HOME `x` \\ END_OF_FILE\nlast line\n"
    request = read_request("chat", chat("m", [USER]), 10)

    call = call_of(Turn.model_validate({"write": {"path": "a b/c.txt", "content": content}}), 0, request)

    assert call is not None
    subprocess.run(["bash", "-c", str(call.arguments["command"])], cwd=tmp_path, check=True)
    assert (tmp_path / "a b" / "c.txt").read_text() == content


def test_an_agent_that_must_submit_gets_the_command_for_it() -> None:
    prompt: Json = {"role": "user", "content": "end with COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
    request = read_request("chat", chat("m", [prompt]), 10)

    call = call_of(Turn(say="It's done."), 3, request)

    assert call is not None
    shown = subprocess.run(["bash", "-c", str(call.arguments["command"])], capture_output=True, text=True, check=True)
    assert shown.stdout == "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\nIt's done.\n"


def test_stated_token_counts_win_over_estimated_ones() -> None:
    stated = {"prompt_tokens": 500, "completion_tokens": 70, "cached_tokens": 900}
    play = player(m=[{"turns": [{"say": "x", "usage": stated}, {"say": "x"}]}])
    first = play.reply(read_request("chat", chat("m", [USER]), 4000), "k")
    second = play.reply(read_request("chat", chat("m", [USER, {"role": "tool"}]), 4000), "k")

    assert first is not None
    assert second is not None
    assert (first.counts.prompt, first.counts.completion, first.counts.cached) == (500, 70, 500)
    assert (second.counts.prompt, second.counts.cached, second.counts.reasoning) == (1000, 750, 12)


def test_an_agent_s_reminder_hides_no_prompt_that_stands_behind_it() -> None:
    reminder = "<system-reminder>It is Monday.</system-reminder>"
    both = [{"type": "text", "text": reminder}, {"type": "text", "text": "go on"}]
    messages: list[object] = [{"role": "user", "content": content} for content in ("first", both, reminder)]
    assert read_request("chat", {"messages": messages}, 1).last == f"{reminder}\ngo on"
