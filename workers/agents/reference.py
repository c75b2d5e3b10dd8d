"""The adapter of our own reference agent: it needs nothing installed, so it runs wherever a worker runs."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
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
from orchestrator.domain.provider_errors import kind_of_code, kind_of_status
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, chat_usage, count, number, pick, text
from workers.owned import put

_PROGRAM = Path(__file__).with_name("reference_agent.py")
_ENDS = {"finished": EndReason.FINISHED, "turn_limit": EndReason.TURN_LIMIT}
_BOUNDS = {
    "max_turns": 500,
    "max_wait_seconds": 60.0,
    "tool_timeout_seconds": 600.0,
    "tool_output_bytes": 16_384,
    "idle_seconds": 600.0,
}


class Reference:
    """The adapter of `reference_agent.py`."""

    name = "reference"
    protocols: tuple[str, ...] = ("chat",)
    compacts = False

    def version(self, env: Mapping[str, str]) -> str | None:
        """Digest of the program: it has no release of its own."""
        return hashlib.sha256(_PROGRAM.read_bytes()).hexdigest()[:12]

    def install_hint(self) -> str:
        """How to install it."""
        return "comes with Bakeoff"

    def launch(self, context: StageContext) -> Launch:
        """Write its configuration (with the gateway's token, mode 0600) and run it without site packages."""
        file = context.logs / f"{context.stage}.reference.json"
        _sessions(context).mkdir(parents=True, exist_ok=True)
        put(file, json.dumps(_config(context)))
        argv = (sys.executable, "-I", "-S", str(_PROGRAM), str(file))
        return Launch(argv=argv, env=clean_env(context), cwd=context.worktree, stdin_file=context.prompt_file)

    def reader(self, context: StageContext) -> "ReferenceReader":
        """A fresh reader for one run."""
        return ReferenceReader()


def _sessions(context: StageContext) -> Path:
    return context.home / ".local/state/bakeoff-reference"


def _config(context: StageContext) -> dict[str, object]:
    return {
        "base_url": context.base_url,
        "api_key": context.api_key,
        "model": context.model.name,
        "max_output": context.model.max_output,
        "sessions": str(_sessions(context)),
        "session": context.session_id,
        **_BOUNDS,
    }


class ReferenceReader(JsonLinesReader):
    """Reads the reference agent's stream."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._end: EndReason | None = None

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the `end` event tells it."""
        self.cut_line()
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "type")
        match kind:
            case "session":
                yield SessionStarted(session_id=text(record, "session_id"))
            case "turn":
                yield TurnEnded(
                    usage=chat_usage(pick(record, "usage")),
                    reason=text(record, "finish_reason") or None,
                    model=text(record, "model") or None,
                )
            case "tool":
                arguments = call_signature(pick(record, "arguments"))
                yield ToolCalled(
                    tool=text(record, "name") or "unknown", signature=arguments, ok=pick(record, "exit_code") == 0
                )
            case "message":
                self._text = text(record, "text")
                yield MessageSaid(text=self._text)
            case "error":
                yield _error(record)
            case "end":
                self._end = _ENDS.get(text(record, "reason"), EndReason.ERROR)
            case _:
                self.unknown[kind] += 1


def _error(record: Mapping[str, object]) -> ErrorSeen:
    status, code = count(record, "status"), text(record, "code")
    kind = kind_of_code(code) or (
        ErrorKind.UNKNOWN if status is None and code != "connection" else kind_of_status(status)
    )
    return ErrorSeen(
        kind=kind,
        text=text(record, "text"),
        status=status,
        retry_after_seconds=number(record, "retry_after_seconds"),
        resets_at_epoch=number(record, "resets_at"),
    )
