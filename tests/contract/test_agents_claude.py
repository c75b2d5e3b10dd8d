"""Claude Code: what it is started with, and what of its stream no recording shows."""

import json
from pathlib import Path

import pytest

from orchestrator.domain.events import (
    EndReason,
    ErrorKind,
    ErrorSeen,
    MessageSaid,
    OutputSeen,
    QuotaSeen,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.usage import TokenUsage
from tests.contract.agent_cases import FIXTURES, stdout_of
from tests.contract.agents_support import Reading, model, read, stage
from workers.agents.claude import ClaudeReader
from workers.agents.registry import adapter

NOW = 1_795_194_000.0
USAGE = {"input_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}


def _read(*records: dict[str, object]) -> Reading:
    reader = ClaudeReader(lambda: NOW)
    return read(reader, ["".join(json.dumps(record) + "\n" for record in records).encode()], 0)


def _message(identity: str, *blocks: dict[str, object], parent: str | None = None) -> dict[str, object]:
    message = {"id": identity, "model": "claude-x-20260101", "content": list(blocks), "usage": USAGE}
    return {"type": "assistant", "message": message, "parent_tool_use_id": parent}


def _use(**kinds: object) -> dict[str, object]:
    return {"costBasis": "list", "costUSD": 0.5, "thinkingTokens": 0, **kinds}


def _result(**fields: object) -> dict[str, object]:
    return {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed", **fields}


def test_what_it_is_started_with(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    spec = model(protocol="messages")
    launch = adapter("claude").launch(stage(tmp_path, spec=spec, host_env={"PATH": str(tmp_path)}))
    settings = json.loads(Path(launch.argv[launch.argv.index("--settings") + 1]).read_text("utf-8"))
    assert (settings["disableAllHooks"], settings["env"].items() <= launch.env.items()) == (True, True)
    assert {value for name, value in launch.env.items() if "MODEL" in name} == {"scripted-model"}
    assert (launch.env["ANTHROPIC_BASE_URL"], launch.env["ANTHROPIC_API_KEY"]) == (
        "http://127.0.0.1:1/a/b",
        "gateway-token",
    )
    assert launch.env["CLAUDE_CONFIG_DIR"] == str(tmp_path / "home/.claude")
    assert (launch.env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"], launch.env["CLAUDE_AUTOCOMPACT_PCT_OVERRIDE"]) == (
        "32768",
        "85",
    )


def test_a_user_s_number_of_retries_counts(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    extra = {"CLAUDE_CODE_MAX_RETRIES": "1", "ANTHROPIC_BASE_URL": "http://elsewhere"}
    context = stage(tmp_path, host_env={"PATH": str(tmp_path)}, extra_env=extra)
    env = adapter("claude").launch(context).env
    assert (env["CLAUDE_CODE_MAX_RETRIES"], env["ANTHROPIC_BASE_URL"]) == ("1", "http://127.0.0.1:1/a/b")


def test_usage_counts_once_for_each_message_and_the_rest_comes_with_the_result() -> None:
    models = {
        "claude-x": _use(inputTokens=10, outputTokens=50, cacheReadInputTokens=150, cacheCreationInputTokens=20)
    }
    reading = _read(
        _message("m1", {"type": "text", "text": "Looking."}),
        _message("m1", {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}),
        _result(result="Done.", model_usage_since_last_result=models),
    )
    turn, rest = reading.of(TurnEnded)
    assert turn == TurnEnded(usage=TokenUsage(input=7, cache_read=100, cache_write=20), model="claude-x-20260101")
    assert rest == TurnEnded(
        usage=TokenUsage(input=3, output=50, cache_read=50, cache_write=0),
        cost_usd_micros=500_000,
        reason="sum",
        subagent=True,
    )
    assert (reading.end.reason, reading.end.final_text) == (EndReason.FINISHED, "Done.")


def test_thinking_is_taken_out_of_output() -> None:
    (rest,) = _read(_result(model_usage_since_last_result={"x": _use(outputTokens=50, thinkingTokens=20)})).of(
        TurnEnded
    )
    assert (rest.usage.output, rest.usage.reasoning, rest.usage.input) == (30, 20, None)


@pytest.mark.parametrize("basis", ["unknown", None])
def test_a_cost_counts_only_where_every_price_was_known(basis: str | None) -> None:
    models = {"claude-x": _use(outputTokens=1), "ours": _use(outputTokens=1, costBasis=basis)}
    (rest,) = _read(_result(model_usage_since_last_result=models)).of(TurnEnded)
    assert rest.cost_usd_micros is None


def test_a_sub_agent_s_messages_are_counted_and_are_no_turns_of_the_session() -> None:
    call: dict[str, object] = {"type": "tool_use", "id": "t2", "name": "Grep", "input": {"pattern": "x"}}
    answer = {"type": "tool_result", "tool_use_id": "t2", "is_error": True}
    reading = _read(
        _message("m1", {"type": "text", "text": "Asking."}),
        _message("m2", {"type": "text", "text": "I am another."}, call, parent="t1"),
        {"type": "user", "message": {"content": [answer]}, "parent_tool_use_id": "t1"},
    )
    assert [turn.subagent for turn in reading.of(TurnEnded)] == [False, True]
    assert [said.text for said in reading.of(MessageSaid)] == ["Asking."]
    assert reading.of(ToolCalled) == [ToolCalled(tool="Grep", signature='{"pattern": "x"}', ok=False)]


def test_its_own_words_in_a_message_s_shape_are_no_turn_and_no_answer() -> None:
    synthetic = _message("m1", {"type": "text", "text": "API Error"})
    synthetic["message"] = {**USAGE, "model": "<synthetic>", "content": [{"type": "text", "text": "API Error"}]}
    reading = _read(synthetic, _result(is_error=True, result="API Error", terminal_reason="api_error"))
    assert (reading.of(TurnEnded), reading.of(MessageSaid), reading.end.final_text) == ([], [], "")
    assert reading.of(ErrorSeen) == [ErrorSeen(kind=ErrorKind.NETWORK, text="API Error")]


@pytest.mark.parametrize(
    ("fields", "reason", "kind"),
    [
        ({"subtype": "error_max_turns"}, EndReason.TURN_LIMIT, None),
        ({"subtype": "error_during_execution", "terminal_reason": "aborted_tools"}, EndReason.INTERRUPTED, None),
        ({"subtype": "error_during_execution", "errors": ["broke"]}, EndReason.ERROR, ErrorKind.AGENT),
        (
            {"terminal_reason": "prompt_too_long", "api_error_status": 400},
            EndReason.ERROR,
            ErrorKind.CONTEXT_OVERFLOW,
        ),
        ({"terminal_reason": "api_error", "api_error_status": 529}, EndReason.ERROR, ErrorKind.OVERLOADED),
        ({"api_error_status": 400, "api_error_type": "billing_error"}, EndReason.ERROR, ErrorKind.QUOTA_EXHAUSTED),
        ({"api_error_status": 404}, EndReason.ERROR, ErrorKind.BAD_REQUEST),
        ({"is_error": None}, EndReason.ERROR, ErrorKind.AGENT),
    ],
)
def test_ends(fields: dict[str, object], reason: EndReason, kind: ErrorKind | None) -> None:
    reading = _read(_result(**{"is_error": True, **fields}))
    assert (reading.end.reason, [error.kind for error in reading.of(ErrorSeen)]) == (reason, [kind] if kind else [])


def test_a_message_after_a_result_takes_the_end_back() -> None:
    assert _read(_result(), _message("m1")).end.reason is EndReason.NO_FINAL_EVENT


def test_a_refusing_window_gives_the_limit_its_reset() -> None:
    window = {"utilization": 1, "resetsAt": NOW + 600, "status": "rejected"}
    info = {"status": "rejected", "resetsAt": NOW + 600, "unifiedWindows": {"five_hour": window}}
    reading = _read(
        {"type": "rate_limit_event", "rate_limit_info": info},
        _result(is_error=True, api_error_status=429, api_error="usage_limit_reached", result="Limit."),
    )
    (seen,) = reading.of(QuotaSeen)
    assert (seen.window, seen.used_ppm, seen.resets_at_epoch) == ("5h", 1_000_000, NOW + 600)
    assert reading.of(ErrorSeen) == [
        ErrorSeen(
            kind=ErrorKind.USAGE_LIMIT,
            text="Limit.",
            status=429,
            retry_after_seconds=600.0,
            resets_at_epoch=NOW + 600,
        )
    ]


def test_the_windows_of_a_subscription_are_told_as_they_stand() -> None:
    reader = ClaudeReader(lambda: NOW)
    events = [event for event in reader.feed(stdout_of(FIXTURES / "claude/limits")) if isinstance(event, QuotaSeen)]
    assert [(seen.window, seen.used_ppm) for seen in events] == [("5h", 920_000), ("7d", 410_000)]


def test_an_unknown_type_is_counted_and_nothing_else() -> None:
    reader = ClaudeReader(lambda: NOW)
    (said,) = reader.feed(b'{"type":"brand_new"}\n')
    assert (type(said), dict(reader.unknown), reader.unparsed) == (OutputSeen, {"brand_new": 1}, 0)


def test_a_recorded_sub_agent_is_in_the_sums_and_no_turn() -> None:
    reading = read(ClaudeReader(), [stdout_of(FIXTURES / "claude/subagent")], 0)
    turns = reading.of(TurnEnded)
    assert [(turn.subagent, turn.reason) for turn in turns] == [
        (False, None),
        (True, None),
        (False, None),
        (True, "sum"),
    ]
    # Its last message, which the stream leaves out, and the output of all.
    rest = turns[-1].usage
    assert (rest.input, rest.cache_read, rest.output) == (3_228, 9_684, 93)
    assert [call.tool for call in reading.of(ToolCalled)] == ["Bash", "Agent"]
