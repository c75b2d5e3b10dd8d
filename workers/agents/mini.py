"""mini-SWE-agent: told everything by one configuration file, read from its trajectory file.

It rewrites that file whole after every step. Its standard output is for people, and its retries are told only on
standard error (the gateway sees them). It cannot resume a session: a stage with a session id starts afresh.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.events import (
    AgentEnded,
    EndReason,
    ErrorSeen,
    Event,
    MessageSaid,
    OutputSeen,
    ToolCalled,
    TurnEnded,
)
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, package_version, require_program
from workers.agents.faults import kind_of_exception
from workers.agents.lines import agent_ended
from workers.agents.reading import call_signature, chat_usage, parse_object, pick, text, usd_micros
from workers.agents.session_files import whole
from workers.owned import put

# JSON is YAML but for characters that YAML refuses or folds as line breaks when they are not escaped.
_YAML_UNSAFE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
# A repository may have a mini.yaml of its own, and the bare name would find that first. This path finds the file
# inside the installed package: it is looked up relative to the package's own `config` folder.
_BUILTIN_CONFIG = "../config/mini.yaml"
_ENDS = {
    "Submitted": EndReason.FINISHED,
    "LimitsExceeded": EndReason.TURN_LIMIT,
    "TimeExceeded": EndReason.TURN_LIMIT,
    "UserInterruption": EndReason.INTERRUPTED,
    "KeyboardInterrupt": EndReason.INTERRUPTED,
}
_SWITCHES = {
    "MSWEA_CONFIGURED": "true",  # else it asks for a model on its first start
    "MSWEA_COST_TRACKING": "ignore_errors",  # it has no price for our models, and would stop at the first answer
    "MSWEA_SILENT_STARTUP": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it downloads a price list
}


class Mini:
    """The mini-SWE-agent adapter."""

    name = "mini"
    protocols: tuple[str, ...] = ("chat",)
    compacts = False

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the installed package."""
        return package_version("mini", "mini-swe-agent", env)

    def install_hint(self) -> str:
        """How to install it."""
        return "pipx install mini-swe-agent==2.4.6 && pipx inject mini-swe-agent litellm==1.106.2 mcp"

    def launch(self, context: StageContext) -> Launch:
        """The command line; task, model and address go by a file, because `-t` is bounded by the kernel."""
        env = clean_env(context)
        program = require_program("mini", env, self.install_hint())
        env |= _SWITCHES | {
            "OPENAI_API_KEY": context.api_key,
            "MSWEA_GLOBAL_CONFIG_DIR": str(context.home / ".config/mini-swe-agent"),
            "MSWEA_CONFIG_DIR": str(context.home),
        }
        file = context.logs / f"{context.stage}.mini.yaml"
        trajectory_file(context).unlink(missing_ok=True)
        put(file, as_yaml(_config(context)))
        # `-o` is there because its default overrules the file.
        argv = (program, "-c", _BUILTIN_CONFIG, "-c", str(file), "-o", str(trajectory_file(context)))
        return Launch(argv=argv, env=env, cwd=context.worktree)

    def reader(self, context: StageContext) -> "MiniReader":
        """A fresh reader for one run."""
        return MiniReader(trajectory_file(context))


def trajectory_file(context: StageContext) -> Path:
    """Where this stage's trajectory is written."""
    return context.logs / f"{context.stage}.traj.json"


def as_yaml(value: object) -> str:
    """`value` as JSON that a YAML 1.1 reader reads as the same value."""
    return _YAML_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _config(context: StageContext) -> dict[str, object]:
    return {
        "run": {"task": context.prompt_file.read_text(encoding="utf-8", errors="replace")},
        "agent": {"mode": "yolo", "confirm_exit": False, "cost_limit": 0},
        "model": {
            "model_name": f"openai/{context.model.name}",
            "model_kwargs": {"api_base": f"{context.base_url}/v1", "max_tokens": context.model.max_output},
        },
    }


class MiniReader:
    """Reads the trajectory file; each message is told once, by its place in the file."""

    def __init__(self, trajectory: Path) -> None:
        self.unparsed = 0
        self._file = trajectory
        self._stamp: tuple[int, int] | None = None
        self._seen = 0
        self._broken = False
        self._calls: dict[str, tuple[str, str]] = {}
        self._text = ""
        self._end: EndReason | None = None

    def feed(self, data: bytes) -> Sequence[Event]:
        """Standard output is for people: only that something was written counts."""
        return (OutputSeen(size_bytes=len(data)),) if data else ()

    def poll(self) -> Sequence[Event]:
        """Events of the messages that are new in the trajectory. A file that is just being rewritten waits."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return ()
            data = whole(self._file)
        except OSError:
            return ()
        trajectory = parse_object(data)
        self._broken = trajectory is None
        if trajectory is None:
            return ()
        self._stamp = stamp
        return tuple(self._new(trajectory, len(data)))

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the trajectory's last entry tells it."""
        self.unparsed += self._broken
        return agent_ended(self._end, exit_code, self._text)

    def _new(self, trajectory: Mapping[str, object], size_bytes: int) -> Iterator[Event]:
        messages = pick(trajectory, "messages")
        fresh = messages[self._seen :] if isinstance(messages, list) else []
        if not fresh:
            return
        self._seen += len(fresh)
        yield OutputSeen(size_bytes=size_bytes)
        for message in fresh:
            yield from self._message(message)

    def _message(self, message: object) -> Iterator[Event]:
        # A message in a wrong format comes back as the user's complaint, with the (paid) answer attached.
        if isinstance(answer := pick(message, "extra", "response"), dict):
            yield self._turn(message, answer)
        match text(message, "role"):
            case "assistant":
                self._note_calls(pick(message, "tool_calls"))
                if said := text(message, "content"):
                    self._text = said
                    yield MessageSaid(text=said)
            case "tool":
                yield self._called(message)
            case "exit":
                yield from self._exit(message)

    def _turn(self, message: object, answer: object) -> TurnEnded:
        choices = pick(answer, "choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        # The model that litellm names is not always what the server said (it adds prefixes): left to the gateway.
        return TurnEnded(
            usage=chat_usage(pick(answer, "usage")),
            cost_usd_micros=usd_micros(message, "extra", "cost") or None,  # 0 is its word for no price known
            reason=text(first, "finish_reason") or None,
        )

    def _note_calls(self, calls: object) -> None:
        for call in calls if isinstance(calls, list) else ():
            name, arguments = text(call, "function", "name"), pick(call, "function", "arguments")
            self._calls[text(call, "id")] = (name or "unknown", call_signature(arguments))

    def _called(self, message: object) -> ToolCalled:
        tool, signature = self._calls.pop(text(message, "tool_call_id"), ("unknown", ""))
        # The command by which it submits its work is never executed: that is no failure.
        ran = text(message, "extra", "exception_info") != "action was not executed"
        ok = pick(message, "extra", "returncode") == 0 if ran else None
        return ToolCalled(tool=tool, signature=signature, ok=ok)

    def _exit(self, message: object) -> Iterator[Event]:
        status = text(message, "extra", "exit_status")
        self._end = _ENDS.get(status, EndReason.ERROR)
        self._text = text(message, "extra", "submission") or self._text
        if self._end is EndReason.ERROR:
            yield ErrorSeen(kind=kind_of_exception(status), text=text(message, "content") or status)
