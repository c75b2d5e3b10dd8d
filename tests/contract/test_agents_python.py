"""aider, Vibe and OpenHands: what they are told, and what their files tell where their output does not."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from orchestrator.domain.events import (
    SUM,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    MessageSaid,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.usage import TokenUsage
from tests.contract.agents_support import model, stage
from workers.agents.aider import AiderReader
from workers.agents.base import Launch
from workers.agents.environment import package_version
from workers.agents.openhands import OpenhandsReader
from workers.agents.registry import adapter
from workers.agents.vibe import VibeReader

RUN, OTHER = "0123456789abcdef0123456789abcdef", "f" * 32


def _launch(name: str, folder: Path, session: str | None = None) -> Launch:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / name).write_text("#!/bin/sh\n")
    (programs / name).chmod(0o755)
    spec = model().model_copy(update={"name": 'odd"name\\é\x7f'}) if name == "vibe" else model()
    return adapter(name).launch(stage(folder, spec=spec, host_env={"PATH": str(programs)}, session_id=session))


def _after(launch: Launch, option: str) -> str:
    return launch.argv[launch.argv.index(option) + 1]


def _of(events: list[Event], *kinds: type) -> list[Event]:
    return [event for event in events if isinstance(event, kinds)]


def test_aider_s_key_prices_and_window_go_by_files(tmp_path: Path) -> None:
    launch = _launch("aider", tmp_path)
    secrets = Path(_after(launch, "--env-file"))
    told = dict(line.split("=", 1) for line in secrets.read_text().splitlines())
    server = {"OPENAI_API_KEY": "gateway-token", "OPENAI_API_BASE": "http://127.0.0.1:1/a/b/v1"}
    # Its own variables win over a configuration file of the repository.
    assert told == server | {f"AIDER_{name}": value for name, value in server.items()} | dict.fromkeys(
        ("AIDER_WEAK_MODEL", "AIDER_EDITOR_MODEL"), "openai/scripted-model"
    )
    assert secrets.stat().st_mode & 0o077 == 0
    assert json.loads(Path(_after(launch, "--model-metadata-file")).read_text()) == {
        "openai/scripted-model": {
            "litellm_provider": "openai",
            "mode": "chat",
            "max_input_tokens": 32_768,
            "max_output_tokens": 4_096,
            "max_tokens": 4_096,
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 5e-6,
            "cache_read_input_token_cost": 0.1 / 1e6,
        }
    }
    unpriced = stage(tmp_path, spec=model(prices=None), host_env={"PATH": str(tmp_path / "bin")})
    metadata = Path(_after(adapter("aider").launch(unpriced), "--model-metadata-file")).read_text()
    assert "cost" not in metadata
    ours = {"--no-auto-commits", "--no-dirty-commits", "--no-gitignore", "--no-check-update", "--analytics-disable"}
    assert ours <= set(launch.argv)


def test_aider_s_index_ignores_itself_and_follows_no_link(tmp_path: Path) -> None:
    _launch("aider", tmp_path)
    folder = tmp_path / "tree/.aider.tags.cache.v4"
    assert (folder / ".gitignore").read_text() == "*\n"
    (tmp_path / "elsewhere").mkdir()
    (folder / ".gitignore").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    _launch("aider", tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_fresh_dialogue_of_aider_forgets_an_earlier_one_and_a_resumed_one_does_not(tmp_path: Path) -> None:
    history = Path(_after(_launch("aider", tmp_path), "--chat-history-file"))
    history.write_text("said before")
    resumed = _launch("aider", tmp_path, history.stem)
    assert ("--restore-chat-history" in resumed.argv, history.exists()) == (True, True)
    assert "--restore-chat-history" not in _launch("aider", tmp_path).argv
    assert not history.exists()


def _aider(folder: Path, *events: dict[str, object]) -> AiderReader:
    lines = [json.dumps(event) + "\n" for event in events]
    (folder / "log.jsonl").write_text("".join(lines))
    return AiderReader(folder / "log.jsonl", folder / "dialogue.txt", "prompt")


_ASKED: dict[str, object] = {"event": "message_send_starting", "properties": {}}
_ANSWERED: dict[str, object] = {
    "event": "message_send",
    "properties": {"prompt_tokens": 9, "completion_tokens": 2, "cost": 0.5},
}
_EXIT: dict[str, object] = {"event": "exit", "properties": {"reason": "Completed --message-file"}}


def test_what_aider_s_model_wrote_is_no_error(tmp_path: Path) -> None:
    reader = _aider(tmp_path, _ASKED, _ANSWERED, _EXIT)
    reader.feed(b"litellm.AuthenticationError: says the model\nModel x has hit a token limit!\n")
    (tmp_path / "dialogue.txt").write_text(
        "LLM RESPONSE 2026-11-20T17:11:10\nASSISTANT LLM RESPONSE 1\nASSISTANT TO LLM 2\n"
    )
    events = [*reader.poll()]
    assert _of(events, TurnEnded, ErrorSeen, MessageSaid) == [
        TurnEnded(usage=TokenUsage(input=9, output=2)),  # its cost is of prices that it was not given
        MessageSaid(text="LLM RESPONSE 1\nTO LLM 2"),
    ]
    assert reader.finish(0, "").reason is EndReason.FINISHED


def test_aider_s_last_request_that_was_not_answered_is_no_good_end(tmp_path: Path) -> None:
    reader = _aider(tmp_path, _ASKED, _ANSWERED, _ASKED, _EXIT)
    reader.poll()
    assert reader.finish(0, "").reason is EndReason.ERROR


def test_aider_s_refused_context_counts_no_tokens(tmp_path: Path) -> None:
    guess: dict[str, object] = {
        "event": "message_send",
        "properties": {"prompt_tokens": 2002, "completion_tokens": 0},
    }
    reader = _aider(tmp_path, _ASKED, guess, _EXIT)
    reader.feed(b"Model openai/scripted-model has hit a token limit!\n")
    assert [type(event) for event in _of([*reader.poll()], TurnEnded, ErrorSeen)] == [ErrorSeen]
    assert reader.finish(0, "").reason is EndReason.ERROR


def test_vibe_s_configuration(tmp_path: Path) -> None:
    launch = _launch("vibe", tmp_path, "ses-1")
    config = tomllib.loads((tmp_path / "home/.vibe/config.toml").read_text("utf-8"))
    assert launch.env[config["providers"][0]["api_key_env_var"]] == "gateway-token"
    assert config["providers"][0]["api_base"] == "http://127.0.0.1:1/a/b/v1"
    assert config["models"] == [
        {
            "name": 'odd"name\\é\x7f',
            "provider": "bakeoff",
            "alias": "bakeoff",
            "max_context_length": 32_768,
            "max_output_tokens": 4_096,
            "auto_compact_threshold": 27_852,
            "input_price": 1.0,
            "output_price": 5.0,
            "cached_input_price": 0.1,
        }
    ]
    assert (config["active_model"], config["enable_telemetry"], config["enable_update_checks"]) == (
        "bakeoff",
        False,
        False,
    )
    assert _after(launch, "--resume") == "ses-1"


def _step(folder: Path, session: str, tokens: int) -> None:
    journal = folder / session / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    answer = {
        "finish_reason": "stop",
        "usage": {"input_tokens": tokens, "output_tokens": 1, "cached_input_tokens": 0},
    }
    payload = {"result": {"result": answer, "type": "completion_succeeded"}}
    with (journal / "0001.jsonl").open("a") as file:
        file.write(json.dumps({"payload": payload, "type": "action_result"}, separators=(",", ":")) + "\n")


def test_vibe_s_sub_agents_and_what_its_deleted_journals_held(tmp_path: Path) -> None:
    _step(tmp_path, "main", 1000)  # an earlier stage's
    reader = VibeReader(tmp_path, tmp_path / "export.json")
    reader.feed(b'{"type":"message","role":"user","sessionId":"main"}\n')
    _step(tmp_path, "main", 10)
    _step(tmp_path, "helper", 20)
    usage = {"input_tokens": 35, "output_tokens": 4, "cached_input_tokens": 3}
    (tmp_path / "export.json").write_text(json.dumps({"outcome": "finished", "session_id": "main", "usage": usage}))
    turns = [(turn.usage, turn.subagent, turn.reason) for turn in reader.poll() if isinstance(turn, TurnEnded)]
    assert turns == [
        (TokenUsage(input=20, output=1, cache_read=0), True, "stop"),
        (TokenUsage(input=10, output=1, cache_read=0), False, "stop"),
        (TokenUsage(input=2, output=2, cache_read=3), True, SUM),
    ]
    assert (reader.poll(), reader.finish(0, "").reason) == ([], EndReason.FINISHED)


def _state(folder: Path, run: str, **steps: list[int]) -> None:
    (folder / run).mkdir(exist_ok=True)
    metrics = {
        name: {"token_usages": [{"response_id": f"{name}{n}", "prompt_tokens": n} for n in numbers]}
        for name, numbers in steps.items()
    }
    (folder / run / "base_state.json").write_text(json.dumps({"stats": {"usage_to_metrics": metrics}}))


def _answer(number: int) -> bytes:
    record = {"kind": "MessageEvent", "source": "agent", "llm_response_id": f"agent{number}", "llm_message": {}}
    return json.dumps(record).encode() + b"\n"


def test_openhands_turns_are_told_at_once_and_their_tokens_when_they_are_known(tmp_path: Path) -> None:
    _state(tmp_path, OTHER, agent=[1])
    reader = OpenhandsReader(tmp_path)
    _state(tmp_path, RUN)
    first = [*reader.feed(_answer(7)), *reader.poll()]
    _state(tmp_path, RUN, agent=[7, 8], condenser=[9])
    later = [*reader.feed(_answer(8)), *reader.poll()]
    assert _of(first, SessionStarted) == [SessionStarted(session_id="01234567-89ab-cdef-0123-456789abcdef")]
    assert [
        (turn.usage.input, turn.subagent, turn.reason) for turn in (*first, *later) if isinstance(turn, TurnEnded)
    ] == [
        (None, False, None),
        (7, True, SUM),
        (8, False, None),
        (9, True, None),
    ]


def test_a_resumed_conversation_of_openhands_tells_only_its_new_steps(tmp_path: Path) -> None:
    _state(tmp_path, RUN, agent=[1, 2])
    reader = OpenhandsReader(tmp_path, "01234567-89ab-cdef-0123-456789abcdef")
    assert reader.poll() == []
    _state(tmp_path, RUN, agent=[1, 2, 30])
    assert [turn.usage.input for turn in reader.poll() if isinstance(turn, TurnEnded)] == [30]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("LLMRateLimitError", ErrorKind.RATE_LIMIT),
        ("LLMContextWindowExceedError", ErrorKind.CONTEXT_OVERFLOW),
        ("APIConnectionError", ErrorKind.NETWORK),
        ("SomethingElse", ErrorKind.AGENT),
    ],
)
def test_openhands_errors_by_the_name_of_their_exception(code: str, kind: ErrorKind, tmp_path: Path) -> None:
    reader = OpenhandsReader(tmp_path)
    events = [*reader.feed(json.dumps({"kind": "ConversationErrorEvent", "code": code}).encode() + b"\n")]
    assert _of(events, ErrorSeen) == [ErrorSeen(kind=kind, text=code)]
    assert reader.finish(0, "").reason is EndReason.ERROR


def test_openhands_own_limit_of_steps_is_a_turn_limit(tmp_path: Path) -> None:
    reader = OpenhandsReader(tmp_path)
    reader.feed(b'{"kind":"ConversationErrorEvent","code":"MaxIterationsReached","detail":"500"}\n')
    assert reader.finish(0, "").reason is EndReason.TURN_LIMIT


def test_openhands_finishes_by_its_tool_too_and_a_failed_command_is_no_success(tmp_path: Path) -> None:
    reader = OpenhandsReader(tmp_path)
    records = [
        {"kind": "ActionEvent", "tool_name": "terminal", "tool_call_id": "1", "action": {"command": "false"}},
        {"kind": "ObservationEvent", "tool_call_id": "1", "observation": {"is_error": False, "exit_code": 1}},
        {"kind": "ActionEvent", "tool_name": "finish", "action": {"kind": "FinishAction", "message": "Done."}},
    ]
    events = [event for record in records for event in reader.feed(json.dumps(record).encode() + b"\n")]
    assert _of(events, ToolCalled) == [ToolCalled(tool="terminal", signature='{"command": "false"}', ok=False)]
    assert (reader.finish(0, "").reason, reader.finish(0, "").final_text) == (EndReason.FINISHED, "Done.")


def test_openhands_keeps_no_key_on_disk_and_its_shells_to_itself(tmp_path: Path) -> None:
    launch = _launch("openhands", tmp_path)
    settings = tmp_path / "home/.openhands/agent_settings.json"
    assert "gateway-token" not in settings.read_text()
    llm = json.loads(settings.read_text())["llm"]
    assert (llm["base_url"], llm["max_input_tokens"]) == ("http://127.0.0.1:1/a/b/v1", 32_768)
    assert json.loads(settings.read_text())["condenser"]["max_tokens"] == 27_852
    assert len(launch.env["TMUX_TMPDIR"]) <= 80
    assert launch.env["LLM_API_KEY"] == "gateway-token"


@pytest.mark.parametrize("head", ["#!{python}\n", '#!/bin/sh\n\'\'\'exec\' "{python}" "$0" "$@"\n'])
def test_a_package_s_version_is_asked_of_its_own_python(head: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 4.5.6\n")
    program = tmp_path / "program"
    program.write_text(head.format(python=python))
    for file in (python, program):
        file.chmod(0o755)
    assert package_version("program", "any", {"PATH": os.fspath(tmp_path)}) == "4.5.6"
    program.write_text("no script")
    assert package_version("program", "any", {"PATH": os.fspath(tmp_path)}) is None
