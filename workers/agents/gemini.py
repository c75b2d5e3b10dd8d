"""Gemini CLI: prompt on standard input, JSON lines on standard output, and one session file per (sub-)agent.

Standard output tells usage only once, as the sum of the run. The usage of each step, also of sub-agents, is in the
session files; what the sum has beyond them (summaries, loop checks) is told at the end. Its input includes cached
tokens, its output excludes reasoning. It exits 0 after a TERM and after it stopped a loop of its own.
"""

import json
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
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.gemini_faults import error_of_result
from workers.agents.gemini_sessions import GeminiSessions
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, pick, storable, text
from workers.owned import put

# Configurations of its own requests: all others are made from the first. Each names a model of its own.
_REQUESTS = (
    "base",
    *(f"chat-compression-{kind}" for kind in ("default", "2.5-pro", "2.5-flash", "2.5-flash-lite")),
    *(f"chat-compression-{kind}" for kind in ("3-pro", "3-flash", "3.1-flash-lite")),
    "agent-history-provider-summarizer",
)
# Names of its errors, which end the run. Others are errors of the model's server.
_ENDS = {"FatalTurnLimitedError": EndReason.TURN_LIMIT, "FatalCancellationError": EndReason.INTERRUPTED}
# What it says when it stops a run that it then calls a success.
_HALTS = {
    "Loop detected, stopping execution": EndReason.ERROR,
    "Maximum session turns exceeded": EndReason.TURN_LIMIT,
}
_EXIT_CODES = {53: EndReason.TURN_LIMIT, 130: EndReason.INTERRUPTED}
_PIECES_KEPT = 1_000
_SHELL = "run_shell_command"


class Gemini:
    """The Gemini CLI adapter."""

    name = "gemini"
    protocols: tuple[str, ...] = ("gemini",)
    compacts = False  # only between prompts, of which a stage has one

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("gemini", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents @google/gemini-cli@0.61.0"

    def launch(self, context: StageContext) -> Launch:
        """Write its settings into the job's own HOME, and start it."""
        env = clean_env(context)
        program = require_program("gemini", env, self.install_hint())
        settings = _home(context) / "settings.json"
        put(settings, json.dumps(_settings(context)), beneath=context.home.parent)
        env |= {
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GOOGLE_GEMINI_BASE_URL": context.base_url,
            "GEMINI_API_KEY": context.api_key,
        }
        argv = [program, "--output-format", "stream-json", "--approval-mode", "yolo", "--skip-trust"]
        argv += ["--model", context.model.name]
        argv += ["--resume", context.session_id] if context.session_id else []
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree, stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "GeminiReader":
        """A fresh reader for one run."""
        return GeminiReader(_home(context))


def _home(context: StageContext) -> Path:
    return context.home / ".gemini"


def _settings(context: StageContext) -> dict[str, object]:
    model = context.model
    config = {"model": model.name, "generateContentConfig": {"maxOutputTokens": model.max_output}}
    return {
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "modelConfigs": {"customOverrides": [{"match": {"model": one}, "modelConfig": config} for one in _REQUESTS]},
    }


class GeminiReader(JsonLinesReader):
    """Reads standard output, and the session files below `home`."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._sessions = GeminiSessions(home)
        self._sum: TokenUsage | None = None
        self._errors: list[ErrorSeen] = []
        self._calls: dict[str, tuple[str, str]] = {}
        self._answer: list[str] = []
        self._text = ""
        self._halt: EndReason | None = None
        self._end: EndReason | None = None

    def poll(self) -> Sequence[Event]:
        """Events of the session files; after the end also the usage that they do not tell, and the errors last.

        An answer that is told after an error would say that the error was overcome.
        """
        events = [*super().poll(), *self._sessions.read()]
        if self._sum is not None:
            rest = _beyond(self._sum, self._sessions.told)
            # Not a turn of the main session: taken for one, it would look like a context filled several times over.
            events.extend([TurnEnded(usage=rest, reason="rest", subagent=True)] if rest.total else [])
            events.extend(self._errors)
            self._sum, self._errors = None, []
        return events

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as its `result` tells it, unless it said before that it stops."""
        self.cut_line()
        self.unparsed += self._sessions.unparsed
        end = self._end or self._halt or _EXIT_CODES.get(exit_code or 0)
        return agent_ended(end, exit_code, storable("".join(self._answer)) or self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "type")
        if kind != "message":
            yield from self._said()
        match kind:
            case "init":
                yield SessionStarted(session_id=text(record, "session_id"))
            case "message":
                self._hear(record)
            case "tool_use":
                call = (text(record, "tool_name") or "unknown", call_signature(pick(record, "parameters")))
                self._calls[text(record, "tool_id")] = call
            case "tool_result":
                yield self._called(record)
            case "error":
                self._warned(record)
            case "result":
                self._result(record)
            case _:
                self.unknown[kind] += 1

    def _hear(self, record: Mapping[str, object]) -> None:
        """An answer comes in pieces; it is whole when something else comes."""
        if text(record, "role") == "assistant":
            self._answer.append(text(record, "content"))
            if len(self._answer) >= _PIECES_KEPT:
                self._answer = [storable("".join(self._answer))]

    def _said(self) -> Iterator[Event]:
        if said := storable("".join(self._answer)):
            self._text, self._answer = said, []
            yield MessageSaid(text=said)

    def _called(self, record: Mapping[str, object]) -> ToolCalled:
        tool, signature = self._calls.pop(text(record, "tool_id"), ("unknown", ""))
        done = text(record, "status") == "success"
        # A command that failed counts as a success here; its exit code is not told.
        return ToolCalled(tool=tool, signature=signature, ok=None if done and tool == _SHELL else done)

    def _warned(self, record: Mapping[str, object]) -> None:
        message = text(record, "message")
        self._halt = _HALTS.get(message, self._halt)
        if self._halt is EndReason.ERROR:
            self._errors.append(ErrorSeen(kind=ErrorKind.AGENT, text=message))
        elif text(record, "severity") == "error":
            self._errors.append(ErrorSeen(kind=ErrorKind.UNKNOWN, text=message))

    def _result(self, record: Mapping[str, object]) -> None:
        self._sum = _sum_of(pick(record, "stats"))
        if text(record, "status") == "success":
            self._end = self._halt or EndReason.FINISHED
            return
        self._end = _ENDS.get(text(record, "error", "type"), EndReason.ERROR)
        if self._end is EndReason.ERROR and (error := error_of_result(pick(record, "error"))) is not None:
            self._errors.append(error)


def _sum_of(stats: object) -> TokenUsage:
    """The sum of the run. Reasoning is told only as what the total has beyond input and output."""
    total, prompt, output = (count(stats, name) for name in ("total_tokens", "input_tokens", "output_tokens"))
    known = None not in (total, prompt, output)
    return TokenUsage(
        input=count(stats, "input"),
        output=output,
        cache_read=count(stats, "cached"),
        reasoning=max(0, (total or 0) - (prompt or 0) - (output or 0)) if known else None,
    )


def _beyond(whole: TokenUsage, part: TokenUsage) -> TokenUsage:
    def rest(all_tokens: int | None, told: int | None) -> int | None:
        return None if all_tokens is None else max(0, all_tokens - (told or 0))

    return TokenUsage(
        input=rest(whole.input, part.input),
        output=rest(whole.output, part.output),
        cache_read=rest(whole.cache_read, part.cache_read),
        reasoning=rest(whole.reasoning, part.reasoning),
    )
