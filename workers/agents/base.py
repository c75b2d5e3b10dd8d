"""What an agent adapter is: how to launch one program, and how to read what it says.

An adapter is stateless; `reader` makes one object per stage that turns the program's output into events.
Adding an agent is one file here, one line in `registry`, one fixture folder and one row in the docs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.domain.events import AgentEnded, Event
from orchestrator.domain.experiment import CommandAgent
from orchestrator.domain.jobspec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Everything that an adapter may know about the stage it launches.

    `base_url` is the gateway's address for this attempt and stage, without `/v1`; the provider's real key is
    never here: agents get `api_key`, a token that only the gateway accepts.
    `session_id` is set when an earlier session is to be resumed; `compact_percent` is the share of the model's window
    from which on an agent that can shall compact its own context. `home`, `tmp` and `logs` belong to this job.
    `host_env` is the machine's environment as the caller hands it over: programs are looked up over its `PATH`
    and little else of it reaches an agent (see `environment.clean_env`); `extra_env` is the user's own.
    """

    worktree: Path
    home: Path
    tmp: Path
    logs: Path
    prompt_file: Path
    base_url: str
    api_key: str
    model: ModelSpec
    stage: str
    session_id: str | None = None
    compact_percent: float = 85.0
    command: CommandAgent | None = None
    extra_env: Mapping[str, str] = field(default_factory=dict)
    host_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command line, its complete environment, and the file on its standard input (None = /dev/null)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stdin_file: Path | None = None


class StreamReader(Protocol):
    """Turns one run's output into events. Malformed input is never an exception: it is skipped and counted."""

    unparsed: int

    def feed(self, data: bytes) -> Sequence[Event]:
        """Events in the next bytes of standard output (any split, also inside a line)."""

    def poll(self) -> Sequence[Event]:
        """Events newly found in the agent's own session files; called about once a second and at the end."""

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        """The adapter's reading of the end. Call once, after the last `feed` and `poll`."""


class AgentAdapter(Protocol):
    """One agent program."""

    name: str
    protocols: tuple[str, ...]  # wire protocols that it can speak, preferred first
    compacts: bool  # whether it compacts its own context at the share it is told

    def version(self, env: Mapping[str, str]) -> str | None:
        """Version of the installed program; None when it is not installed. Never raises for a missing binary."""

    def install_hint(self) -> str:
        """One line that tells a user how to install it."""

    def launch(self, context: StageContext) -> Launch:
        """Write the agent's configuration into the job's own HOME and return how to start it."""

    def reader(self, context: StageContext) -> StreamReader:
        """A fresh reader for one run. Make it before the process starts: what its session files hold by then is
        an earlier stage's and is not told again."""
