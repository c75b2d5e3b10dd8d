"""The experiment file as values: what a user submits. Reading it from YAML is `orchestrator.files`' part."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainValidator, model_validator
from pydantic.functional_serializers import PlainSerializer

from orchestrator.domain.base import InsidePath, Model, Name, Text
from orchestrator.domain.campaign import Then
from orchestrator.domain.check import Check
from orchestrator.domain.durations import compact_duration
from orchestrator.domain.limits import Limits
from orchestrator.domain.race import Race
from orchestrator.domain.tampering import TamperPolicy, check_glob

BUILT_IN_AGENTS = (
    "opencode", "codex", "claude", "gemini", "qwen", "pi", "mini", "aider", "vibe", "openhands", "reference",
)  # fmt: skip

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/\s]+@[^/\s:]+:")
_REMOTE_SCHEMES = ("https://", "http://", "ssh://", "git://", "file://")
# The published shapes of provider and forge keys. Values of `env` are stored with every job.
_KEY_SHAPE = re.compile(r"(?:sk-|ghp_|gho_|github_pat_|glpat-|hf_|xox[abp]-|AKIA|AIza)[A-Za-z0-9_-]{12,}")


def _check_env(env: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in env.items():
        if not name or "=" in name:
            raise ValueError("names of environment variables, without '='")
        if _KEY_SHAPE.search(value):
            raise ValueError(f"no keys in files: {name} looks like one; accounts name theirs as env:VARIABLE")
    return env


def is_remote(source: str) -> bool:
    """Whether a repository is named by a URL (or `user@host:path`) and not by a local path."""
    return _REMOTE.match(source) is not None


def _check_repo(value: str) -> str:
    if not value or value.startswith("-") or "::" in value.split("/", 1)[0]:
        raise ValueError("a local path, or a https, ssh or file URL")
    if "://" in value and not value.startswith(_REMOTE_SCHEMES):
        raise ValueError("a local path, or a https, ssh or file URL")
    if re.match(r"https?://[^/@]*@", value):
        raise ValueError("a URL without user or password; git's own credential helper supplies those")
    return value


def _check_revision(value: str) -> str:
    if not value or value.startswith("-") or re.search(r"[\s~^:?*\[\\]|\.\.", value):
        raise ValueError("a branch, a tag or a commit")
    return value


RepoSource = Annotated[str, AfterValidator(_check_repo)]
Env = Annotated[Mapping[str, str], AfterValidator(_check_env)]

Scalar = str | int | float | bool | None


class Target(Model):
    """A repository at a base, with its task and its checks. Exactly one of `repo` and `worktree`."""

    name: Name | None = Field(None, description="Default: the last part of the path.")
    repo: RepoSource | None = Field(None, description="Local path or URL of a git repository.")
    worktree: RepoSource | None = Field(None, description="An existing clean worktree; its HEAD is the base.")
    base: Annotated[str, AfterValidator(_check_revision)] = Field(
        "HEAD", description="Branch, tag or commit; pinned to a full SHA at submit."
    )
    task: InsidePath | None = Field(None, description="Path of the task file, which must exist at the base.")
    prompt: Text | None = Field(None, description="The task as text, instead of a file.")
    setup: Text | None = Field(None, description="Shell command that prepares a fresh worktree.")
    checks: Mapping[Name, Check] = Field(default_factory=dict, description="Commands that tell whether it worked.")
    plan: Text | None = Field(
        None, description="tasks: file with the tasks, the same for every profile; relative to this file."
    )
    protected: tuple[Annotated[str, AfterValidator(check_glob)], ...] = Field(
        (), description="Globs of paths that the agent shall leave alone, beside tests, build files and the like."
    )
    tampering: TamperPolicy = Field(
        TamperPolicy.REPORT, description="What follows when it did not: report, fail, or restore before the checks."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Target":
        if (self.repo is None) == (self.worktree is None):
            raise ValueError("exactly one of 'repo' and 'worktree'")
        if (self.task is None) == (self.prompt is None):
            raise ValueError("exactly one of 'task' (a file at the base) and 'prompt' (text)")
        if self.worktree is not None and "base" in self.model_fields_set:
            raise ValueError("no 'base' beside 'worktree': the worktree's HEAD is the base")
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
        tail = re.split(r"[/:]", self.source.rstrip("/"))[-1].removesuffix(".git")
        return re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", tail).strip("-._")[:64].removesuffix(".lock") or "target"


class Profile(Model):
    """Which agent and which model does which stage. Written `opus` it means that model for both."""

    reasoning: str = Field(description="Model of the stages that plan and judge.")
    build: str = Field(description="Model of the stages that edit.")
    agent: str | None = Field(None, description="Default: the experiment's agent.")
    env: Env = Field(default_factory=dict, description="Extra environment of the agent.")
    prompts: Mapping[Name, Text] = Field(default_factory=dict, description="As the experiment's, for this profile.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if isinstance(value, str):
            return {"reasoning": value, "build": value}
        if isinstance(value, dict) and "model" in value:
            if "reasoning" in value or "build" in value:
                raise ValueError("either 'model' (for every stage) or 'reasoning' and 'build'")
            rest = {key: item for key, item in value.items() if key != "model"}
            return {"reasoning": value["model"], "build": value["model"], **rest}
        return value

    def models(self) -> tuple[str, ...]:
        """The distinct models, in the order in which a run first needs them."""
        return tuple(dict.fromkeys((self.reasoning, self.build)))


def _check_job_path(value: str) -> str:
    inside = re.sub(r"^\{(worktree|home|tmp|logs)\}/", "", value)
    if not inside or inside.startswith(("/", "~", "{")) or ".." in inside.split("/") or "\0" in inside:
        raise ValueError("a path in the worktree, or one that begins with {worktree}/, {home}/, {tmp}/ or {logs}/")
    return value


JobPath = Annotated[str, AfterValidator(_check_job_path)]


class Telemetry(Model):
    """Files in which a harness tells about the stages that it runs by itself. They are read while it writes them."""

    iterations: JobPath | None = Field(None, description="JSON lines: one for each stage that ended.")
    runs: JobPath | None = Field(None, description="JSON lines: one for each run that ended.")
    state: JobPath | None = Field(None, description="A JSON object that is written anew: what it is at.")


class CommandAgent(Model):
    """Any program as agent. Placeholders in `command` and `env`: {prompt_file} {base_url} {model} {worktree} {home}
    {tmp} {logs} {session} {api_key}; the prompt is also given on standard input unless `stdin` is false."""

    command: tuple[str, ...] = Field(min_length=1)
    env: Env = Field(default_factory=dict)
    stdin: bool = Field(True, strict=True)
    version: tuple[str, ...] | None = Field(None, min_length=1, description="Command that prints the version.")
    telemetry: Telemetry | None = Field(None, description="What a harness writes about its own stages.")


LoopName = Literal["single", "staged", "tasks", "external"]
# What each loop reads; anything else would be measured without an effect.
LOOP_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "single": (),
    "external": (),
    "staged": ("max_builds",),
    "tasks": (
        "max_decompose_depth",
        "max_rejects",
        "max_check_repairs",
        "investigate_batch_size",
        "verify_batch_size",
    ),
}


class Loop(Model):
    """How stages follow each other. Written `staged` it means the defaults of that loop."""

    kind: LoopName = "single"
    max_builds: int = Field(
        3, ge=1, le=1000, strict=True, description="staged: BUILD stages before the run ends as it stands."
    )
    max_decompose_depth: int = Field(
        3, ge=0, le=20, strict=True, description="tasks: how often a task may be split again."
    )
    max_rejects: int = Field(
        2, ge=1, le=100, strict=True, description="tasks: refusals of a task before it is split, or given up."
    )
    max_check_repairs: int = Field(
        2, ge=0, le=100, strict=True, description="tasks: repair tasks that failing checks may add behind the plan."
    )
    investigate_batch_size: int = Field(
        5, ge=1, le=1000, strict=True, description="tasks: tasks that one INVESTIGATE stage gets."
    )
    verify_batch_size: int = Field(
        5, ge=1, le=1000, strict=True, description="tasks: tasks that one VERIFY stage gets."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value


def _freeze(value: object) -> Scalar | tuple[Scalar, ...]:
    """A scalar, or a list of scalars as a tuple."""
    if isinstance(value, list | tuple):
        scalars = tuple(item for item in value if isinstance(item, get_args(Scalar)))
        if len(scalars) == len(value):
            return scalars
    elif isinstance(value, str | int | float) or value is None:
        return value
    raise ValueError("a value, or a list of values")


OneOrMore = Annotated[
    Scalar | tuple[Scalar, ...],
    PlainValidator(_freeze, json_schema_input_type=Scalar | list[Scalar]),
    PlainSerializer(lambda value: value),  # the union's own one warns of lists, although it writes them well
]
Rule = Mapping[str, OneOrMore]


class Experiment(Model):
    """One experiment file: targets x profiles x swept parameters x repeats."""

    experiment: Name = Field(description="The experiment's name; submitting again under it extends it.")
    fleet: Text = Field("fleet.toml", description="Fleet file, relative to this file.")
    agent: str = Field("opencode", description="A built-in agent, or one of `agents`.")
    agents: Mapping[Name, CommandAgent] = Field(default_factory=dict, description="Your own agents.")
    loop: Loop = Loop()
    prompts: Mapping[Name, Text] = Field(
        default_factory=dict, description="Own prompt templates, stage to file; relative to this file."
    )
    repeats: int = Field(1, ge=1, le=1000, strict=True)
    priority: int = Field(
        0,
        ge=-1000,
        le=1000,
        strict=True,
        description="New jobs of a higher priority start first; experiments of the same take turns.",
    )
    seed: int = Field(0, ge=0, lt=2**63, strict=True, description="Of the execution order.")
    race: Race | None = Field(
        None, description="Stop profiles that cannot win; the default runs everything. `{}` takes its defaults."
    )
    then: Then | None = Field(None, description="A second part, on the targets that the first part ranks first.")
    targets: tuple[Target, ...] = Field(min_length=1)
    profiles: Mapping[Name, Profile] = Field(min_length=1)
    limits: Mapping[str, OneOrMore] = Field(
        default_factory=dict, description="Any limit or loop parameter; a list of values makes it a swept axis."
    )
    include: tuple[Rule, ...] = Field((), description="Keep only cells that match one of these.")
    exclude: tuple[Rule, ...] = Field((), description="Drop cells that match one of these.")

    def agent_of(self, profile: Profile) -> str:
        """The agent that a profile uses."""
        return profile.agent or self.agent

    def limit_values(self) -> dict[str, tuple[Scalar, ...]]:
        """The values of every limit that the file names, normalised; two or more make an axis."""
        return {name: tuple(normal_limit(name, one) for one in listed(value)) for name, value in self.limits.items()}

    def axes(self) -> dict[str, tuple[Scalar, ...]]:
        """The swept parameters and their normalised values, in the order of the file."""
        return {name: values for name, values in self.limit_values().items() if isinstance(self.limits[name], tuple)}


def listed(value: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """A value of a limit or rule as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def loop_parameter_names() -> tuple[str, ...]:
    """The parameters of loops, which `limits` accepts too."""
    return tuple(name for name in Loop.model_fields if name != "kind")


def limit_names() -> tuple[str, ...]:
    """The names that `limits` accepts, loop parameters included."""
    return (*Limits.model_fields, *loop_parameter_names())


_DURATIONS = frozenset(
    name for name, field in Limits.model_fields.items() if any(isinstance(m, BeforeValidator) for m in field.metadata)
)


def normal_limit(name: str, value: Scalar) -> Scalar:
    """One value of a limit as the run will see it: durations in seconds, counts as int, None = unlimited.

    Raises ValueError (pydantic's for a bad value) when the limit does not accept the value.
    """
    if isinstance(value, bool) or (isinstance(value, str) and name not in _DURATIONS):
        raise ValueError("a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number")
    holder: BaseModel = (Limits if name in Limits.model_fields else Loop).model_validate({name: value})
    normal = getattr(holder, name)
    return normal if normal is None or isinstance(normal, int | float) else str(normal)


def show_limit(name: str, value: Scalar) -> str:
    """A normalised value as people write it: `5m`, `25`, `unlimited`."""
    if value is None:
        return "unlimited"
    if name in _DURATIONS and isinstance(value, int | float):
        return compact_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
