"""Agents that tell their usage by a file: every entry is told once, while the file grows and across stages."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.domain.events import (
    Compacted,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    OutputSeen,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.usage import TokenUsage
from tests.contract.agent_cases import FIXTURES
from tests.contract.agents_support import stage
from tests.support.waiting import PLENTY_SECONDS
from workers.agents.aider import Aider
from workers.agents.base import StreamReader
from workers.agents.codex import Codex, CodexReader
from workers.agents.mini import Mini, MiniReader, trajectory_file
from workers.agents.openhands import Openhands
from workers.agents.vibe import Vibe

T = TypeVar("T", bound=Event)
MAIN, CHILD = "01a1f9ef-235c-7632-ac12-2021c0f22971", "01a1f9ef-ffff-7632-ac12-2021c0f22971"


def _of(events: Sequence[Event], kind: type[T]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def test_mini_s_messages_are_told_once_while_the_file_is_rewritten(tmp_path: Path) -> None:
    context = stage(tmp_path)
    file = trajectory_file(context)
    trajectory = json.loads((FIXTURES / "mini/ok/traj.json").read_text("utf-8"))
    whole = MiniReader(FIXTURES / "mini/ok/traj.json")
    expected = [event for event in whole.poll() if not isinstance(event, OutputSeen)]
    reader = MiniReader(file)
    events: list[Event] = []
    assert reader.poll() == ()
    for size in range(1, len(trajectory["messages"]) + 1):
        text = json.dumps({**trajectory, "messages": trajectory["messages"][:size]}, indent=1)
        for state in (text[: len(text) // 2], text, text):
            file.write_text(state, "utf-8")
            events += reader.poll()
            events += reader.poll()
    assert [event for event in events if not isinstance(event, OutputSeen)] == expected
    assert (reader.finish(0, "").reason, reader.unparsed) == (EndReason.FINISHED, 0)


def test_mini_s_half_written_last_file_counts_as_unparsed(tmp_path: Path) -> None:
    file = trajectory_file(stage(tmp_path))
    file.write_text('{"messages": [', "utf-8")
    reader = MiniReader(file)
    assert reader.poll() == ()
    assert (reader.finish(-9, "").reason, reader.unparsed) == (EndReason.NO_FINAL_EVENT, 1)


def test_mini_s_answers_in_a_wrong_format_are_paid_turns() -> None:
    events = MiniReader(FIXTURES / "mini/llama-server-real/traj.json").poll()
    assert len(_of(events, TurnEnded)) == 3
    assert [error.kind for error in _of(events, ErrorSeen)] == [ErrorKind.AGENT]


def test_mini_says_nothing_of_whether_its_submission_worked() -> None:
    calls = _of(MiniReader(FIXTURES / "mini/ok/traj.json").poll(), ToolCalled)
    assert [call.ok for call in calls] == [True, True, True, None]


def _usage(thread: str, response: str, prompt: int, cached: int, output: int) -> str:
    usage = {"input_tokens": prompt, "cached_input_tokens": cached, "output_tokens": output}
    payload = {"thread_id": thread, "response_id": response, "usage": usage}
    return json.dumps({"timestamp": "2026-11-20T17:09:21Z", "type": "token_usage_record", "payload": payload}) + "\n"


def _rollout(home: Path, thread: str) -> Path:
    folder = home / "sessions/2026/11/20"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"rollout-2026-11-20T17-09-21-{thread}.jsonl"


def _start(reader: CodexReader) -> None:
    (said, session) = reader.feed(json.dumps({"type": "thread.started", "thread_id": MAIN}).encode() + b"\n")
    assert (type(said), session) == (OutputSeen, SessionStarted(session_id=MAIN))


def test_codex_s_steps_are_told_as_they_are_written_and_sub_agents_as_such(tmp_path: Path) -> None:
    main, child = _rollout(tmp_path, MAIN), _rollout(tmp_path, CHILD)
    reader = CodexReader(tmp_path)
    line = _usage(MAIN, "r1", 100, 60, 10)
    main.write_text(line[:50])
    assert _of(reader.poll(), TurnEnded) == []  # which thread is ours is not known yet
    _start(reader)
    assert _of(reader.poll(), TurnEnded) == []
    main.write_text(line)
    child.write_text(line + _usage(CHILD, "r2", 7, 0, 3) + '{"type":"compacted","payload":{}}\n')
    events = reader.poll()
    assert [(turn.usage.input, turn.usage.cache_read, turn.subagent) for turn in _of(events, TurnEnded)] == [
        (40, 60, False),
        (7, 0, True),
    ]
    assert len(_of(events, Compacted)) == 1
    assert [event for event in reader.poll() if isinstance(event, TurnEnded)] == []


def test_codex_s_resumed_thread_tells_only_what_is_new(tmp_path: Path) -> None:
    file = _rollout(tmp_path, MAIN)
    file.write_text(_usage(MAIN, "r1", 100, 60, 10))
    reader = CodexReader(tmp_path, resumed=True)
    _start(reader)
    with file.open("a") as rollout:
        rollout.write(_usage(MAIN, "r2", 5, 0, 1))
    total = b'{"type":"turn.completed","usage":{"input_tokens":105,"cached_input_tokens":60,"output_tokens":11}}\n'
    events = [*reader.feed(total), *reader.poll(), *reader.poll()]
    assert [turn.usage.input for turn in _of(events, TurnEnded)] == [5]


def test_codex_s_sum_stands_in_when_there_is_no_rollout_and_is_unknown_for_a_resumed_thread(tmp_path: Path) -> None:
    total = b'{"type":"turn.completed","usage":{"input_tokens":105,"cached_input_tokens":60,"output_tokens":11}}\n'
    for resumed, usage in ((False, TokenUsage(input=45, cache_read=60, output=11)), (True, TokenUsage())):
        reader = CodexReader(tmp_path, resumed=resumed)
        _start(reader)
        events = [*reader.feed(total), *reader.poll(), *reader.poll()]
        assert _of(events, TurnEnded) == [TurnEnded(usage=usage, reason="sum", subagent=True)]


def test_codex_s_usage_limit_has_its_reset(tmp_path: Path) -> None:
    reader = CodexReader(tmp_path)
    stdout = (FIXTURES / "codex/usage/stdout").read_bytes()
    thread = json.loads(stdout.split(b"\n", 1)[0])["thread_id"]
    _rollout(tmp_path, thread).write_bytes((FIXTURES / "codex/usage/rollout.jsonl").read_bytes())
    errors = _of([*reader.feed(stdout), *reader.poll()], ErrorSeen)
    assert {error.kind for error in errors} == {ErrorKind.USAGE_LIMIT}
    assert errors[-1].resets_at_epoch == 1_795_202_150
    assert 7_199 < (errors[-1].retry_after_seconds or 0) < 7_200


@pytest.mark.parametrize("trap", ["pipe", "device", "nowhere", "folder", "hole"])
def test_no_file_of_an_agent_makes_the_worker_wait_or_read_for_ever(tmp_path: Path, trap: str) -> None:
    context = stage(tmp_path)
    conversation = context.home / ".openhands/conversations" / ("a" * 32)
    journal, rollout = context.home / ".vibe/logs/session/unified/s/journal", _rollout(context.home / ".codex", MAIN)
    for folder in (conversation, journal, context.logs / f"{context.stage}.vibe"):
        folder.mkdir(parents=True)
    files = [
        *(conversation / "base_state.json", journal / "1.jsonl", rollout, trajectory_file(context)),
        *(context.logs / f"{context.stage}.vibe" / "export.json", context.logs / f"{context.stage}.aider.jsonl"),
    ]
    for late in (False, True):
        looks = [] if late else [reader(context) for reader in _READERS]
        for file in files:
            _trap(file, trap)
        looks = looks or [reader(context) for reader in _READERS]
        done = threading.Event()

        def look(looks: Sequence[StreamReader] = looks, done: threading.Event = done) -> None:
            for reader in looks:
                reader.poll()
                reader.finish(0, "")
            done.set()

        threading.Thread(target=look, daemon=True).start()
        assert done.wait(PLENTY_SECONDS)


_READERS = (Openhands().reader, Vibe().reader, Codex().reader, Mini().reader, Aider().reader)


def _trap(file: Path, kind: str) -> None:
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "nowhere":
            file.symlink_to(file.parent / "nowhere")
        case "folder":
            file.mkdir()
        case "hole":
            with file.open("wb") as hole:
                hole.truncate(1 << 40)
