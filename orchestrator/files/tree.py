"""Plain data of a file, with the line of every field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time

from orchestrator.domain.errors import Fault

Data = None | str | int | float | bool | date | time | Sequence["Data"] | Mapping[str, "Data"]
Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """A path as people read it: `targets[1].checks.test.timeout`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass
class Tree:
    """A file that was read: its data (None when it could not be parsed), lines by path, and faults so far."""

    file: str
    data: Data = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, path: Path) -> int | None:
        """The line of a field, or of the nearest enclosing one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def fault(
        self,
        path: Path,
        message: str,
        *,
        found: str | None = None,
        accepted: str | None = None,
        line: int | None = None,
    ) -> None:
        """Note a fault at a field."""
        self.faults.append(
            Fault(
                file=self.file,
                field=dotted(path),
                message=message,
                line=line or self.line_of(path),
                found=found,
                accepted=accepted,
            )
        )

    def get(self, *path: str) -> Data:
        """What lies at a path of keys; None when nothing does."""
        here = self.data
        for part in path:
            here = here.get(part) if isinstance(here, Mapping) else None
        return here


def check_values(tree: Tree) -> None:
    """Note values that neither a command line nor a file can carry: text with NUL or lone surrogates."""
    _check(tree, tree.data, ())


def _check(tree: Tree, value: Data, path: Path) -> None:
    if isinstance(value, str):
        if _unfit(value):
            tree.fault(path, "holds a character that no command can carry", found=ascii(value[:40]))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if _unfit(key):
                tree.fault(path, "has a key with a character that no command can carry", found=ascii(key[:40]))
            _check(tree, item, (*path, key))
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            _check(tree, item, (*path, index))


def _unfit(text: str) -> bool:
    return "\0" in text or (not text.isascii() and any("\ud800" <= char < "\ue000" for char in text))
