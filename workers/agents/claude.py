"""Claude Code: prompt on standard input, one JSON object per line on standard output.

It repeats a message's usage with every block of its content, and the output tokens in it are those of the moment at
which the message began. What the run has really used, compaction and sub-agents included, its result alone tells.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from orchestrator.clock import utc_now
from orchestrator.domain.events import (
    AgentEnded,
    Compacted,
    EndReason,
    ErrorSeen,
    Event,
    MessageSaid,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.claude_result import (
    end_reason,
    error_of_result,
    error_of_retry,
    limit_with_reset,
    rest_of_run,
)
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, pick, text
from workers.moments import iso_date
from workers.owned import put
from workers.quota_signals import from_claude

_SWITCHES = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_INSTALLATION_CHECKS": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_DISABLE_FILE_CHECKPOINTING": "1",  # the worker commits
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",  # notes of one stage would be read by the next, and cost requests
    # Permissions are skipped, which it refuses to root unless it is told that nothing is at stake.
    "IS_SANDBOX": "1",
}
# Its ten retries of a refused key or a broken server take three minutes; these take half a one.
_RETRIES = {"CLAUDE_CODE_MAX_RETRIES": "6"}
# Every choice of a model that it could make by itself, such as a cheap one for titles and sub-agents.
_MODELS = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
)
_NO_MODEL = "<synthetic>"  # its own words, in the shape of a model's message


class Claude:
    """The Claude Code adapter."""

    name = "claude"
    protocols: tuple[str, ...] = ("messages",)
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("claude", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents @anthropic-ai/claude-code@2.1.329 (with node 22)"

    def launch(self, context: StageContext) -> Launch:
        """The command line; what a repository's own settings could overrule goes in by settings that win."""
        env = clean_env(context)
        program = require_program("claude", env, self.install_hint())
        own = _environment(context)
        settings = {"env": own, "disableAllHooks": True, "includeCoAuthoredBy": False}
        file = context.logs / f"{context.stage}.claude.json"
        put(file, json.dumps(settings))
        argv = [program, "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
        argv += ["--strict-mcp-config", "--settings", str(file), "--model", context.model.name]
        argv += ["--resume", context.session_id] if context.session_id else []
        return Launch(
            argv=tuple(argv), env=_RETRIES | env | own, cwd=context.worktree, stdin_file=context.prompt_file
        )

    def reader(self, context: StageContext) -> "ClaudeReader":
        """A fresh reader for one run."""
        return ClaudeReader()


def _environment(context: StageContext) -> dict[str, str]:
    model = context.model
    return {
        **_SWITCHES,
        **dict.fromkeys(_MODELS, model.name),
        "ANTHROPIC_BASE_URL": context.base_url,
        "ANTHROPIC_API_KEY": context.api_key,
        "CLAUDE_CONFIG_DIR": str(context.home / ".claude"),
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(model.context_window),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(model.context_window),
        "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": f"{context.compact_percent:g}",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(model.max_output),
    }


class ClaudeReader(JsonLinesReader):
    """Reads the `stream-json` stream. `clock` tells seconds since 1970 until a line has told the time."""

    def __init__(self, clock: Callable[[], float] = lambda: utc_now().timestamp()) -> None:
        super().__init__()
        self._clock = clock
        self._now: float | None = None
        self._session: str | None = None
        self._messages: set[str] = set()
        self._calls: dict[str, tuple[str, str]] = {}
        self._told = TokenUsage()  # since the last result
        self._reset: float | None = None  # of the window that refused, in seconds since 1970
        self._text = ""
        self._end: EndReason | None = None

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the last result tells it: exit code 0 after an interruption is no success."""
        self.cut_line()
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        if stamp := text(record, "timestamp"):
            self._now = iso_date(stamp) or self._now
        kind = text(record, "type")
        match kind:
            case "system":
                return self._system(record)
            case "assistant":
                return self._assistant(record)
            case "user":
                return self._results(record)
            case "rate_limit_event":
                return self._limits(record)
            case "result":
                return self._result(record)
            case "stream_event":  # parts of the messages that follow whole
                return ()
        self.unknown[kind] += 1
        return ()

    def _system(self, record: Mapping[str, object]) -> Iterator[Event]:
        session = text(record, "session_id")
        match text(record, "subtype"):
            case "init" if session and self._session is None:
                self._session = session
                yield SessionStarted(session_id=session)
            case "compact_boundary":
                yield Compacted()
            case "api_retry":
                yield error_of_retry(record)

    def _assistant(self, record: Mapping[str, object]) -> Iterator[Event]:
        message, subagent = pick(record, "message"), bool(text(record, "parent_tool_use_id"))
        model, identity = text(message, "model"), text(message, "id")
        if model == _NO_MODEL:
            return
        self._end = None
        if identity not in self._messages:
            self._messages.add(identity)
            yield self._turn(message, model, subagent=subagent)
        blocks = pick(message, "content")
        for block in blocks if isinstance(blocks, list) else ():
            said = text(block, "text")
            if text(block, "type") == "tool_use":
                self._calls[text(block, "id")] = text(block, "name"), call_signature(pick(block, "input"))
            elif said and not subagent:
                self._text = said
                yield MessageSaid(text=said)

    def _turn(self, message: object, model: str, *, subagent: bool) -> TurnEnded:
        usage = TokenUsage(
            input=count(message, "usage", "input_tokens"),
            cache_read=count(message, "usage", "cache_read_input_tokens"),
            cache_write=count(message, "usage", "cache_creation_input_tokens"),
        )
        self._told += usage
        return TurnEnded(usage=usage, model=model or None, subagent=subagent)

    def _results(self, record: Mapping[str, object]) -> Iterator[Event]:
        blocks = pick(record, "message", "content")
        for block in blocks if isinstance(blocks, list) else ():
            if text(block, "type") == "tool_result":
                tool, signature = self._calls.pop(text(block, "tool_use_id"), ("", ""))
                yield ToolCalled(tool=tool or "unknown", signature=signature, ok=pick(block, "is_error") is not True)

    def _limits(self, record: Mapping[str, object]) -> Iterable[Event]:
        if text(record, "rate_limit_info", "status") == "rejected":
            self._reset = count(record, "rate_limit_info", "resetsAt")
        return from_claude(record, self._time())

    def _result(self, record: Mapping[str, object]) -> Iterator[Event]:
        rest = rest_of_run(record, self._told)
        self._told = TokenUsage()
        if rest is not None:
            yield rest
        self._end = end_reason(record)
        if self._end is EndReason.FINISHED:
            self._text = text(record, "result") or self._text
        elif self._end is EndReason.ERROR:
            yield self._with_reset(error_of_result(record))

    def _with_reset(self, error: ErrorSeen) -> ErrorSeen:
        return error if self._reset is None else limit_with_reset(error, self._reset, self._time())

    def _time(self) -> float:
        return self._clock() if self._now is None else self._now
