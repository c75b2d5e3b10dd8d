"""OpenHands CLI: prompt by file, JSON lines among lines for people on standard output, and its conversation's state.

Its events tell messages, tools and errors but no tokens: those of each step, sub-agents' included, are in the state
that it keeps of the conversation, and which it often writes only at the end. A turn is told when its first event is
seen; tokens that come later are told apart. It exits 0 whatever happened.
"""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

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
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, package_version, require_program
from workers.agents.faults import kind_of_exception
from workers.agents.lines import JsonLinesReader, agent_ended
from workers.agents.reading import call_signature, count, inclusive_usage, parse_object, pick, text
from workers.agents.session_files import whole
from workers.owned import put

_SWITCHES = {
    "OPENHANDS_SUPPRESS_BANNER": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it downloads a price list
    "ALLOW_SHORT_CONTEXT_WINDOWS": "true",  # else it refuses models with less than 16 Ki tokens
    "PYTHONUNBUFFERED": "1",  # else its output comes at the end, and not at all when it is killed
}
_TOOLS = ("terminal", "file_editor", "task_tracker", "task_tool_set")
# The longest path of a socket has 107 bytes; its shells are in a tmux server that adds `/tmux-1000/openhands`.
_SOCKET_FOLDER_CHARS = 80
_CONVERSATION = re.compile(rb"Conversation ID: ([0-9a-f]{32})\s*")
_EXCEPTIONS = {
    "LLMAuthenticationError": ErrorKind.AUTH,
    "LLMRateLimitError": ErrorKind.RATE_LIMIT,
    "LLMTimeoutError": ErrorKind.NETWORK,
    "LLMServiceUnavailableError": ErrorKind.SERVER,
    "LLMNoResponseError": ErrorKind.SERVER,
    "LLMContextWindowExceedError": ErrorKind.CONTEXT_OVERFLOW,
    "LLMBadRequestError": ErrorKind.BAD_REQUEST,
    "LLMMalformedConversationHistoryError": ErrorKind.BAD_REQUEST,
}
_SILENT = frozenset({"CondensationRequest", "ConversationStateUpdateEvent", "HookExecutionEvent", "TokenEvent"})


class Openhands:
    """The OpenHands CLI adapter."""

    name = "openhands"
    protocols: tuple[str, ...] = ("chat",)
    compacts = True

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the installed package."""
        return package_version("openhands", "openhands", env)

    def install_hint(self) -> str:
        """How to install it."""
        return "pipx install --python python3.12 openhands==1.16.0"

    def launch(self, context: StageContext) -> Launch:
        """Write its settings into the job's own folder; the key goes by environment and is nowhere on disk."""
        env = clean_env(context)
        program = require_program("openhands", env, self.install_hint())
        home = _home(context)
        put(home / "agent_settings.json", json.dumps(_settings(context)), beneath=context.home.parent)
        _without_public_skills(home, beneath=context.home.parent)
        env |= _SWITCHES | {
            "OPENHANDS_PERSISTENCE_DIR": str(home),
            "LLM_API_KEY": context.api_key,
            # Without a folder of its own all jobs of a machine would share one server, which dies with the first.
            "TMUX_TMPDIR": str(_socket_folder(context)),
        }
        argv = [program, "--headless", "--json", "--yolo", "--override-with-envs", "--exit-without-confirmation"]
        argv += ["--resume", context.session_id] if context.session_id else []
        argv += ["--file", str(context.prompt_file)]
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree)

    def reader(self, context: StageContext) -> "OpenhandsReader":
        """A fresh reader for one run."""
        return OpenhandsReader(_home(context) / "conversations", context.session_id)


def _home(context: StageContext) -> Path:
    return context.home / ".openhands"


def _settings(context: StageContext) -> Mapping[str, object]:
    model = context.model
    llm: dict[str, object] = {
        "model": f"openai/{model.name}",
        "base_url": f"{context.base_url}/v1",
        "max_input_tokens": model.context_window,
        "max_output_tokens": model.max_output,
    }
    prices = model.prices
    if prices is not None and prices.input is not None and prices.output is not None:
        llm |= {"input_cost_per_token": prices.input / 1e6, "output_cost_per_token": prices.output / 1e6}
    condenser = {
        "kind": "LLMSummarizingCondenser",
        "llm": llm | {"usage_id": "condenser"},
        "max_size": 80,  # events; its own default
        "keep_first": 4,
        "max_tokens": int(model.context_window * context.compact_percent / 100),
    }
    return {
        "kind": "Agent",
        "llm": llm | {"usage_id": "agent"},
        "tools": [{"name": name, "params": {}} for name in _TOOLS],
        "system_prompt_kwargs": {"cli_mode": True},
        "condenser": condenser,
    }


def _without_public_skills(home: Path, *, beneath: Path) -> None:
    """An empty repository where it keeps its public skills: else it clones them from the network at every start."""
    skills = home / "cache/skills/public-skills"
    put(skills / ".git/HEAD", "ref: refs/heads/main\n", beneath=beneath)
    for part in ("skills", ".git/objects", ".git/refs"):
        (skills / part).mkdir(exist_ok=True)


def _socket_folder(context: StageContext) -> Path:
    if len(str(context.tmp)) <= _SOCKET_FOLDER_CHARS:
        return context.tmp
    digest = hashlib.sha256(str(context.tmp).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"bakeoff-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class OpenhandsReader(JsonLinesReader):
    """Reads standard output, and the state of the conversation below `conversations`."""

    def __init__(self, conversations: Path, session_id: str | None = None) -> None:
        super().__init__()
        self._state = _State(conversations, session_id)
        self._session: str | None = None
        self._calls: dict[str, tuple[str, str]] = {}
        self._told: set[str] = set()  # answers whose turn was told
        self._text = ""
        self._end: EndReason | None = None

    def poll(self) -> Sequence[Event]:
        """Steps that are new in the conversation's state."""
        return [*super().poll(), *self._counted()]

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the last event tells it: words of the agent, or an error."""
        if self._lines.rest().startswith(b"{"):
            self.cut_line()
        return agent_ended(self._end, exit_code, self._text)

    def handle(self, record: Mapping[str, object]) -> Iterable[Event]:
        """Events of one object of the stream."""
        kind = text(record, "kind")
        if text(record, "source") == "agent" and (answer := text(record, "llm_response_id")):
            yield from self._turn(answer)
        match kind:
            case "MessageEvent":
                yield from self._message(record)
            case "ActionEvent":
                yield from self._action(record)
            case "ObservationEvent" | "AgentErrorEvent" | "UserRejectObservation":
                yield self._called(record)
            case "Condensation":
                yield Compacted()
            case "ConversationErrorEvent":
                yield from self._error(record)
            case "PauseEvent":
                self._end = EndReason.INTERRUPTED
            case _ if kind not in _SILENT:
                self.unknown[kind] += 1

    def _turn(self, answer: str) -> Iterator[Event]:
        """The turn of an answer that is heard of the first time: with its tokens where they are known by now."""
        if answer not in self._told:
            yield from self._counted()
        if answer not in self._told:
            self._told.add(answer)
            yield TurnEnded(usage=TokenUsage())

    def _counted(self) -> Iterator[Event]:
        for name, step in self._state.read():
            answer = text(step, "response_id")
            late = answer != "" and answer in self._told
            self._told.add(answer)
            # The main agent goes by the name `agent`; its condenser and its sub-agents have others.
            yield TurnEnded(usage=_usage(step), reason=SUM if late else None, subagent=late or name != "agent")
        yield from self._named(self._state.session)

    def _line(self, line: bytes) -> Iterable[Event]:
        """Lines for people are no loss; only the one that names the conversation is read."""
        if line.startswith(b"{"):
            return super()._line(line)
        found = _CONVERSATION.fullmatch(line)
        return self._named(str(UUID(found[1].decode()))) if found else ()

    def _named(self, session: str | None) -> Iterator[Event]:
        if session is not None and self._session is None:
            self._session = session
            yield SessionStarted(session_id=session)

    def _message(self, record: Mapping[str, object]) -> Iterator[Event]:
        ours = text(record, "source") == "agent"
        self._end = EndReason.FINISHED if ours else None
        if ours:
            yield from self._said(_words(pick(record, "llm_message", "content")))

    def _action(self, record: Mapping[str, object]) -> Iterator[Event]:
        self._end = None
        action = pick(record, "action")
        tool = text(record, "tool_name") or "unknown"
        self._calls[text(record, "tool_call_id")] = (tool, call_signature(action))
        yield from self._said(_words(pick(record, "thought")))
        if text(action, "kind") == "FinishAction":
            self._end = EndReason.FINISHED
            yield from self._said(text(action, "message"))

    def _said(self, words: str) -> Iterator[Event]:
        if words:
            self._text = words
            yield MessageSaid(text=words)

    def _called(self, record: Mapping[str, object]) -> ToolCalled:
        tool, signature = self._calls.pop(text(record, "tool_call_id"), (text(record, "tool_name") or "unknown", ""))
        seen = pick(record, "observation")
        fine = pick(seen, "is_error") is False and pick(seen, "exit_code") in (0, None)
        return ToolCalled(tool=tool, signature=signature, ok=fine)

    def _error(self, record: Mapping[str, object]) -> Iterator[Event]:
        code = text(record, "code")
        self._end = EndReason.TURN_LIMIT if code == "MaxIterationsReached" else EndReason.ERROR
        if self._end is EndReason.ERROR:
            kind = _EXCEPTIONS.get(code) or kind_of_exception(code)
            yield ErrorSeen(kind=kind, text=text(record, "detail") or code)


class _State:
    """The state of one conversation: the resumed one, else the one that is new in the folder."""

    def __init__(self, folder: Path, session_id: str | None) -> None:
        self._folder = folder
        self._earlier = {path for path in self._all() if path.parent.name != (session_id or "").replace("-", "")}
        self._stamp: tuple[int, int] | None = None
        self._seen: Counter[str] = Counter()
        self.session: str | None = None
        for _ in self.read():  # what the session's earlier runs used is not told again
            pass
        self.session = None

    def read(self) -> Iterator[tuple[str, object]]:
        """The steps that are new in the state, each with whose it is. A file that is just being rewritten waits."""
        for path in self._all() - self._earlier:
            try:
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_size)
                data = whole(path) if stamp != self._stamp else b""
            except OSError:
                continue
            if (state := parse_object(data)) is not None:
                self._stamp, self.session = stamp, str(UUID(path.parent.name))
                yield from self._steps(pick(state, "stats", "usage_to_metrics"))

    def _all(self) -> set[Path]:
        return {
            path for path in self._folder.glob("*/base_state.json") if re.fullmatch("[0-9a-f]{32}", path.parent.name)
        }

    def _steps(self, metrics: object) -> Iterator[tuple[str, object]]:
        for name, of_one in (metrics if isinstance(metrics, dict) else {}).items():
            steps = pick(of_one, "token_usages")
            fresh = steps[self._seen[name] :] if isinstance(steps, list) else []
            self._seen[name] += len(fresh)
            yield from ((name, step) for step in fresh)


def _usage(step: object) -> TokenUsage:
    """Its input includes cached tokens and its output reasoning."""
    return inclusive_usage(
        prompt=count(step, "prompt_tokens"),
        output=count(step, "completion_tokens"),
        cache_read=count(step, "cache_read_tokens"),
        cache_write=count(step, "cache_write_tokens"),
        reasoning=count(step, "reasoning_tokens"),
    )


def _words(content: object) -> str:
    blocks = content if isinstance(content, list) else ()
    return "\n".join(words for block in blocks if (words := text(block, "text")))
