"""pi: prompt on standard input, one JSON object per line on standard output.

It exits 0 whatever happened, so only its events tell an end. Its input excludes cached tokens; its output includes
reasoning, which it does not tell apart. It has no sub-agents. Headless, it compacts its context only when a run is
over, and exits before the summary has come: that is switched off, and a stage goes on in a fresh session instead.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.domain.events import (
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
from orchestrator.domain.fleet import ModelPrices
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.costs import is_priced
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.faults import kind_of_client_error
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, pick, text, usd_micros
from workers.owned import put

_PROVIDER = "bakeoff"
_SWITCHES = {"PI_OFFLINE": "1", "PI_TELEMETRY": "0", "PI_SKIP_VERSION_CHECK": "1"}
# A message is told whole again with every few characters of it: nine tenths of the stream, and nothing new in them.
_REPEATS = (b'{"type":"message_update"', b'{"type":"tool_execution_update"')
_SILENT = frozenset(
    {
        *("turn_start", "turn_end", "message_start", "message_update", "message_end", "tool_execution_update"),
        *("auto_retry_start", "auto_retry_end", "compaction_start", "compaction_end"),
        *("queue_update", "session_info_changed", "thinking_level_changed"),
    }
)
_STOPS = {"stop": EndReason.FINISHED, "aborted": EndReason.INTERRUPTED}
# pi's client puts the status of a refused request in front of its message, and nothing where no answer came.
_STATUS = re.compile(r"(\d{3}) ")
_TERMINATED_EXIT_CODES = frozenset({129, 143})  # how it ends after SIGHUP and SIGTERM


class Pi:
    """The pi adapter."""

    name = "pi"
    protocols: tuple[str, ...] = ("chat",)
    compacts = False

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("pi", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents @mariozechner/pi-coding-agent@0.73.1"

    def launch(self, context: StageContext) -> Launch:
        """Write its models and settings into the job's own folder; no extension of the repository is loaded."""
        env = clean_env(context)
        program = require_program("pi", env, self.install_hint())
        home = _home(context)
        for name, content in (("models.json", _models(context)), ("settings.json", _SETTINGS)):
            put(home / name, json.dumps(content), beneath=context.home.parent)
        env |= _SWITCHES | {"PI_CODING_AGENT_DIR": str(home)}
        argv = [program, "--mode", "json", "--no-extensions", "--provider", _PROVIDER, "--model", context.model.name]
        argv += ["--session", context.session_id] if context.session_id else []
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree, stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "PiReader":
        """A fresh reader for one run."""
        return PiReader(context.model.prices)


# With nothing reserved it compacts at no share of the window, and still tells an overflow apart from other errors.
_SETTINGS = {"compaction": {"enabled": True, "reserveTokens": 0}, "quietStartup": True}


def _home(context: StageContext) -> Path:
    return context.home / ".pi/agent"


def _models(context: StageContext) -> dict[str, object]:
    model = context.model
    prices = model.prices
    entry = {
        "id": model.name,
        "name": model.alias,
        "reasoning": False,  # else it asks for a level of thinking, which not every server understands
        "input": ["text"],
        "contextWindow": model.context_window,
        "maxTokens": model.max_output,
        # It wants all four; a cost of unknown prices is not read.
        "cost": {
            "input": (prices and prices.input) or 0,
            "output": (prices and prices.output) or 0,
            "cacheRead": (prices and prices.cache_read) or 0,
            "cacheWrite": (prices and prices.cache_write) or 0,
        },
    }
    provider = {
        "baseUrl": f"{context.base_url}/v1",
        "api": "openai-completions",
        "apiKey": context.api_key,
        "models": [entry],
    }
    return {"providers": {_PROVIDER: provider}}


class PiReader(JsonLinesReader):
    """Reads the `--mode json` stream."""

    repeats = _REPEATS

    def __init__(self, prices: ModelPrices | None) -> None:
        super().__init__()
        self._prices = prices
        self._calls: dict[str, str] = {}
        self._text = ""
        self._stop = ""
        self._end: EndReason | None = None

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the last `agent_end` tells it, by how the message before it stopped."""
        self.cut_line()
        if self._end is None and exit_code in _TERMINATED_EXIT_CODES:
            self._end = EndReason.INTERRUPTED
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "type")
        match kind:
            case "session":
                yield SessionStarted(session_id=text(record, "id"))
            case "message_end" if text(record, "message", "role") == "assistant":
                yield from self._message(pick(record, "message"))
            case "tool_execution_start":
                self._calls[text(record, "toolCallId")] = call_signature(pick(record, "args"))
            case "tool_execution_end":
                yield self._called(record)
            case "agent_end":
                self._end = _STOPS.get(self._stop, EndReason.ERROR)
            case "agent_start":
                self._end = None
            case "compaction_start" if text(record, "reason") == "overflow":
                yield ErrorSeen(kind=ErrorKind.CONTEXT_OVERFLOW, text="the context is longer than the window")
            case "compaction_end" if pick(record, "result"):
                yield Compacted()
            case _ if kind not in _SILENT:
                self.unknown[kind] += 1

    def _message(self, message: object) -> Iterator[Event]:
        self._stop = text(message, "stopReason")
        if self._stop == "error":
            yield _error(text(message, "errorMessage"))
            return
        yield self._turn(message)
        blocks = pick(message, "content")
        said = "".join(text(block, "text") for block in blocks) if isinstance(blocks, list) else ""
        if said:
            self._text = said
            yield MessageSaid(text=said)

    def _turn(self, message: object) -> TurnEnded:
        usage = TokenUsage(
            input=count(message, "usage", "input"),
            output=count(message, "usage", "output"),
            cache_read=count(message, "usage", "cacheRead"),
            cache_write=count(message, "usage", "cacheWrite"),
        )
        stated = usd_micros(message, "usage", "cost", "total") if is_priced(usage, self._prices) else None
        # It names the model that answered only where that is another one than was asked.
        served = text(message, "responseModel") or None
        return TurnEnded(usage=usage, cost_usd_micros=stated, reason=self._stop or None, model=served)

    def _called(self, record: Mapping[str, object]) -> ToolCalled:
        return ToolCalled(
            tool=text(record, "toolName") or "unknown",
            signature=self._calls.pop(text(record, "toolCallId"), ""),
            ok=pick(record, "isError") is False,
        )


def _error(message: str) -> ErrorSeen:
    found = _STATUS.match(message)
    status = int(found[1]) if found else None
    return ErrorSeen(kind=kind_of_client_error(status, message), text=message, status=status)
