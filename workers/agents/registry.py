"""Which agents there are: adding one is a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.domain.errors import NotFound
from orchestrator.domain.experiment import CommandAgent
from workers.agents.aider import Aider
from workers.agents.base import AgentAdapter
from workers.agents.claude import Claude
from workers.agents.codex import Codex
from workers.agents.command import Command
from workers.agents.mini import Mini
from workers.agents.opencode import Opencode
from workers.agents.openhands import Openhands
from workers.agents.reference import Reference
from workers.agents.vibe import Vibe

_BUILT_IN: tuple[AgentAdapter, ...] = (
    Opencode(),
    Codex(),
    Claude(),
    Mini(),
    Aider(),
    Vibe(),
    Openhands(),
    Reference(),
)
_ADAPTERS: Mapping[str, AgentAdapter] = MappingProxyType({built_in.name: built_in for built_in in _BUILT_IN})


def names() -> tuple[str, ...]:
    """Names of the agents that come with Bakeoff, sorted."""
    return tuple(sorted(_ADAPTERS))


def adapter(name: str, command: CommandAgent | None = None) -> AgentAdapter:
    """The adapter called `name`; `command` is the experiment's own agent of that name and goes first.

    Raises NotFound with the known names.
    """
    if command is not None:
        return Command(name, command)
    if name not in _ADAPTERS:
        raise NotFound(f"no agent {name!r}; there are {', '.join(names())}, and those under 'agents' in the file")
    return _ADAPTERS[name]
