"""Mistral Vibe: prompt by file, one JSON object per line on standard output, and the journals of its sessions.

Its stream tells messages and tools; tokens of each step, errors with their HTTP status and sub-agents are in journals
below VIBE_HOME, and the end in a file that it writes when it exits. It retries without a word (the gateway sees it).
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
    OutputSeen,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.provider_errors import kind_of_status
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, package_version, require_program
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, inclusive_usage, parse_object, pick, text
from workers.agents.session_files import SessionFiles, whole
from workers.owned import put

_ENDS = {
    "finished": EndReason.FINISHED,
    "turn_limit": EndReason.TURN_LIMIT,
    "token_limit": EndReason.TURN_LIMIT,
    "price_limit": EndReason.TURN_LIMIT,
    "deadline": EndReason.TURN_LIMIT,
    "terminated": EndReason.INTERRUPTED,
    "aborted": EndReason.INTERRUPTED,
}
# A journal repeats whole dialogues; only what came out of an action is parsed, and its type stands last in the line.
_RESULT = b'"type":"action_result"}'
# JSON's escapes are TOML's, but for one character that JSON leaves as it is.
_TOML_UNSAFE = re.compile("\x7f")


class Vibe:
    """The Mistral Vibe adapter."""

    name = "vibe"
    protocols: tuple[str, ...] = ("chat",)
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the installed package."""
        return package_version("vibe", "mistral-vibe", env)

    def install_hint(self) -> str:
        """How to install it."""
        return "pipx install --python python3.12 mistral-vibe==3.0.2"

    def launch(self, context: StageContext) -> Launch:
        """Write `config.toml` into the job's VIBE_HOME. What is set by environment wins over a repository's own."""
        env = clean_env(context)
        program = require_program("vibe", env, self.install_hint())
        home = _home(context)
        put(home / "config.toml", _config(context), beneath=context.home.parent)
        _export(context).unlink(missing_ok=True)
        env |= {"VIBE_HOME": str(home), "VIBE_ACTIVE_MODEL": "bakeoff", "BAKEOFF_AGENT_KEY": context.api_key}
        argv = [program, "--output", "streaming", "--auto-approve", "--trust"]
        argv += ["--output-dir", str(_export(context).parent)]
        argv += ["--resume", context.session_id] if context.session_id else []
        argv += ["--prompt-file", str(context.prompt_file)]
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree)

    def reader(self, context: StageContext) -> "VibeReader":
        """A fresh reader for one run."""
        return VibeReader(_home(context) / "logs/session/unified", _export(context))


def _home(context: StageContext) -> Path:
    return context.home / ".vibe"


def _export(context: StageContext) -> Path:
    return context.logs / f"{context.stage}.vibe" / "export.json"


def _config(context: StageContext) -> str:
    model = context.model
    entry: dict[str, object] = {
        "name": model.name,
        "provider": "bakeoff",
        "alias": "bakeoff",
        "max_context_length": model.context_window,
        "max_output_tokens": model.max_output,
        "auto_compact_threshold": int(model.context_window * context.compact_percent / 100),
    }
    if model.prices is not None:
        prices = {"input_price": model.prices.input, "output_price": model.prices.output}
        prices["cached_input_price"] = model.prices.cache_read
        entry |= {key: price for key, price in prices.items() if price is not None}
    lines = "\n".join(f"{key} = {_toml(value)}" for key, value in entry.items())
    return f"""active_model = "bakeoff"
enable_telemetry = false
enable_update_checks = false
enable_auto_update = false
enable_notifications = false
enable_connectors = false

[[providers]]
name = "bakeoff"
api_base = {_toml(f"{context.base_url}/v1")}
api_key_env_var = "BAKEOFF_AGENT_KEY"
api_style = "openai"
backend = "generic"

[[models]]
{lines}
"""


def _toml(value: object) -> str:
    return _TOML_UNSAFE.sub("\\\\u007f", json.dumps(value, ensure_ascii=False))


class VibeReader(JsonLinesReader):
    """Reads standard output, the journals below `sessions`, and the `export` at the end."""

    def __init__(self, sessions: Path, export: Path) -> None:
        super().__init__()
        self._journals = _Journals(sessions)
        self._export = export
        self._session: str | None = None
        self._used = TokenUsage()
        self._text = ""
        self._end: EndReason | None = None

    def poll(self) -> Sequence[Event]:
        """Events of the journals, and the end once it is written."""
        events = [*super().poll()]
        # The export comes last: what it says about the whole run holds for all that the journals tell by then.
        export = self._ending() if self._end is None else None
        events.extend(self._named(text(export, "session_id")))
        if self._session is not None:
            events.extend(self._journaled(self._session))
        if export is not None:
            self._end = _ENDS.get(text(export, "outcome"), EndReason.ERROR)
            events.extend(self._untold(pick(export, "usage")))
        return events

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the export tells it."""
        self.cut_line()
        self.unparsed += self._journals.unparsed
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        yield from self._named(text(record, "sessionId"))
        match text(record, "type"), text(record, "role") or text(record, "kind"):
            case "message", "assistant":
                if said := _words(pick(record, "content")):
                    self._text = said
                    yield MessageSaid(text=said)
            case "message", "user":
                pass
            case "effect", _:
                yield _called(record)
            case "checkpoint", "compaction":
                yield Compacted()
            case kind:
                self.unknown[":".join(kind)] += 1

    def _named(self, session: str) -> Iterator[Event]:
        if session and self._session is None:
            self._session = session
            yield SessionStarted(session_id=session)

    def _journaled(self, session: str) -> Iterator[Event]:
        for event in self._journals.read(session):
            if isinstance(event, TurnEnded):
                self._used += event.usage
            yield event

    def _ending(self) -> Mapping[str, object] | None:
        try:
            return parse_object(whole(self._export))
        except OSError:
            return None

    def _untold(self, whole: object) -> Iterator[Event]:
        """What the whole run used beyond the steps in the journals: it deletes old ones. No turn, but a sum."""
        missing = _minus(_usage(whole), self._used)
        if missing.total:
            yield TurnEnded(usage=missing, reason=SUM, subagent=True)


class _Journals:
    """All journals below `folder`, from their present ends on."""

    def __init__(self, folder: Path) -> None:
        self.unparsed = 0
        self._files = SessionFiles(folder, "*/journal/*.jsonl")

    def read(self, session: str) -> Iterator[Event]:
        """Events written since the last call; all sessions but the main one are sub-agents'."""
        for path, size_bytes, lines in self._files.grown():
            yield OutputSeen(size_bytes=size_bytes)
            for line in lines:
                if line.rstrip().endswith(_RESULT):
                    yield from self._result(line, subagent=path.parts[-3] != session)

    def _result(self, line: bytes, *, subagent: bool) -> Iterator[Event]:
        record = parse_object(line)
        self.unparsed += record is None
        result = pick(record, "payload", "result")
        match text(result, "type"):
            case "completion_succeeded":
                answer = pick(result, "result")
                reason = text(answer, "finish_reason") or None
                yield TurnEnded(usage=_usage(pick(answer, "usage")), reason=reason, subagent=subagent)
            # A run that is killed ends the answer it waits for under a code of its own.
            case "completion_failed" if text(result, "error", "code") != "effect_recovery_failed":
                yield _error(pick(result, "error"))


def _usage(usage: object) -> TokenUsage:
    """Its input includes cached tokens; it does not tell reasoning, which its output includes."""
    return inclusive_usage(
        prompt=count(usage, "input_tokens"),
        output=count(usage, "output_tokens"),
        cache_read=count(usage, "cached_input_tokens"),
        cache_write=None,
        reasoning=None,
    )


def _minus(whole: TokenUsage, part: TokenUsage) -> TokenUsage:
    def rest(all_of: int | None, told: int | None) -> int | None:
        return None if all_of is None else max(0, all_of - (told or 0))

    return TokenUsage(
        input=rest(whole.input, part.input),
        output=rest(whole.output, part.output),
        cache_read=rest(whole.cache_read, part.cache_read),
    )


def _error(error: object) -> ErrorSeen:
    status = count(error, "details", "httpStatus")
    answered = status is not None or text(error, "code").startswith("model_stream_")
    kind = kind_of_status(status) if answered else ErrorKind.UNKNOWN
    return ErrorSeen(kind=kind, text=text(error, "message"), status=status)


def _words(content: object) -> str:
    blocks = content if isinstance(content, list) else ()
    return "\n".join(words for block in blocks if (words := text(block, "text")))


def _called(record: Mapping[str, object]) -> ToolCalled:
    state = pick(record, "state")
    return ToolCalled(
        tool=text(record, "detail", "toolName").rpartition(".")[2] or "unknown",
        signature=call_signature(pick(record, "detail", "input")),
        ok=text(state, "status") == "completed" and pick(state, "display", "success") is not False,
    )
