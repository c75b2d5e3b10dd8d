"""Words of a shell file: quotes, escapes, variables and their defaults, and what is refused in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from orchestrator.domain.errors import Fault

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WRITE_IT_OUT = "the value itself, written out"


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """What a name got, and the line that gave it. A list is a tuple, an associative array a mapping."""

    value: "Value"
    line: int


Value = str | tuple[str, ...] | Mapping[str, str]


class Piece(NamedTuple):
    """A part of a word. `split` when it came from an expansion without quotes, which a list splits at blanks."""

    text: str
    split: bool = False


class Refused(Exception):
    """A word or line that is not read, with the fault to tell."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


class Words:
    """Reads words from where it stands in a text. `assigned` is what the file has set so far."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.assigned: dict[str, Assigned] = {}
        self._text, self._file, self._environment = text, file, environment
        self._at = 0
        self._name = ""  # what is being assigned, for faults

    # -- words --

    def _subscript(self) -> str:
        self._at += 1
        pieces: list[Piece] = []
        while self._peek() != "]":
            if self._peek() in ("", "\n"):
                self._refuse("has a key without its ']'", '["KEY"]')
            pieces += self._part(listed=False, start=False)
        self._at += 1
        return joined(pieces)

    def _word(self, *, listed: bool = False) -> list[Piece]:
        """Everything up to a blank that is not quoted."""
        pieces: list[Piece] = []
        start = True
        while (char := self._peek()) and char not in " \t\n;" and not (listed and char == ")"):
            part = self._part(listed=listed, start=start)
            pieces += part
            # A line that goes on has not begun the word yet.
            start = (start and not part) or (char == ":" and not listed)
        return pieces

    def _part(self, *, listed: bool, start: bool) -> list[Piece]:
        char = self._peek()
        if char == "'":
            return [self._single()]
        if char == '"':
            return self._double()
        if char == "$":
            return self._expansion(quoted=False)
        if char == "\\":
            return self._escape()
        if char == "~" and start:
            return [self._tilde(listed=listed)]
        if char in "`&|<>()\0\r" or (listed and char in "*?[{"):
            self._refuse_char(char)
        self._at += 1
        return [Piece(char)]

    def _escape(self) -> list[Piece]:
        if self._at + 1 >= len(self._text):
            self._refuse("ends with a backslash", "no backslash at the very end")
        char = self._text[self._at + 1]
        self._at += 2
        return [] if char == "\n" else [Piece(char)]

    def _single(self) -> Piece:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._refuse("opens a single quote that is never closed", "' at its end", to_end=True)
        text = self._text[self._at + 1 : end]
        self._at = end + 1
        return Piece(text)

    def _double(self) -> list[Piece]:
        opened = self._at
        self._at += 1
        pieces = [Piece("")]
        while (char := self._peek()) != '"':
            if not char:
                self._at = opened
                self._refuse("opens a double quote that is never closed", '" at its end', to_end=True)
            pieces += self._quoted(char, '$`"\\')
        self._at += 1
        return pieces

    def _quoted(self, char: str, escapable: str) -> list[Piece]:
        if char == "$":
            return [Piece(piece.text) for piece in self._expansion(quoted=True)]
        if char == "`":
            self._refuse_char(char)
        self._at += 1
        if char != "\\":
            return [Piece(char)]
        after = self._peek()
        if after == "\n":
            self._at += 1
            return []
        if after and after in escapable:
            self._at += 1
            return [Piece(after)]
        return [Piece(char)]

    def _tilde(self, *, listed: bool) -> Piece:
        user = self._take(re.compile(r"~[^/:\s;)'\"$\\`]*"))
        if user != "~" or self._peek() in ("'", '"', "$", "\\", "`") or (listed and self._peek() == ":"):
            self._refuse("names a user's home", "the path itself", user)
        return Piece(self._lookup("HOME"))

    # -- expansions --

    def _expansion(self, *, quoted: bool) -> list[Piece]:
        after = self._text[self._at + 1 : self._at + 2]
        if after == "{":
            return self._braced(quoted=quoted)
        if after == "(" or (after in ("'", '"') and after and not quoted):
            self._refuse_char("$" + after)
        self._at += 1
        name = self._take(NAME)
        if self._text.startswith("\\\n", self._at):
            self._refuse("continues a name on the next line", "the name on one line", f"${name}")
        if name:
            return [Piece(self._lookup(name), not quoted)]
        if after and (after.isdigit() or after in "@*#?$!-"):
            self._refuse("refers to what only a running shell has", _WRITE_IT_OUT, f"${after}")
        return [Piece("$")]

    def _braced(self, *, quoted: bool) -> list[Piece]:
        begin = self._at
        self._at += 2
        name = self._take(NAME)
        key = self._take(re.compile(r"\[(@|\*|[A-Za-z0-9_.-]+)\]"))[1:-1]
        operator = self._take(re.compile(r":?-(?!\})|:?-(?=\})|\}"))
        if not name or not operator:
            end = index(self._text, "}", begin) + 1
            self._refuse(
                "uses a form of ${...} that is not read", "$NAME, ${NAME} or ${NAME:-default}", self._text[begin:end]
            )
        known = self._known(name, key)
        if operator == "}":
            return [Piece(self._lookup(name, key) if known is None else known, not quoted)]
        default = self._default(quoted=quoted)
        if known is None or (operator == ":-" and not known):
            return default
        return [Piece(known, not quoted)]

    def _default(self, *, quoted: bool) -> list[Piece]:
        pieces: list[Piece] = []
        start = not quoted
        while (char := self._peek()) != "}":
            if not char or char in "\n\0\r":
                self._refuse("has a ${ without its }", "'}' at its end")
            if quoted and char == '"':
                self._refuse("has quotes inside of a quoted ${...}", "the default without quotes of its own")
            if quoted:
                pieces += self._quoted(char, '$`"\\}')
            elif char in " \t;&|<>()*?[{":
                pieces.append(Piece(char, split=True))
                self._at += 1
            else:
                pieces += [Piece(p.text, split=char not in "'\"\\") for p in self._part(listed=False, start=start)]
            start = False
        self._at += 1
        return pieces

    def _lookup(self, name: str, key: str = "") -> str:
        known = self._known(name, key)
        if known is None:
            shown = f"${name}" if not key else f"${{{name}[{key}]}}"
            self._refuse(
                "refers to what nobody has set",
                f"a value for it above, in the environment, or ${{{name}:-default}}",
                shown,
            )
        return known

    def _known(self, name: str, key: str = "") -> str | None:
        if name not in self.assigned:
            return None if key else self._environment.get(name)
        value = self.assigned[name].value
        if key in ("@", "*"):
            return " ".join(self._items(name))
        if isinstance(value, Mapping):
            return value.get(key or "0")
        if isinstance(value, str):
            return value if key in ("", "0") else None
        place = int(key) if key.isdigit() else 0 if not key else -1
        return value[place] if 0 <= place < len(value) else None

    def _items(self, name: str) -> list[str]:
        value = self.assigned[name].value if name in self.assigned else None
        if value is None:
            self._refuse("refers to what nobody has set", "a value for it above", f"${{{name}[@]}}")
        return [value] if isinstance(value, str) else list(value.values() if isinstance(value, Mapping) else value)

    # -- characters --

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""

    def _blanks(self) -> None:
        self._take(re.compile(r"(?:[ \t]|\\\n)+"))

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _rest(self) -> str:
        begin = self._text.rfind("\n", 0, self._at) + 1
        return self._text[begin : index(self._text, "\n", self._at)].strip()[:80]

    def _refuse_char(self, char: str) -> NoReturn:
        if char in ("`", "$("):
            self._refuse("would run a command, and nothing is ever run", _WRITE_IT_OUT, self._rest())
        if char == "\r":
            self._refuse("ends its line with CR LF", "LF line ends (dos2unix)")
        shown = {"\0": "a NUL byte"}.get(char, char)
        self._refuse("has a character that means something else without quotes", "quotes around the value", shown)

    def _refuse(self, message: str, accepted: str, found: str | None = None, *, to_end: bool = False) -> NoReturn:
        line = self._line()
        if to_end:
            self._at = len(self._text)
        raise Refused(
            Fault(file=self._file, field=self._name, message=message, line=line, found=found, accepted=accepted)
        )


def joined(pieces: list[Piece]) -> str:
    """The text of all pieces."""
    return "".join(piece.text for piece in pieces)


def index(text: str, char: str, start: int) -> int:
    """Where `char` comes next; the end of the text where it does not."""
    found = text.find(char, start)
    return len(text) if found < 0 else found
