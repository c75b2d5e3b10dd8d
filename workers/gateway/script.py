"""The file format of scripted models: what the model server that ships with the product says, does and breaks.

    models:
      good-model:                     # a model name, or "*" for every other name
        - match: {prompt: "greeting"} # a rule; the first rule that matches the conversation plays
          turns:
            - bash: cat hello.py
            - write: {path: NOTES.md, content: "# Notes\n"}
            - say: Done.

Turn n answers the request that carries n tool results; see docs/reference/scripted-models.md.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.domain.durations import Seconds, parse_duration_seconds
from orchestrator.domain.errors import Fault, InvalidInput

ErrorName = Literal["rate_limit", "usage_limit", "quota", "auth", "overloaded", "server", "context_overflow"]


def _check_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_check_regex)]


# Not the experiment file's base class: this program starts for every demo, and that import costs it a tenth.
class Model(BaseModel):
    """Base of the script's values: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(Model):
    """When a rule plays. All given conditions must hold; texts are compared without regard to case."""

    prompt: str | None = Field(None, description="Text that the first or the last user message contains.")
    first: str | None = Field(None, description="Text that the first user message contains.")
    last: str | None = Field(None, description="Text that the last user message contains.")
    regex: Regex | None = Field(None, description="Pattern found in the first or the last user message.")
    stage: str | None = Field(None, description="`stage: NAME` in the first user message, or in the URL.")


class Usage(Model):
    """Token counts that the answer states instead of estimated ones. `prompt_tokens` includes cached ones."""

    prompt_tokens: int | None = Field(None, ge=0)
    completion_tokens: int | None = Field(None, ge=0)
    cached_tokens: int | None = Field(None, ge=0)
    reasoning_tokens: int | None = Field(None, ge=0)


class ErrorFault(Model):
    """An HTTP error instead of an answer, in the shape of the protocol that was asked."""

    kind: ErrorName
    status: int | None = Field(None, ge=400, le=599, description="Default: what real providers send for the kind.")
    retry_after: Seconds | None = Field(None, description="Sets the headers that tell the reset; none by default.")
    times: int | None = Field(None, ge=1, description="Requests of a conversation that fail; default: all.")


class WriteFile(Model):
    """A file that the turn writes, relative to the agent's working directory."""

    path: str = Field(min_length=1)
    content: str


class Turn(Model):
    """One answer. `say` alone ends the agent's run; with `bash` or `write` it is the text before the tool call."""

    say: str | None = None
    bash: str | None = Field(None, min_length=1, description="A shell command. {{turn}} becomes the turn's number.")
    write: WriteFile | None = None
    usage: Usage = Usage()
    delay: Seconds | None = Field(None, description="Wait before the first byte.")
    repeat: Annotated[int, Field(ge=1)] | Literal["forever"] = Field(1, description="How many turns it stands for.")
    error: ErrorFault | None = None
    silence: Literal["start", "mid"] | None = Field(None, description="Never finish the answer: at once, half-way.")
    half_stream: bool | Annotated[int, Field(ge=1)] = Field(
        False, description="Cut the connection half-way: always, or this many times per conversation."
    )
    served_as: str | None = Field(None, description="Model name that the answer carries.")

    @model_validator(mode="after")
    def _has_action(self) -> "Turn":
        if self.bash is not None and self.write is not None:
            raise ValueError("one of 'bash' and 'write'")
        acts = (self.say, self.bash, self.write) != (None, None, None)
        always_fails = (self.error is not None and self.error.times is None) or self.silence == "start"
        if not acts and not always_fails:
            raise ValueError("one of 'say', 'bash', 'write', or an 'error' without 'times', or 'silence: start'")
        return self


class Rule(Model):
    """A conversation: when it plays and its turns. Values here are defaults of every turn."""

    match: Match = Match()
    turns: tuple[Turn, ...] = Field(min_length=1)
    served_as: str | None = Field(None, description="Model name that the answers carry.")
    grow: int | None = Field(None, ge=1, description="Reported prompt tokens grow by this many per turn.")
    delay: Seconds | None = Field(None, description="Wait before the first byte of each turn.")
    count_from: Literal["start", "last_prompt"] = Field(
        "start", description="Count tool results from the conversation's start or from the last user prompt."
    )

    @model_validator(mode="after")
    def _only_last_is_endless(self) -> "Rule":
        if any(turn.repeat == "forever" for turn in self.turns[:-1]):
            raise ValueError("'repeat: forever' only in the last turn: later ones would never play")
        return self

    def turn(self, number: int) -> Turn:
        """Turn `number` (from 0); behind the last one a short closing text."""
        for turn in self.turns:
            if turn.repeat == "forever" or number < turn.repeat:
                return turn
            number -= turn.repeat
        return Turn(say="Done.")


def _check_window(value: str) -> str:
    parse_duration_seconds(value)
    return value


class Quota(Model):
    """A quota window over all requests to the server. Answers state how much of it is used."""

    window: Annotated[str, AfterValidator(_check_window)] = Field("5h", description="The window that it stands for.")
    length: Seconds = Field(description="How long it really is: a window of hours may pass in seconds.")
    requests: int = Field(ge=1, description="Requests in it; further ones meet the usage limit until its reset.")


class Script(Model):
    """A script file: rules by model name. `*` answers for every model that is not named."""

    about: str = ""
    quota: Quota | None = None
    at_once: int | None = Field(
        None, ge=1, description="Requests answered at a time; further ones meet a rate limit that names no reset."
    )
    models: Mapping[str, tuple[Rule, ...]] = Field(min_length=1)


def load_script(path: Path) -> Script:
    """Read and check a script file. Raises InvalidInput with every fault and its line."""
    try:
        data = YAML().load(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput([Fault(file=str(path), field="", message=error.strerror or "cannot be read")]) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput([_yaml_fault(path, error)]) from None
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        raise InvalidInput([_fault(path, data, item) for item in _causes(error)]) from None


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """The faults without those that follow from others: a list counts as too short when its items are wrong."""
    found = error.errors(include_url=False)
    within = {item["loc"][:depth] for item in found for depth in range(len(item["loc"]))}
    return [item for item in found if item["type"] != "too_short" or item["loc"] not in within]


def _yaml_fault(path: Path, error: Exception) -> Fault:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = error.problem if isinstance(error, MarkedYAMLError) else None
    line = mark.line + 1 if mark else None
    return Fault(file=str(path), field="", message=f"not YAML: {problem or error}", line=line)


def _fault(path: Path, data: object, item: ErrorDetails) -> Fault:
    place, found = item["loc"], item.get("input")
    plain = isinstance(found, str | int | float | bool) or found is None
    return Fault(
        file=str(path),
        field=".".join(str(part) for part in place),
        message=item["msg"].removeprefix("Value error, "),
        line=_line(data, place),
        found=repr(found) if plain and item["type"] != "missing" else None,
    )


def _line(data: object, place: Sequence[int | str]) -> int | None:
    """Line of the deepest part of `place` that the file really has."""
    line: int | None = None
    for part in place:
        marks = getattr(data, "lc", None)
        if marks is None:
            break
        try:
            # ruamel keeps (line, column, ...) of each key or item, from 0.
            line = int(marks.data[part][0]) + 1
            data = data[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
    return line
