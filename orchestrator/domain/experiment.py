"""The experiment file as values: what a user submits. Reading it from YAML is `orchestrator.files`' part."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.domain.durations import Seconds
from orchestrator.domain.limits import Limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value) or ".." in value or value.endswith(".lock"):
        raise ValueError("1-64 letters, digits, '.', '_' or '-', beginning with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_check_name)]


class Model(BaseModel):
    """Base of every file model: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(Model):
    """A named check: a shell command of the user's, run in a clean checkout of the final commit. Exit 0 = pass."""

    run: str = Field(min_length=1)
    timeout: Seconds = 300.0


def _as_check(value: object) -> object:
    return {"run": value} if isinstance(value, str) else value


class Target(Model):
    """A repository at a base, with its task and its checks. Exactly one of `repo` and `worktree`."""

    name: Name | None = Field(None, description="Default: the last part of the path.")
    repo: str | None = Field(None, description="Local path or URL of a git repository.")
    worktree: str | None = Field(None, description="An existing clean worktree; its HEAD is the base.")
    base: str = Field("HEAD", description="Branch, tag or commit; pinned to a full SHA at submit.")
    task: str | None = Field(None, description="Path of the task file, which must exist at the base.")
    prompt: str | None = Field(None, description="The task as text, instead of a file.")
    setup: str | None = Field(None, description="Shell command that prepares a fresh worktree.")
    checks: Mapping[Name, Annotated[Check, BeforeValidator(_as_check)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Target":
        if (self.repo is None) == (self.worktree is None):
            raise ValueError("exactly one of 'repo' and 'worktree'")
        if (self.task is None) == (self.prompt is None):
            raise ValueError("exactly one of 'task' (a file at the base) and 'prompt' (text)")
        return self

    @property
    def source(self) -> str:
        """The path or URL that the target names."""
        return self.repo or self.worktree or ""

    @property
    def label(self) -> str:
        """The target's name in every table."""
        if self.name:
            return self.name
        tail = self.source.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
        return re.sub(r"[^A-Za-z0-9._-]", "-", tail).strip("-.") or "target"


class Profile(Model):
    """Which agent and which model does which stage. Written `opus` it means that model for both."""

    reasoning: str = Field(description="Model of the stages that plan and judge.")
    build: str = Field(description="Model of the stages that edit.")
    agent: str | None = Field(None, description="Default: the experiment's agent.")
    env: Mapping[str, str] = Field(default_factory=dict, description="Extra environment of the agent.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"reasoning": value, "build": value}
        if isinstance(value, dict) and "model" in value:
            rest = {key: item for key, item in value.items() if key != "model"}
            return {"reasoning": value["model"], "build": value["model"], **rest}
        return value

    def models(self) -> tuple[str, ...]:
        """The distinct models, in the order in which a run first needs them."""
        return tuple(dict.fromkeys((self.reasoning, self.build)))


class CommandAgent(Model):
    """Any program as agent. Placeholders in `command` and `env`: {prompt_file} {base_url} {model} {worktree}
    {session} {api_key}; the prompt is also given on standard input unless `stdin` is false."""

    command: tuple[str, ...] = Field(min_length=1)
    env: Mapping[str, str] = Field(default_factory=dict)
    stdin: bool = True
    version: tuple[str, ...] | None = Field(None, description="Command that prints the version.")


LoopName = Literal["single", "staged"]


class Loop(Model):
    """How stages follow each other. Written `staged` it means the defaults of that loop."""

    kind: LoopName = "single"
    max_builds: int = Field(3, ge=1, description="staged: BUILD stages before the run ends as it stands.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class Experiment(Model):
    """One experiment file: targets x profiles x swept parameters x repeats."""

    experiment: Name = Field(description="The experiment's name; submitting again under it extends it.")
    fleet: str = Field("fleet.toml", description="Fleet file, relative to this file.")
    agent: str = "opencode"
    agents: Mapping[Name, CommandAgent] = Field(default_factory=dict, description="Your own agents.")
    loop: Loop = Loop()
    repeats: int = Field(1, ge=1, le=1000)
    seed: int = 0
    targets: tuple[Target, ...] = Field(min_length=1)
    profiles: Mapping[Name, Profile] = Field(min_length=1)
    limits: Mapping[str, Any] = Field(
        default_factory=dict, description="Any limit; a list of values makes it a swept axis."
    )
    include: tuple[Mapping[str, Any], ...] = Field((), description="Keep only cells that match one of these.")
    exclude: tuple[Mapping[str, Any], ...] = Field((), description="Drop cells that match one of these.")

    def agent_of(self, profile: Profile) -> str:
        """The agent that a profile uses."""
        return profile.agent or self.agent


def limit_names() -> tuple[str, ...]:
    """The names that `limits` accepts, loop parameters included."""
    return (*Limits.model_fields, "max_builds")
