"""TOML as plain data with lines. tomllib reads the data; a small scanner beside it finds where the keys stand."""

import re
import tomllib

from orchestrator.files.tree import Path, Tree

_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_PLAIN = re.compile(r"[^,\]}\n#]*")
_SKIP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def parse_toml(text: str, tree: Tree) -> None:
    """Fill a tree from TOML text; a fault of syntax is noted in it (tomllib stops at the first)."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _LINE.search(message)
        line = int(place.group(1)) if place else text.count("\n") + 1
        tree.fault((), "is not valid TOML", found=_LINE.sub("", message), line=line)
    except (RecursionError, ValueError) as error:  # nested too deeply; numbers with thousands of digits
        tree.fault((), "is not valid TOML", found=str(error))
    else:
        tree.data = data
        _Scanner(text, tree.lines).run()


class _Scanner:
    """Walks text that tomllib has accepted, and notes the line of every table, key and array item."""

    def __init__(self, text: str, lines: dict[Path, int]) -> None:
        self._text = text
        self._lines = lines
        self._at = 0
        self._line = 1
        self._counted = 0
        self._arrays: dict[Path, int] = {}

    def run(self) -> None:
        """Scan the whole text."""
        table: Path = ()
        self._lines[()] = 1
        while self._skip():
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)

    def _skip(self) -> bool:
        match = _SKIP.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _header(self) -> Path:
        double = self._text.startswith("[[", self._at)
        self._at += 2 if double else 1
        line = self._now()
        path = self._resolve(self._key())
        if double:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._lines.setdefault(path, line)
            path = (*path, self._arrays[path])
        self._lines.setdefault(path, line)
        self._at = self._text.index("]]" if double else "]", self._at) + (2 if double else 1)
        return path

    def _resolve(self, key: tuple[str, ...]) -> Path:
        """A header's path, with the index of the last item of every array of tables on the way."""
        path: Path = ()
        for number, part in enumerate(key):
            path = (*path, part)
            if path in self._arrays and number < len(key) - 1:
                path = (*path, self._arrays[path])
        return path

    def _pair(self, table: Path) -> None:
        line = self._now()
        path = table
        for part in self._key():
            path = (*path, part)
            self._lines.setdefault(path, line)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._skip()
            match = _STRING.match(self._text, self._at) or _BARE.match(self._text, self._at)
            if match is None:
                return tuple(parts)
            raw = match.group()
            parts.append(str(tomllib.loads(f"k = {raw}")["k"]) if raw[0] in "\"'" else raw)
            self._at = match.end()
            self._skip()
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip()
        self._lines.setdefault(path, self._now())
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._items(path, "]")
        elif opening == "{":
            self._items(path, "}")
        else:
            match = _STRING.match(self._text, self._at) or _PLAIN.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1

    def _items(self, path: Path, closing: str) -> None:
        self._at += 1
        index = 0
        while self._skip() and self._text[self._at] != closing:
            if self._text[self._at] == ",":
                self._at += 1
            elif closing == "]":
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
        self._at += 1

    def _now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
