"""Friendly words for faults: what was found, what would be accepted, and the name that was probably meant."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.domain.experiment import Profile
from orchestrator.files.tree import Data, Path, Tree

_MAX_FOUND = 60
_MAX_NAMES = 40
_USER_INFO = re.compile(r"//[^/@\s]*@")
# Values that may be secrets are never repeated, not even to the one who wrote them: faults end up in logs.
_SECRET_FIELDS = frozenset({"key", "env", "url", "token", "secret", "password"})

_WORDS: Mapping[str, tuple[str, str]] = {
    "missing": ("is missing", ""),
    "string_type": ("is not text", "text; numbers and true/false need quotes here"),
    "int_type": ("is not a whole number", "a whole number"),
    "int_from_float": ("is not a whole number", "a whole number"),
    "float_type": ("is not a number", "a number"),
    "finite_number": ("is not a finite number", "a finite number"),
    "bool_type": ("is neither true nor false", "true or false"),
    "mapping_type": ("is not a mapping", "a mapping of names to values"),
    "dict_type": ("is not a mapping", "a mapping of names to values"),
    "model_type": ("is not a mapping", "a mapping, see the reference"),
    "tuple_type": ("is not a list", "a list"),
    "string_too_short": ("is empty", "some text"),
    "too_short": ("is empty", "at least one entry"),
    "value_error": ("is not accepted", ""),
}
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "expected": "{}",
    "error": "{}",
}


def show(value: object, path: Path = ()) -> str | None:
    """A value as a fault names it; None (not shown) where it may be a secret."""
    if _SECRET_FIELDS.intersection(str(part) for part in path):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = _USER_INFO.sub("//...@", value)
        return repr(text if len(text) <= _MAX_FOUND else text[: _MAX_FOUND - 3] + "...")
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list" if value else "an empty list"
    return "nothing" if value is None else str(value)[:_MAX_FOUND]


def names(known: Iterable[str], found: str = "") -> str:
    """The names that would be accepted, the one that was probably meant first."""
    listed = list(known)
    near = difflib.get_close_matches(found, listed, n=1, cutoff=0.6)
    shown = ", ".join(listed[:_MAX_NAMES]) + (f" and {len(listed) - _MAX_NAMES} more" if listed[_MAX_NAMES:] else "")
    return f"did you mean {near[0]!r}? Known: {shown}" if near else (shown or "none is defined")


def note_validation(tree: Tree, error: ValidationError, model: type[BaseModel], at: Path = ()) -> None:
    """Note every fault of a pydantic validation, in words. `at` is where the validated data lies in the file."""
    seen = set()
    for detail in error.errors(include_url=False):
        path = _path(tree, (*at, *detail["loc"]))
        if (path, detail["type"]) in seen or (detail["type"] == "too_short" and detail["input"]):
            continue  # a list whose entries are all faulty is not empty
        seen.add((path, detail["type"]))
        if detail["type"] == "extra_forbidden":
            key = str(path[-1])
            accepted = names(_known_keys(model, path[len(at) : -1]), key)
            tree.fault(path, "is not a known key", accepted=accepted)
            continue
        message, wanted, found = describe(detail)
        if path[:1] == ("loop",) and isinstance(found, list):
            wanted = f"{wanted}; a list of them stands under 'limits'"
        tree.fault(path, message, found=None if detail["type"] == "missing" else show(found, path), accepted=wanted)


def describe(detail: ErrorDetails) -> tuple[str, str | None, object]:
    """Message, what would be accepted, and the value found, of one pydantic error."""
    context = detail.get("ctx", {})
    message, accepted = _WORDS.get(detail["type"], ("is not accepted", ""))
    bounds = [text.format(_plain(context[name])) for name, text in _BOUNDS.items() if name in context]
    plain = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    fallback = "" if detail["type"] == "missing" else plain
    return message, accepted or ", ".join(bounds) or fallback or None, detail["input"]


def _plain(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _path(tree: Tree, location: Path) -> Path:
    """Where the user wrote what pydantic complains about."""
    if location and location[-1] == "[key]":
        location = location[:-1]
    if len(location) == 3 and location[0] == "profiles" and location[2] in ("reasoning", "build"):
        written = tree.get("profiles", str(location[1]))
        if isinstance(written, Mapping) and "model" in written:
            return (*location[:2], "model")
    return location


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    here: type[BaseModel] | None = model
    inside = False  # whether the next part is an entry of a list or mapping
    for part in path:
        if inside or here is None:
            inside = False
            continue
        annotation = here.model_fields[str(part)].annotation if str(part) in here.model_fields else None
        here = _inner(annotation)
        # `Mapping[...] | None` holds entries too.
        inside = any(get_origin(one) in (tuple, Mapping) for one in (annotation, *get_args(annotation)))
    keys = list(here.model_fields) if here else []
    return ["model", *keys] if here is Profile else keys


def _inner(annotation: object) -> type[BaseModel] | None:
    """The file model inside an annotation such as `Mapping[Name, Check]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _inner(arg)) is not None), None)


def mapping(value: Data) -> Mapping[str, Data]:
    """A mapping as it is, anything else as an empty one: its fault is reported elsewhere."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Data) -> Sequence[Data]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
