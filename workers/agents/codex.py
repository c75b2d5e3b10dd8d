"""Codex CLI: prompt on standard input, JSON lines on standard output, and one rollout file per thread.

Standard output tells usage only once, at the end, and for a resumed thread it tells the sum of all its runs. The
usage of each step, of sub-agents, and the reset times of the limits are in the rollout files under CODEX_HOME.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.events import (
    SUM,
    AgentEnded,
    Compacted,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    MessageSaid,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.provider_errors import kind_of_status
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.codex_rollout import Rollouts, usage_of
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, pick, text

# Codex puts the status into the text of its own error events, in these two wordings.
_STATUS = re.compile(r"(?:unexpected|last) status:? (\d{3})\b")
_WORDINGS = (
    ("You’ve hit your usage limit", ErrorKind.USAGE_LIMIT),
    ("You've hit your usage limit", ErrorKind.USAGE_LIMIT),
    ("Codex ran out of room in the model's context window", ErrorKind.CONTEXT_OVERFLOW),
    ("Quota exceeded", ErrorKind.QUOTA_EXHAUSTED),
    ("We’re currently experiencing high demand", ErrorKind.SERVER),
    ("We're currently experiencing high demand", ErrorKind.SERVER),
    ("stream disconnected before completion", ErrorKind.NETWORK),
    ("stream closed before", ErrorKind.NETWORK),
    ("error sending request", ErrorKind.NETWORK),
)
_RECONNECTING = re.compile(r"Reconnecting\.\.\. \d+/\d+ \((.*)\)", re.DOTALL)
_CALLS = {"command_execution": "shell", "file_change": "edit", "mcp_tool_call": "mcp", "web_search": "web_search"}
_SILENT = frozenset({"item.started", "item.updated", "turn.started"})


class Codex:
    """The Codex CLI adapter."""

    name = "codex"
    protocols: tuple[str, ...] = ("responses",)
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("codex", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents @openai/codex@0.169.0 (with node 22)"

    def launch(self, context: StageContext) -> Launch:
        """Write `config.toml` into the job's CODEX_HOME; `-` reads the prompt from standard input."""
        env = clean_env(context)
        program = require_program("codex", env, self.install_hint())
        home = codex_home(context)
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(_config(context), encoding="utf-8")
        env |= {"CODEX_HOME": str(home), "BAKEOFF_AGENT_KEY": context.api_key}
        resume = ("resume", "--json", "--skip-git-repo-check", context.session_id) if context.session_id else None
        argv = (program, "exec", *(resume or ("--json", "--skip-git-repo-check")), "-")
        return Launch(argv=argv, env=env, cwd=context.worktree, stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "CodexReader":
        """A fresh reader for one run."""
        return CodexReader(codex_home(context), resumed=context.session_id is not None)


def codex_home(context: StageContext) -> Path:
    """The job's own CODEX_HOME."""
    return context.home / ".codex"


def _config(context: StageContext) -> str:
    model = context.model
    # JSON texts without escapes of their own for non-ASCII are TOML basic strings.
    name, url = (json.dumps(value, ensure_ascii=False) for value in (model.name, f"{context.base_url}/v1"))
    return f"""model = {name}
model_provider = "bakeoff"
model_context_window = {model.context_window}
model_auto_compact_token_limit = {int(model.context_window * context.compact_percent / 100)}
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.bakeoff]
name = "Bakeoff"
base_url = {url}
env_key = "BAKEOFF_AGENT_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2
stream_idle_timeout_ms = 300000
supports_websockets = false
"""


class CodexReader(JsonLinesReader):
    """Reads standard output, and the rollout files below `home`."""

    def __init__(self, home: Path, *, resumed: bool = False) -> None:
        super().__init__()
        self._rollouts = Rollouts(home / "sessions")
        self._resumed = resumed
        self._thread: str | None = None
        self._sum: TokenUsage | None = None
        self._text = ""
        self._end: EndReason | None = None
        self._last_error = ""

    def poll(self) -> Sequence[Event]:
        """Events of the rollout files; without one, the sum that standard output told at the end."""
        events = [*super().poll()]
        if self._thread is None:
            return events
        events.extend(self._rollouts.read(self._thread))
        if self._sum is not None and not self._rollouts.found:
            # The sum of a resumed thread holds earlier runs too: nobody knows this run's part. A sum is no turn of
            # the main session either: taken for one, it would look like a context filled several times over.
            usage = TokenUsage() if self._resumed else self._sum
            events.append(TurnEnded(usage=usage, reason=SUM, subagent=True))
            self._sum = None
        return events

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as `turn.completed` or `turn.failed` tells it."""
        self.cut_line()
        self.unparsed += self._rollouts.unparsed
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "type")
        match kind:
            case "thread.started":
                return self._started(text(record, "thread_id"))
            case "item.completed":
                return self._item(pick(record, "item"))
            case "turn.completed":
                self._end = EndReason.FINISHED
                self._sum = usage_of(pick(record, "usage"))
            case "turn.failed":
                self._end = EndReason.ERROR
                return self._error(text(record, "error", "message"))
            case "error":
                return self._error(text(record, "message"))
            case _ if kind not in _SILENT:
                self.unknown[kind] += 1
        return ()

    def _started(self, thread: str) -> Sequence[Event]:
        if not thread or self._thread is not None:
            return ()
        self._thread = thread
        return (SessionStarted(session_id=thread),)

    def _item(self, item: object) -> Iterator[Event]:
        kind = text(item, "type")
        if kind == "agent_message":
            self._text = text(item, "text")
            yield MessageSaid(text=self._text)
        elif kind in _CALLS:
            yield _call(kind, item)
        elif kind == "context_compaction":
            yield Compacted()
        # An item of type error is a warning (such as: unknown model); the turn goes on.
        elif kind not in {"error", "reasoning", "todo_list"}:
            self.unknown[f"item:{kind}"] += 1

    def _error(self, message: str) -> Sequence[Event]:
        """The error, once: `turn.failed` repeats the last `error`."""
        if found := _RECONNECTING.fullmatch(message):
            message = found[1]
        elif message == self._last_error:
            return ()
        else:
            self._last_error = message
        return (_error_of(message),)


def _error_of(message: str) -> ErrorSeen:
    if found := _STATUS.search(message):
        status = int(found[1])
        return ErrorSeen(kind=kind_of_status(status), text=message, status=status)
    kind = next((kind for words, kind in _WORDINGS if message.startswith(words)), ErrorKind.UNKNOWN)
    return ErrorSeen(kind=kind, text=message)


def _call(kind: str, item: object) -> ToolCalled:
    arguments = {
        "command_execution": pick(item, "command"),
        "file_change": pick(item, "changes"),
        "mcp_tool_call": [pick(item, "server"), pick(item, "tool"), pick(item, "arguments")],
        "web_search": pick(item, "query"),
    }[kind]
    failed = text(item, "status") in {"failed", "declined"}
    return ToolCalled(tool=_CALLS[kind], signature=call_signature(arguments), ok=not failed)
