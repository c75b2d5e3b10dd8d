"""aider: prompt by file, read from its analytics log and its log of requests and answers.

It edits by blocks in its answer and has no tools, and the answer stands on standard output as the model wrote it. So
turns, tokens and the end are read from the analytics log (one JSON object per line, kept in the job's logs and sent
to nobody), and the answers from the log of the dialogue, where each of their lines is marked. It tells errors nowhere
but on standard output: they are read there only before the first answer, while every line is still aider's own.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.events import (
    AgentEnded,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    MessageSaid,
    OutputSeen,
    SessionStarted,
    TurnEnded,
)
from orchestrator.domain.fleet import ModelPrices
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, package_version, require_program
from workers.agents.faults import kind_of_exception
from workers.agents.lines import LineSplitter, agent_ended
from workers.agents.reading import count, parse_object, storable, text, usd_micros
from workers.agents.session_files import FileTail
from workers.owned import put

_OPTIONS = (
    "--no-stream",  # an answer that is streamed comes without its tokens: aider would guess them
    "--yes-always",
    "--no-auto-commits",  # the worker commits
    "--no-dirty-commits",
    "--no-gitignore",
    "--no-check-update",
    "--no-show-model-warnings",
    "--no-show-release-notes",
    "--no-pretty",
    "--no-fancy-input",
    "--no-detect-urls",  # it would fetch every address in the prompt, and install a browser for that
    "--disable-playwright",
    "--no-suggest-shell-commands",  # with --yes-always it runs none
    "--analytics-disable",
    "--edit-format",
    "diff",
)
# It keeps its index of the repository in the tree, and no option puts it elsewhere.
_INDEX_FOLDER = ".aider.tags.cache.v4"
_ENDS = {
    "Completed --message-file": EndReason.FINISHED,
    "Completed --message": EndReason.FINISHED,
    "Control-C": EndReason.INTERRUPTED,
}
_ERROR = re.compile(r"litellm\.(\w+):|Model \S+ has hit a token limit!")
_SILENT = (b'{"event": "repo"', b'{"event": "auto_commits"', b'{"event": "cli session"')
_SAID = "ASSISTANT "
_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
}


class Aider:
    """The aider adapter."""

    name = "aider"
    protocols: tuple[str, ...] = ("chat",)
    compacts = False

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the installed package."""
        return package_version("aider", "aider-chat", env)

    def install_hint(self) -> str:
        """How to install it."""
        return "pipx install --python python3.12 aider-chat==0.86.2"

    def launch(self, context: StageContext) -> Launch:
        """The command line. Key and address go by a file: aider reads the repository's `.env`, and ours last."""
        env = clean_env(context)
        program = require_program("aider", env, self.install_hint())
        env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it downloads a price list
        for log in (_analytics(context), _dialogue(context)):
            log.unlink(missing_ok=True)
        _keep_index_out_of_the_work(context.worktree)
        files = {
            "--env-file": _write(context, "env", _env_file(context)),
            "--model-metadata-file": _write(context, "json", json.dumps(_metadata(context))),
            "--analytics-log": _analytics(context),
            "--llm-history-file": _dialogue(context),
            "--chat-history-file": _history(context),
            "--input-history-file": context.home / ".aider.input.history",
            "--message-file": context.prompt_file,
        }
        argv = [program, "--model", f"openai/{context.model.name}", *_OPTIONS]
        argv += ["--restore-chat-history"] if context.session_id else []
        argv += [str(part) for option in files.items() for part in option]
        return Launch(argv=tuple(argv), env=env, cwd=context.worktree)

    def reader(self, context: StageContext) -> "AiderReader":
        """A fresh reader for one run."""
        return AiderReader(_analytics(context), _dialogue(context), _session(context), context.model.prices)


def _session(context: StageContext) -> str:
    """aider names no sessions; the file that holds a dialogue is named after the prompt that began it."""
    return context.session_id or context.prompt_file.name.partition(".")[0]


def _history(context: StageContext) -> Path:
    """The dialogue to restore. A fresh session begins with none."""
    file = context.home / ".aider.sessions" / f"{_session(context)}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    if context.session_id is None:
        file.unlink(missing_ok=True)
    return file


def _analytics(context: StageContext) -> Path:
    return context.logs / f"{context.stage}.aider.jsonl"


def _dialogue(context: StageContext) -> Path:
    return context.logs / f"{context.stage}.aider.txt"


def _write(context: StageContext, kind: str, content: str) -> Path:
    file = context.logs / f"{context.stage}.aider.{kind}"
    put(file, content)
    return file


def _env_file(context: StageContext) -> str:
    """Key, address and models by its own variables too: those win over a repository's `.aider.conf.yml`."""
    server = {"OPENAI_API_KEY": context.api_key, "OPENAI_API_BASE": f"{context.base_url}/v1"}
    models = dict.fromkeys(("AIDER_WEAK_MODEL", "AIDER_EDITOR_MODEL"), f"openai/{context.model.name}")
    values = server | {f"AIDER_{name}": value for name, value in server.items()} | models
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _metadata(context: StageContext) -> Mapping[str, object]:
    model = context.model
    entry: dict[str, object] = {
        "litellm_provider": "openai",
        "mode": "chat",
        "max_input_tokens": model.context_window,
        "max_output_tokens": model.max_output,
        "max_tokens": model.max_output,
    }
    if model.prices is not None:
        prices = model.prices.model_dump(include=set(_PRICES), exclude_none=True)
        entry |= {_PRICES[kind]: price / 1e6 for kind, price in prices.items()}
    return {f"openai/{model.name}": entry}


def _keep_index_out_of_the_work(tree: Path) -> None:
    """Let git pass over the folder of the index: an ignore file in it covers itself too."""
    folder = tree / _INDEX_FOLDER
    if not folder.exists() and not folder.is_symlink():
        folder.mkdir()
        (folder / ".gitignore").write_text("*\n")


class AiderReader:
    """Reads the analytics log and the log of the dialogue; of standard output only errors before any answer."""

    def __init__(self, analytics: Path, dialogue: Path, session: str, prices: ModelPrices | None = None) -> None:
        self.unparsed = 0
        self._analytics, self._lines = FileTail(analytics), LineSplitter()
        self._dialogue = _Dialogue(dialogue)
        self._stdout = LineSplitter()
        self._session: str | None = session
        self._priced = prices is not None and None not in (prices.input, prices.output, prices.cache_read)
        self._errors: list[ErrorSeen] = []
        self._waiting = False
        self._answered = False
        self._text = ""
        self._end: EndReason | None = None

    def feed(self, data: bytes) -> Sequence[Event]:
        """That something was written; errors wait for `poll`, which knows whether they are aider's own words."""
        for line in self._stdout.split(data):
            words = storable(line.decode("utf-8", "replace")).rstrip()
            if found := _ERROR.match(words):
                kind = kind_of_exception(found[1]) if found[1] else ErrorKind.CONTEXT_OVERFLOW
                self._errors.append(ErrorSeen(kind=kind, text=words))
        return (OutputSeen(size_bytes=len(data)),) if data else ()

    def poll(self) -> Sequence[Event]:
        """Events newly found in both logs."""
        data = self._analytics.read()
        events: list[Event] = [OutputSeen(size_bytes=len(data))] if data else []
        for line in self._lines.split(data):
            events.extend(self._record(line))
        events.extend(self._said())
        if not self._answered:
            events.extend(self._errors)
        self._errors = []
        return events

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The end as the last entry of the analytics log tells it."""
        self.unparsed += self._lines.unfinished
        return agent_ended(self._end, exit_code, self._text)

    def _said(self) -> Iterator[Event]:
        for said in self._dialogue.read(ended=self._end is not None):
            self._text = said
            yield MessageSaid(text=said)

    def _record(self, line: bytes) -> Iterator[Event]:
        if line.startswith(_SILENT):
            return
        record = parse_object(line)
        if record is None:
            self.unparsed += bool(line.strip())
            return
        match text(record, "event"):
            case "launched" if self._session is not None:
                yield SessionStarted(session_id=self._session)
                self._session = None
            case "message_send_starting":
                self._waiting = True
            # A request that the model refuses as too long counts as sent, with a guess of its tokens and no answer.
            case "message_send" if count(record, "properties", "completion_tokens") != 0:
                self._waiting, self._answered = False, True
                yield self._turn(record)
            case "exit":
                end = _ENDS.get(text(record, "properties", "reason"), EndReason.ERROR)
                # It exits in the same way when its last request failed.
                self._end = EndReason.ERROR if self._waiting else end

    def _turn(self, record: Mapping[str, object]) -> TurnEnded:
        """Its input includes cached tokens and its output reasoning, and it tells neither apart."""
        usage = TokenUsage(
            input=count(record, "properties", "prompt_tokens"),
            output=count(record, "properties", "completion_tokens"),
        )
        stated = usd_micros(record, "properties", "cost") if self._priced else None
        return TurnEnded(usage=usage, cost_usd_micros=stated)


class _Dialogue:
    """The answers in the log of the dialogue. An answer is whole when another entry follows or nothing is added."""

    def __init__(self, path: Path) -> None:
        self._tail, self._lines = FileTail(path), LineSplitter()
        self._answer: list[str] | None = None

    def read(self, *, ended: bool) -> Iterator[str]:
        """Answers that are whole by now, empty ones left out; `ended` says that nothing can be added any more."""
        data = self._tail.read()
        for line in self._lines.split(data):
            words = line.decode("utf-8", "replace")
            if words.startswith(("LLM RESPONSE ", "TO LLM ")):
                yield from self._whole()
                self._answer = [] if words.startswith("LLM") else None
            elif self._answer is not None and words.startswith(_SAID):
                self._answer.append(words.removeprefix(_SAID))
        if ended or not data:
            yield from self._whole()

    def _whole(self) -> Iterator[str]:
        said = storable("\n".join(self._answer or ())).strip()
        self._answer = None
        if said:
            yield said
