"""Any program as agent, by the experiment file's template. Its output is free text; tokens come from the gateway."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.domain.events import AgentEnded, EndReason, Event, OutputSeen
from orchestrator.domain.experiment import CommandAgent
from workers.agents.base import Launch, StageContext
from workers.agents.environment import clean_env, program_version, require_program
from workers.agents.harness import HarnessFiles
from workers.agents.reading import MAX_TEXT_CHARS, storable

_PLACEHOLDER = re.compile(r"\{(prompt_file|base_url|model|worktree|home|tmp|logs|session|api_key)\}")


class Command:
    """The adapter of one command agent."""

    compacts = False

    def __init__(self, name: str, command: CommandAgent) -> None:
        self.name = name
        self.protocols: tuple[str, ...] = ("chat", "messages", "responses", "gemini")
        self._command = command

    def version(self, env: Mapping[str, str]) -> str | None:
        """What the template's `version` command prints last in its first line; None without such a command."""
        return program_version(self._command.version, env) if self._command.version else None

    def install_hint(self) -> str:
        """How to install it."""
        return f"see the program's own instructions ({self._command.command[0]!r} must be on the PATH)"

    def launch(self, context: StageContext) -> Launch:
        """The template with its placeholders filled in; other braces stay as they are."""
        values = {
            "prompt_file": str(context.prompt_file),
            "base_url": context.base_url,
            "model": context.model.name,
            **_folders(context),
            "session": context.session_id or "",
            "api_key": context.api_key,
        }

        def fill(template: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values[found[1]], template)

        env = clean_env(context) | {key: fill(value) for key, value in self._command.env.items()}
        program, *arguments = (fill(part) for part in self._command.command)
        argv = (require_program(program, env, self.install_hint()), *arguments)
        stdin = context.prompt_file if self._command.stdin else None
        return Launch(argv=argv, env=env, cwd=context.worktree, stdin_file=stdin)

    def reader(self, context: StageContext) -> "CommandReader":
        """A fresh reader for one run."""
        return CommandReader(_files(self._command, context))


def _folders(context: StageContext) -> dict[str, str]:
    folders = {"worktree": context.worktree, "home": context.home, "tmp": context.tmp, "logs": context.logs}
    return {name: str(folder) for name, folder in folders.items()}


def _files(command: CommandAgent, context: StageContext) -> HarnessFiles | None:
    """The files in which the command tells about stages of its own; paths count from the worktree."""
    if command.telemetry is None:
        return None
    folders = _folders(context)

    def fill(template: str) -> Path:
        return context.worktree / _PLACEHOLDER.sub(lambda found: folders[found[1]], template)

    return HarnessFiles(command.telemetry, fill)


class CommandReader:
    """Keeps the end of standard output: the answer, as far as anybody can tell. Of a harness it follows the files."""

    def __init__(self, files: HarnessFiles | None = None) -> None:
        self.unparsed = 0
        self._tail = b""
        self._files = files

    def feed(self, data: bytes) -> Sequence[Event]:
        """That something was written."""
        # Four bytes are the longest UTF-8 character, so this many always hold the characters that are kept.
        self._tail = (self._tail + data)[-4 * MAX_TEXT_CHARS :] if data else self._tail
        return (OutputSeen(size_bytes=len(data)),) if data else ()

    def poll(self) -> Sequence[Event]:
        """What a harness's files tell; other commands have none."""
        return tuple(self._files.poll()) if self._files else ()

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """Such a program has its exit code to tell its end by, and a harness the last run that it wrote about."""
        if self._files is not None:
            self._files.finish()
            self.unparsed = self._files.faults
        reasons = {0: EndReason.FINISHED, None: EndReason.NO_FINAL_EVENT}
        killed = exit_code is not None and exit_code < 0
        reason = EndReason.NO_FINAL_EVENT if killed else reasons.get(exit_code, EndReason.ERROR)
        final = storable(self._tail.decode("utf-8", "replace")).strip()
        run = self._files.run if self._files else None
        return AgentEnded(reason=reason, exit_code=exit_code, final_text=final, run=run)
