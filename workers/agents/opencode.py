"""opencode: prompt on standard input, one JSON object per line on standard output.

It prints nothing during a long retry or a usage limit (the gateway sees those), does not show the sessions of its
sub-agents in this stream (the gateway counts their tokens), and exits 1 on its own about 30 s into a rate limit.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.costs import is_priced
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.faults import error_of_answer
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, pick, text, usd_micros

_PROVIDER = "bakeoff"
# Both packages are inside the program: neither needs the network.
_PACKAGES = {"chat": "@ai-sdk/openai-compatible", "messages": "@ai-sdk/anthropic"}
_SWITCHES = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_SHARE": "1",
    # Nobody edits the tree beside the agent.
    "OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER": "1",
    "OPENCODE_PURE": "1",  # a repository's own plugins would be downloaded at every start
}
_ERRORS = {
    "ProviderAuthError": ErrorKind.AUTH,
    "ContextOverflowError": ErrorKind.CONTEXT_OVERFLOW,
    "MessageOutputLengthError": ErrorKind.BAD_REQUEST,
    "UnknownError": ErrorKind.AGENT,
}
_FAILED_STEPS = frozenset({"length", "content-filter", "error"})


class Opencode:
    """The opencode adapter."""

    name = "opencode"
    protocols: tuple[str, ...] = ("chat", "messages")
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the program on the PATH of `env`."""
        return program_version(("opencode", "--version"), env)

    def install_hint(self) -> str:
        """How to install it."""
        return "npm install --prefix <BAKEOFF_HOME>/agents opencode-ai@1.18.33"

    def launch(self, context: StageContext) -> Launch:
        """The command line; the configuration goes in by environment, where it wins over a file of the repository."""
        env = clean_env(context)
        program = require_program("opencode", env, self.install_hint())
        # Without a list of its own it reads the built-in one of thousands of models: 1.2 s of CPU at every start.
        models = context.tmp / "opencode-models.json"
        models.write_text("{}")
        _installed(Path(env["XDG_CONFIG_HOME"]) / "opencode")
        env |= _SWITCHES | {
            "OPENCODE_CONFIG_CONTENT": json.dumps(_config(context)),
            "OPENCODE_MODELS_PATH": str(models),
        }
        # A title of our own saves the request that would ask the model for one.
        argv = [program, "run", "--format", "json", "--model", f"{_PROVIDER}/{context.model.name}"]
        argv += ["--session", context.session_id] if context.session_id else ["--title", context.stage]
        return Launch(argv=tuple(argv), env=env, cwd=Path(context.worktree), stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "OpencodeReader":
        """A fresh reader for one run."""
        return OpencodeReader(context.model.prices)


def _installed(folder: Path) -> None:
    """Let the folder look as if its plugin library were there.

    Else every start in a fresh HOME asks the npm registry for it, behind the agent's back and for no use.
    """
    (folder / "node_modules").mkdir(parents=True, exist_ok=True)
    lock = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}
    (folder / "package-lock.json").write_text(json.dumps(lock))


def _config(context: StageContext) -> dict[str, object]:
    model = context.model
    provider = {
        "npm": _PACKAGES[model.protocol],
        "name": "Bakeoff",
        "options": {"baseURL": f"{context.base_url}/v1", "apiKey": context.api_key},
        "models": {model.name: _model(model)},
    }
    return {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,  # the worker commits; a second copy of the tree after every step costs time and disk
        "lsp": False,
        "formatter": False,
        "permission": {"*": "allow"},
        # It compacts when less than `reserved` of the input limit is left.
        "compaction": {"auto": True, "reserved": round(model.context_window * (1 - context.compact_percent / 100))},
        "model": f"{_PROVIDER}/{model.name}",
        "small_model": f"{_PROVIDER}/{model.name}",
        "enabled_providers": [_PROVIDER],
        "provider": {_PROVIDER: provider},
    }


def _model(model: ModelSpec) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": model.alias,
        # Only with an input limit does it heed what is to be reserved.
        "limit": {"context": model.context_window, "input": model.context_window, "output": model.max_output},
    }
    if model.prices is not None:
        prices = model.prices.model_dump(exclude={"dated"}, exclude_none=True)
        entry["cost"] = {"input": 0, "output": 0} | prices
    return entry


class OpencodeReader(JsonLinesReader):
    """Reads the `--format json` stream."""

    def __init__(self, prices: ModelPrices | None) -> None:
        super().__init__()
        self._prices = prices
        self._session: str | None = None
        self._text = ""
        self._end: EndReason | None = None

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the last step or error tells it."""
        self.cut_line()
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        events: list[Event] = []
        session, part = text(record, "sessionID"), pick(record, "part")
        if session and self._session is None:
            self._session = session
            events.append(SessionStarted(session_id=session))
        kind = text(record, "type")
        match kind:
            case "step_start":
                self._end = None
            case "text":
                events.extend(self._said(part))
            case "tool_use":
                events.append(_tool(part))
            case "step_finish":
                events.append(self._step(part, subagent=session != self._session))
            case "error":
                events.extend(self._error(pick(record, "error")))
            case "reasoning":
                pass  # its tokens are in the step's end
            case _:
                self.unknown[kind] += 1
        return events

    def _said(self, part: object) -> Sequence[Event]:
        if pick(part, "metadata", "compaction_continue") is True:
            return (Compacted(),)
        said = text(part, "text")
        if pick(part, "synthetic") is True or not said:
            return ()
        self._text = said
        return (MessageSaid(text=said),)

    def _step(self, part: object, *, subagent: bool) -> TurnEnded:
        usage = TokenUsage(
            input=count(part, "tokens", "input"),
            output=count(part, "tokens", "output"),
            cache_read=count(part, "tokens", "cache", "read"),
            cache_write=count(part, "tokens", "cache", "write"),
            reasoning=count(part, "tokens", "reasoning"),
        )
        reason = text(part, "reason")
        if not subagent and reason != "tool-calls":
            self._end = EndReason.ERROR if reason in _FAILED_STEPS else EndReason.FINISHED
        stated = usd_micros(part, "cost") if is_priced(usage, self._prices) else None
        return TurnEnded(usage=usage, cost_usd_micros=stated, reason=reason or None, subagent=subagent)

    def _error(self, error: object) -> Sequence[Event]:
        name, data = text(error, "name"), pick(error, "data")
        if name == "MessageAbortedError":
            self._end = EndReason.INTERRUPTED
            return ()
        self._end = EndReason.ERROR
        message = text(data, "message") or name
        if name in _ERRORS:
            return (ErrorSeen(kind=_ERRORS[name], text=message),)
        if name != "APIError":
            return (ErrorSeen(kind=ErrorKind.UNKNOWN, text=message),)
        status, body = count(data, "statusCode"), text(data, "responseBody")
        return (error_of_answer(status=status, body=body, headers=pick(data, "responseHeaders"), message=message),)


def _tool(part: object) -> ToolCalled:
    status = text(part, "state", "status")
    return ToolCalled(
        tool=text(part, "tool") or "unknown",
        signature=call_signature(pick(part, "state", "input")),
        ok=status == "completed" and pick(part, "state", "metadata", "exit") in (0, None),
    )
