"""Published leaderboards as plain records with their lines: YAML, of which JSON is a part, and keys given twice."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.domain.untyped import storable
from orchestrator.interop.tally import Tally

_INT, _FLOAT = re.compile(r"[-+]?[0-9]{1,15}"), re.compile(r"[-+]?[0-9]{0,15}\.?[0-9]+(?:e[-+]?[0-9]{1,2})?", re.I)
# A list of models has some hundred entries of some thirty fields.
_MAX_ENTRIES = 20_000

Field = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry as it stands in the file, scalar fields only, and its line."""

    file: str
    line: int
    fields: Mapping[str, Field]

    @property
    def where(self) -> str:
        """Where a person finds it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Board:
    """The entries of a file, those that compare two of them, and what the whole is called, if it says."""

    title: str | None
    entries: tuple[Entry, ...]
    pairs: tuple[Entry, ...]


def read_board(text: str, file: str, tally: Tally) -> Board:
    """A list of entries, or a mapping with `rows`, and perhaps `benchmark` and `pairwise`. Raises InvalidInput."""
    root = _compose(text, file)
    if isinstance(root, SequenceNode):
        return Board(title=None, entries=tuple(_entries(root, file, tally)), pairs=())
    parts = {key.value: node for key, node in root.value} if isinstance(root, MappingNode) else {}
    rows, pairs, title = parts.get("rows"), parts.get("pairwise"), parts.get("benchmark")
    if not isinstance(rows, SequenceNode):
        raise _refused(file, "is no leaderboard: a list of entries is accepted, or a mapping whose 'rows' is one")
    return Board(
        title=str(title.value) if isinstance(title, ScalarNode) else None,
        entries=tuple(_entries(rows, file, tally)),
        pairs=tuple(_entries(pairs, file, tally)) if isinstance(pairs, SequenceNode) else (),
    )


def _compose(text: str, file: str) -> Node:
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(file, f"is not valid YAML: {error.problem}", mark.line + 1 if mark else None) from None
    except (YAMLError, ValueError, OverflowError) as error:
        raise _refused(file, f"is not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise _refused(file, "is nested too deeply for a leaderboard") from None
    if root is None:
        raise _refused(file, "is empty")
    return root


def _entries(rows: SequenceNode, file: str, tally: Tally) -> Iterator[Entry]:
    if len(rows.value) > _MAX_ENTRIES:
        raise _refused(file, f"has {len(rows.value)} entries; at most {_MAX_ENTRIES} are read")
    for node in rows.value:
        line = node.start_mark.line + 1
        if isinstance(node, MappingNode):
            yield Entry(file=file, line=line, fields=_fields(node, file, tally))
        else:
            tally.note("no_entry", f"{file}:{line}", "{rows} items that are no mappings", "left out")


def _fields(node: MappingNode, file: str, tally: Tally) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for key, item in node.value:
        if not (isinstance(key, ScalarNode) and isinstance(item, ScalarNode)):
            continue
        name, value = storable(str(key.value)), _scalar(item)
        if name in fields:
            same = "the same" if fields[name] == value else f"first {fields[name]!r}, then {value!r}"
            found = f"{name} is given twice in one entry: {same}"
            tally.note(
                "key_twice", f"{file}:{key.start_mark.line + 1}", found, "the last, as most readers of YAML do"
            )
        fields[name] = value
    return fields


def _scalar(node: ScalarNode) -> Field:
    text = storable(str(node.value))
    if node.style in ("'", '"'):
        return text
    if text.lower() in ("", "~", "null"):
        return None
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _refused(file: str, message: str, line: int | None = None) -> InvalidInput:
    return InvalidInput([Fault(file=file, field="", message=message, line=line)])
