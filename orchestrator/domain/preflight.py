"""Question and answer between `submit` and the machine that looks at repositories and agents."""

from collections.abc import Mapping

from orchestrator.domain.experiment import CommandAgent, Model


class TargetQuestion(Model):
    """A target as the file names it."""

    label: str
    source: str
    worktree: bool
    base: str
    task: str | None
    prompt: str | None


class Question(Model):
    """Everything to look at. `agents` by name, with the command of those that the file defines itself."""

    targets: tuple[TargetQuestion, ...]
    agents: Mapping[str, CommandAgent | None]


class TargetAnswer(Model):
    """A target, pinned."""

    sha: str
    task_text: str


class AgentAnswer(Model):
    """Whether an agent is installed here, its version (None = unknown), how to install it, and what it speaks."""

    installed: bool
    version: str | None
    hint: str
    protocols: tuple[str, ...]  # wire protocols, preferred first


class Problem(Model):
    """What is wrong with a target: its field, and what was found."""

    label: str
    field: str
    message: str
    found: str | None = None


class Answer(Model):
    """The machine's answer."""

    targets: Mapping[str, TargetAnswer]
    agents: Mapping[str, AgentAnswer]
    problems: tuple[Problem, ...]
    prompts_hash: str
