"""Gemini CLI, Qwen Code and pi: what they are started with, and what their streams and session files tell."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.domain.events import (
    Compacted,
    EndReason,
    ErrorKind,
    ErrorSeen,
    OutputSeen,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.usage import TokenUsage
from tests.contract.agent_cases import FIXTURES, read_recording, stdout_of
from tests.contract.agents_support import PRICES, Reading, model, read, stage
from workers.agents.base import Launch, StreamReader
from workers.agents.gemini import GeminiReader
from workers.agents.gemini_faults import error_of_result
from workers.agents.pi import PiReader
from workers.agents.qwen import QwenReader
from workers.agents.registry import adapter


def _launch(agent: str, folder: Path, *, session: str | None = None, window: int = 32_768) -> Launch:
    (folder / agent).write_text("#!/bin/sh\n")
    (folder / agent).chmod(0o755)
    spec = model().model_copy(update={"protocol": adapter(agent).protocols[0], "context_window": window})
    context = stage(folder, spec=spec, session_id=session, host_env={"PATH": str(folder)})
    return adapter(agent).launch(context)


def _kept(agent: str, case: str, folder: Path) -> Reading:
    recording = FIXTURES / agent / case
    return read_recording(agent, recording, folder, [stdout_of(recording)], 0)


def _read(reader: StreamReader, *records: Mapping[str, object], code: int = 0) -> Reading:
    return read(reader, ["".join(json.dumps(record) + "\n" for record in records).encode()], code)


# -- what they are started with --


def test_gemini_asks_one_model_whatever_it_asks(tmp_path: Path) -> None:
    launch = _launch("gemini", tmp_path)
    settings = json.loads((tmp_path / "home/.gemini/settings.json").read_text("utf-8"))
    assert launch.argv[1:] == (
        *("--output-format", "stream-json", "--approval-mode", "yolo", "--skip-trust"),
        *("--model", "scripted-model"),
    )
    assert (launch.env["GOOGLE_GEMINI_BASE_URL"], launch.env["GEMINI_API_KEY"]) == (
        "http://127.0.0.1:1/a/b",
        "gateway-token",
    )
    overrides = settings["modelConfigs"]["customOverrides"]
    assert {"base", "chat-compression-default"} <= {override["match"]["model"] for override in overrides}
    assert {override["modelConfig"]["model"] for override in overrides} == {"scripted-model"}


@pytest.mark.parametrize(("window", "told"), [(32_768, 60_853), (100_000, 118_000), (1_000_000, 1_000_000)])
def test_qwen_compacts_at_the_limit_s_share_of_any_window(window: int, told: int, tmp_path: Path) -> None:
    launch = _launch("qwen", tmp_path, window=window)
    # Those of the system win over the repository's.
    settings = json.loads(Path(launch.env["QWEN_CODE_SYSTEM_SETTINGS_PATH"]).read_text("utf-8"))
    assert settings["model"]["generationConfig"]["contextWindowSize"] == told
    assert settings["context"]["autoCompactThreshold"] * told == pytest.approx(0.85 * window)
    assert min(0.85 * window, told - 33_000) == pytest.approx(0.85 * window, abs=1), "where it compacts"
    assert (launch.env["OPENAI_BASE_URL"], launch.env["QWEN_CODE_MAX_OUTPUT_TOKENS"]) == (
        "http://127.0.0.1:1/a/b/v1",
        "4096",
    )


def test_pi_has_one_provider_and_no_extension(tmp_path: Path) -> None:
    launch = _launch("pi", tmp_path)
    file = tmp_path / "home/.pi/agent/models.json"
    (provider,) = json.loads(file.read_text("utf-8"))["providers"].values()
    (entry,) = provider["models"]
    assert (provider["baseUrl"], provider["apiKey"], file.stat().st_mode & 0o077) == (
        "http://127.0.0.1:1/a/b/v1",
        "gateway-token",
        0,
    )
    assert (entry["contextWindow"], entry["cost"]) == (
        32_768,
        {"input": 1.0, "output": 5.0, "cacheRead": 0.1, "cacheWrite": 1.25},
    )
    assert "--no-extensions" in launch.argv


@pytest.mark.parametrize(("agent", "flag"), [("gemini", "--resume"), ("qwen", "--resume"), ("pi", "--session")])
def test_a_session_is_resumed_by_its_id(agent: str, flag: str, tmp_path: Path) -> None:
    assert _launch(agent, tmp_path, session="s-1").argv[-2:] == (flag, "s-1")


def test_pi_tells_its_version_where_others_complain(tmp_path: Path) -> None:
    (tmp_path / "pi").write_text("#!/bin/sh\necho 0.73.1 >&2\n")
    (tmp_path / "pi").chmod(0o755)
    assert adapter("pi").version({"PATH": f"{tmp_path}:/usr/bin:/bin"}) == "0.73.1"


# -- what they tell --


@pytest.mark.parametrize(
    ("agent", "children"),
    [
        ("gemini", [TokenUsage(input=3269, output=27, cache_read=0, reasoning=0)]),
        ("qwen", [TokenUsage(input=14265, output=43, cache_read=0, reasoning=12)]),
    ],
)
def test_sub_agents_are_counted_apart(agent: str, children: list[TokenUsage], tmp_path: Path) -> None:
    turns = _kept(agent, "subagent", tmp_path).of(TurnEnded)
    assert [turn.usage for turn in turns if turn.subagent][:1] == children
    assert sum(turn.subagent for turn in turns) == 2


def test_qwen_s_compactions_and_refusals_are_in_its_session_file(tmp_path: Path) -> None:
    assert len(_kept("qwen", "ctxnat", tmp_path / "one").of(Compacted)) == 3
    refused = _kept("qwen", "ctxlen", tmp_path / "two")
    assert {(error.kind, error.status) for error in refused.of(ErrorSeen)} == {(ErrorKind.BAD_REQUEST, 400)}


@pytest.mark.parametrize(
    ("agent", "oks"), [("gemini", [None, None, None]), ("qwen", [False, False, True]), ("pi", [False, False, True])]
)
def test_whether_a_command_failed_is_told_but_by_gemini(agent: str, oks: list[bool | None], tmp_path: Path) -> None:
    assert [call.ok for call in _kept(agent, "fail", tmp_path).of(ToolCalled)] == oks


@pytest.mark.parametrize(
    ("agent", "file", "step"),
    [
        ("gemini", "home/.gemini/tmp/tree/chats/session-1.jsonl", b'"toolCalls"'),
        ("qwen", "home/.qwen/projects/tree/chats/s.jsonl", b"api_response"),
    ],
)
def test_what_an_earlier_stage_told_is_not_told_again(agent: str, file: str, step: bytes, tmp_path: Path) -> None:
    (source,) = FIXTURES.glob(f"{agent}/ok/**/session*.jsonl")
    context = stage(tmp_path)
    session = tmp_path / file
    session.parent.mkdir(parents=True)
    lines = source.read_bytes().splitlines(keepends=True)
    told = next(number for number, line in enumerate(lines, 1) if step in line and b"tool_call" not in line)
    session.write_bytes(b"".join(lines[:told]))
    reader = adapter(agent).reader(context)
    assert list(reader.poll()) == []
    with session.open("ab") as growing:
        growing.writelines(lines[told:])
    assert sum(isinstance(event, TurnEnded) for event in reader.poll()) == 3
    assert [event for event in reader.poll() if not isinstance(event, OutputSeen)] == []


def test_gemini_s_sum_tells_what_its_files_do_not(tmp_path: Path) -> None:
    session = tmp_path / "tmp/tree/chats/session-1.jsonl"
    session.parent.mkdir(parents=True)
    reader = GeminiReader(tmp_path)
    tokens = {"input": 100, "output": 5, "cached": 60, "thoughts": 2, "tool": 0, "total": 107}
    session.write_text(json.dumps({"id": "m", "tokens": tokens}, separators=(",", ":")) + "\n")
    stats = {"total_tokens": 150, "input_tokens": 140, "output_tokens": 6, "cached": 60, "input": 80}
    turns = _read(reader, {"type": "result", "status": "success", "stats": stats}).of(TurnEnded)
    assert [(turn.usage, turn.subagent) for turn in turns] == [
        (TokenUsage(input=40, output=5, cache_read=60, reasoning=2), False),
        (TokenUsage(input=40, output=1, cache_read=0, reasoning=2), True),
    ]


def test_gemini_s_errors_come_after_the_turns_that_its_files_tell(tmp_path: Path) -> None:
    events = _kept("gemini", "ctxlen", tmp_path).events
    assert [type(event) for event in events[-2:]] == [TurnEnded, ErrorSeen]


@pytest.mark.parametrize(
    ("error", "kind", "status", "seconds"),
    [
        ({"type": "FatalAuthenticationError", "message": "no"}, ErrorKind.AUTH, None, None),
        ({"type": "FatalInputError", "message": "no"}, ErrorKind.AGENT, None, None),
        ({"message": "[API Error: gone (Status: UNAVAILABLE)]"}, ErrorKind.OVERLOADED, None, None),
        ({"message": "[API Error: fetch failed]"}, ErrorKind.NETWORK, None, None),
        ({"message": "[API Error: Cannot read properties of undefined]"}, ErrorKind.UNKNOWN, None, None),
        ({"message": '[API Error: {"error":{"code":503}}]'}, ErrorKind.OVERLOADED, 503, None),
        ({"message": '[API Error: {"error":{"code":404,"status":"NOT_FOUND"}}]'}, ErrorKind.BAD_REQUEST, 404, None),
        (
            {"message": "[API Error: Slow down.\nSuggested retry after 1.5s.]\nPlease wait and try again later."},
            ErrorKind.RATE_LIMIT,
            429,
            1.5,
        ),
    ],
)
def test_gemini_s_errors(
    error: dict[str, object], kind: ErrorKind, status: int | None, seconds: float | None
) -> None:
    seen = error_of_result(error)
    assert seen is not None
    assert (seen.kind, seen.status, seen.retry_after_seconds) == (kind, status, seconds)


@pytest.mark.parametrize(
    ("code", "reason"), [(53, EndReason.TURN_LIMIT), (130, EndReason.INTERRUPTED), (0, EndReason.NO_FINAL_EVENT)]
)
def test_ends_that_only_an_exit_code_tells(code: int, reason: EndReason, tmp_path: Path) -> None:
    readers: tuple[StreamReader, ...] = (GeminiReader(tmp_path), QwenReader(tmp_path))
    assert [reader.finish(code, "").reason for reader in readers] == [reason, reason]


def test_qwen_s_last_error_is_told_once(tmp_path: Path) -> None:
    assert len(_kept("qwen", "401", tmp_path).of(ErrorSeen)) == 1  # in its file, and with the result


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Connection error. (cause: fetch failed)", ErrorKind.NETWORK),
        ("Context is too large to send safely after automatic compression.", ErrorKind.CONTEXT_OVERFLOW),
        ("Model stream ended without a finish reason.", ErrorKind.UNKNOWN),
        ("503 Busy.", ErrorKind.OVERLOADED),
    ],
)
def test_qwen_s_errors_are_the_provider_s_only_where_one_was_asked(
    message: str, kind: ErrorKind, tmp_path: Path
) -> None:
    result = {"type": "result", "is_error": True, "error": {"message": f"[API Error: {message}]"}}
    reading = _read(QwenReader(tmp_path), result)
    assert ([error.kind for error in reading.of(ErrorSeen)], reading.end.reason) == ([kind], EndReason.ERROR)


def test_qwen_s_usage_comes_from_its_stream_where_no_file_keeps_the_session(tmp_path: Path) -> None:
    reading = read(QwenReader(tmp_path), [stdout_of(FIXTURES / "qwen/ok")], 0)
    usage = reading.of(TurnEnded)[1].usage
    assert usage == TokenUsage(input=4942, output=78, cache_read=14823)


def test_pi_s_stated_cost_counts_only_where_every_price_was_known() -> None:
    stream = [stdout_of(FIXTURES / "pi/ok")]
    costs = [read(PiReader(prices), stream, 0).of(TurnEnded)[0].cost_usd_micros for prices in (PRICES, None)]
    assert costs == [1660, None]


def test_pi_names_the_model_that_answered_where_it_is_another_one() -> None:
    message = {"role": "assistant", "content": [], "usage": {}, "stopReason": "stop", "responseModel": "other"}
    assert _read(PiReader(None), {"type": "message_end", "message": message}).of(TurnEnded)[0].model == "other"


def test_pi_ends_when_no_attempt_is_left() -> None:
    failed = {"role": "assistant", "content": [], "stopReason": "error", "errorMessage": "Connection error."}
    records = ({"type": "message_end", "message": failed}, {"type": "agent_end"}, {"type": "agent_start"})
    reading = _read(PiReader(None), *records)
    assert ([error.kind for error in reading.of(ErrorSeen)], reading.end.reason) == (
        [ErrorKind.NETWORK],
        EndReason.NO_FINAL_EVENT,
    )
