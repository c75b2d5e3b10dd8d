"""Qwen Code: prompt on standard input, JSON lines on standard output, and one session file.

Standard output tells usage per step without reasoning, and no refusal that it overcame. Both are in the session file,
with the requests that are no part of the conversation. Its input includes cached tokens, its output reasoning. The
program starts itself again as a child, which outlives its parent: only ending the whole tree ends it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.events import (
    AgentEnded,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    MessageSaid,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.faults import kind_of_client_error
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.qwen_sessions import QwenSessions
from workers.agents.reading import call_signature, count, inclusive_usage, pick, text
from workers.owned import put

# What it says in the place of an answer that it did not get.
_WRAPPED = re.compile(r"\[API Error: (?P<message>(?:(?P<status>\d{3}) )?.*)\]", re.DOTALL)
# It does not even ask when its own summary left too much.
_OVERFULL = "Context is too large to send safely"
# It compacts no later than where this much of the window is left, whatever share it is told.
_KEPT_FREE_TOKENS = 33_000
# It ends so at limits of its own, and after Ctrl+C; it tells those ends by nothing else.
_EXIT_CODES = {53: EndReason.TURN_LIMIT, 55: EndReason.TURN_LIMIT, 130: EndReason.INTERRUPTED}


class Qwen:
    """The Qwen Code adapter."""

    name = "qwen"
    protocols: tuple[str, ...] = ("chat",)
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("qwen", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents @qwen-code/qwen-code@0.24.4 (with node 22)"

    def launch(self, context: StageContext) -> Launch:
        """Write its settings where they win over a file of the repository, and start it."""
        env = clean_env(context)
        program = require_program("qwen", env, self.install_hint())
        settings = _home(context) / "bakeoff.json"
        put(settings, json.dumps(_settings(context)), beneath=context.home.parent)
        env |= {
            "QWEN_CODE_SYSTEM_SETTINGS_PATH": str(settings),
            "OPENAI_BASE_URL": f"{context.base_url}/v1",
            "OPENAI_API_KEY": context.api_key,
            "QWEN_CODE_MAX_OUTPUT_TOKENS": str(context.model.max_output),
            "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
        }
        argv = [program, "--output-format", "stream-json", "--approval-mode", "yolo", "--auth-type", "openai"]
        argv += ["--model", context.model.name]
        argv += ["--resume", context.session_id] if context.session_id else []
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree, stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "QwenReader":
        """A fresh reader for one run."""
        return QwenReader(_home(context))


def _home(context: StageContext) -> Path:
    return context.home / ".qwen"


def _settings(context: StageContext) -> dict[str, object]:
    limit = context.model.context_window * context.compact_percent / 100
    window = max(context.model.context_window, round(limit) + _KEPT_FREE_TOKENS)
    return {
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "security": {"auth": {"selectedType": "openai"}},
        "disableAllHooks": True,
        # A smaller window than what it keeps free and its own prompt would be no use: it is told one that has room.
        "model": {"generationConfig": {"contextWindowSize": window}},
        "context": {"autoCompactThreshold": limit / window},
        # What it would learn for its next sessions is asked for by requests of its own, and no other job sees it.
        "memory": {"enableManagedAutoMemory": False, "enableManagedAutoDream": False, "enableAutoSkill": False},
    }


class QwenReader(JsonLinesReader):
    """Reads standard output, and the session files below `home`."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._sessions = QwenSessions(home)
        self._session = ""
        self._kept: bool | None = None  # whether the session is in a file, known from the first answer on
        self._error: ErrorSeen | None = None
        self._calls: dict[str, tuple[str, str]] = {}
        self._text = ""
        self._end: EndReason | None = None

    def poll(self) -> Sequence[Event]:
        """Events of the session file, and the error of the end unless that file told it."""
        events = [*super().poll(), *self._sessions.read()]
        if self._error is not None:
            events.extend([] if self._error.text in self._sessions.errors else [self._error])
            self._error = None
        return events

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as its `result` tells it, or as its exit code does where it tells none."""
        self.cut_line()
        self.unparsed += self._sessions.unparsed
        return agent_ended(self._end or _EXIT_CODES.get(exit_code or 0), exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "type")
        match kind:
            case "system":
                yield from self._started(record)
            case "assistant":
                yield from self._answer(record)
            case "user":
                yield from self._called(pick(record, "message", "content"))
            case "result":
                self._result(record)
            case _ if kind != "stream_event":
                self.unknown[kind] += 1

    def _started(self, record: Mapping[str, object]) -> Iterator[Event]:
        if text(record, "subtype") == "init" and not self._session:
            self._session = text(record, "session_id")
            yield SessionStarted(session_id=self._session)

    def _answer(self, record: Mapping[str, object]) -> Iterator[Event]:
        subagent = bool(text(record, "parent_tool_use_id"))
        blocks = pick(record, "message", "content")
        for block in blocks if isinstance(blocks, list) else ():
            said = text(block, "text")
            if text(block, "type") == "tool_use":
                call = (text(block, "name") or "unknown", call_signature(pick(block, "input")))
                self._calls[text(block, "id")] = call
            elif said and not subagent and not _WRAPPED.fullmatch(said):
                self._text = said
                yield MessageSaid(text=said)
        yield from self._step(pick(record, "message", "usage"), subagent=subagent)

    def _step(self, usage: object, *, subagent: bool) -> Iterator[Event]:
        """The step's usage, which stands at its last piece, where no file tells it better."""
        if not count(usage, "total_tokens"):
            return
        if self._kept is None:
            self._kept = self._sessions.has(self._session)
        if not self._kept:
            told = inclusive_usage(
                prompt=count(usage, "input_tokens"),
                output=count(usage, "output_tokens"),
                cache_read=count(usage, "cache_read_input_tokens"),
                cache_write=None,
                reasoning=None,
            )
            yield TurnEnded(usage=told, subagent=subagent)

    def _called(self, blocks: object) -> Iterator[Event]:
        for block in blocks if isinstance(blocks, list) else ():
            if text(block, "type") == "tool_result":
                tool, signature = self._calls.pop(text(block, "tool_use_id"), ("unknown", ""))
                yield ToolCalled(tool=tool, signature=signature, ok=pick(block, "is_error") is False)

    def _result(self, record: Mapping[str, object]) -> None:
        if pick(record, "is_error") is False:
            self._end = EndReason.FINISHED
            return
        self._end = EndReason.ERROR
        message = text(record, "error", "message")
        found = _WRAPPED.fullmatch(message)
        if found is None:
            self._error = ErrorSeen(kind=ErrorKind.AGENT, text=message)
        else:
            status = int(found["status"]) if found["status"] else None
            self._error = ErrorSeen(kind=_kind(status, found["message"]), text=found["message"], status=status)


def _kind(status: int | None, message: str) -> ErrorKind:
    if message.startswith(_OVERFULL):
        return ErrorKind.CONTEXT_OVERFLOW
    return kind_of_client_error(status, message)
