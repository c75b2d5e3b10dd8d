"""Shell assignments as values: what bash would assign, worked out without running anything.

Whatever would run a program, depend on the machine's files or on a variable that nobody set is refused with its line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from orchestrator.domain.errors import Fault, InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DECLARE = frozenset({"export", "readonly", "declare", "typeset"})
_FLAGS = re.compile(r"-[aAgrx]+(?=[ \t])")
# Bash gives these a meaning of their own: splitting, or values that change by themselves.
_SPECIAL = re.compile(
    r"IFS|UID|EUID|PPID|SHELLOPTS|SECONDS|RANDOM|SRANDOM|LINENO|EPOCH\w*|BASH\w*|DIRSTACK|GROUPS|FUNCNAME"
)
_BLANKS = " \t"
_WRITE_IT_OUT = "the value itself, written out"


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """What a name got, and the line that gave it. A list is a tuple, an associative array a mapping."""

    value: "Value"
    line: int


Value = str | tuple[str, ...] | Mapping[str, str]


class _Piece(NamedTuple):
    """A part of a word. `split` when it came from an expansion without quotes, which a list splits at blanks."""

    text: str
    split: bool = False


class _Refused(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


def read_assignments(text: str, file: str, environment: Mapping[str, str]) -> dict[str, Assigned]:
    """Every assignment of a file that consists of nothing else; later ones win.

    `environment` is what `$NAME` may refer to before the file sets it. Raises InvalidInput with every line that is
    not a plain assignment.
    """
    reader = _Reader(text, file, environment)
    faults = []
    while reader.more():
        try:
            reader.statement()
        except _Refused as refused:
            faults.append(refused.fault)
            reader.skip_line()
    if faults:
        raise InvalidInput(faults)
    return reader.assigned


class _Reader:
    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.assigned: dict[str, Assigned] = {}
        self._text, self._file, self._environment = text, file, environment
        self._at = 0
        self._name = ""
        self._opened = 0
        self._readonly: set[str] = set()

    # -- lines and statements --

    def more(self) -> bool:
        """Go to the next statement; False at the end."""
        while True:
            self._blanks()
            if self._peek() == "#":
                self._at = _index(self._text, "\n", self._at)
            elif self._peek() and self._peek() in "\n;":
                self._at += 1
            else:
                return self._at < len(self._text)

    def skip_line(self) -> None:
        """Give up on the rest of this line."""
        self._at = _index(self._text, "\n", self._at)

    def statement(self) -> None:
        """One assignment, or several behind `export` and the like."""
        self._name = ""
        word = self._take(_NAME)
        if word not in _DECLARE:
            self._assignment(word, frozenset())
            return
        flags = {"r"} if word == "readonly" else set()
        self._blanks()
        while found := self._take(_FLAGS):
            flags |= set(found[1:])
            self._blanks()
        while self._peek() not in ("", "\n", ";", "#"):
            self._assignment(self._take(_NAME), frozenset(flags), declared=True)
            self._blanks()

    def _assignment(self, name: str, flags: frozenset[str], declared: bool = False) -> None:
        self._name, line = name, self._line()
        if name and declared and self._peek() in ("", "\n", ";", *_BLANKS):
            self._declare(name, flags, line)
            return
        key = self._subscript() if name and self._peek() == "[" else None
        sign = self._take(re.compile(r"\+?="))
        if not name or not sign:
            self._refuse("is no assignment, and nothing else is read: no line is ever run", "KEY=VALUE", self._rest())
        if _SPECIAL.fullmatch(name):
            self._refuse("has a meaning of its own in bash", "another name")
        if name in self._readonly:
            self._refuse("was declared readonly above", "one value for it")
        value = self._value(name, key, flags, add=sign == "+=")
        if self._peek() not in ("", "\n", ";", *_BLANKS):
            self._refuse("is followed by what is no part of a value", "quotes around the whole value", self._rest())
        self._set(name, flags, value, line)

    def _declare(self, name: str, flags: frozenset[str], line: int) -> None:
        empty: Value | None = {} if "A" in flags else () if "a" in flags else None
        if name in self.assigned:
            self._readonly |= {name} if "r" in flags else set()
        elif empty is not None:
            self._set(name, flags, empty, line)

    def _set(self, name: str, flags: frozenset[str], value: Value, line: int) -> None:
        self.assigned[name] = Assigned(value=value, line=line)
        if "r" in flags:
            self._readonly.add(name)

    # -- values --

    def _value(self, name: str, key: str | None, flags: frozenset[str], *, add: bool) -> Value:
        old = self.assigned[name].value if name in self.assigned else None
        if key is not None:
            return self._element(old, key, _joined(self._word()), add=add)
        if self._peek() == "(":
            as_map = "A" in flags or isinstance(old, Mapping)
            return self._keyed(old if add else None) if as_map else self._list(old if add else None)
        text = _joined(self._word())
        if old is not None and not isinstance(old, str):
            self._refuse("is a list, and gets a single value", f"{name}=(...)")
        return (old or "") + text if add else text

    def _element(self, old: Value | None, key: str, text: str, *, add: bool) -> Value:
        if isinstance(old, Mapping):
            return {**old, key: (old.get(key, "") if add else "") + text}
        items = old if isinstance(old, tuple) else ()
        if isinstance(old, str) or not key.isdigit() or int(key) > len(items):
            self._refuse("sets an element of what is no list here", "'declare -A NAME' first, or NAME=(...)", key)
        place = int(key)
        before = items[place] if add and place < len(items) else ""
        return (*items[:place], before + text, *items[place + 1 :])

    def _list(self, old: Value | None) -> tuple[str, ...]:
        if isinstance(old, str):
            old = (old,)
        items = list(old) if isinstance(old, tuple) else []
        for _ in self._inside():
            if self._peek() == "[":
                self._refuse("has a key in a list", "'declare -A' for keys, or the values alone", self._rest())
            items += self._fields()
        return tuple(items)

    def _keyed(self, old: Value | None) -> Mapping[str, str]:
        items = dict(old) if isinstance(old, Mapping) else {}
        for _ in self._inside():
            if self._peek() != "[":
                self._refuse("needs a key for each value", '["KEY"]="VALUE"', self._rest())
            key = self._subscript()
            if not self._take(re.compile("=")):
                self._refuse("needs a value for each key", '["KEY"]="VALUE"', self._rest())
            items[key] = _joined(self._word(listed=True))
        return items

    def _inside(self) -> "_Elements":
        self._opened = self._at
        self._at += 1
        return _Elements(self)

    def at_close(self) -> bool:
        """Within parentheses: go to the next element; True, and behind it, at the closing one."""
        while True:
            self._blanks()
            char = self._peek()
            if char == "#":
                self._at = _index(self._text, "\n", self._at)
            elif char == "\n":
                self._at += 1
            elif not char:
                self._at = self._opened
                self._refuse("opens a list that is never closed", "')' at its end", to_end=True)
            else:
                self._at += char == ")"
                return char == ")"

    def _fields(self) -> list[str]:
        """A word of a list: what came from expansions without quotes is split at blanks, as bash does."""
        whole = re.compile(r'("?)\$\{([A-Za-z_]\w*)\[@\]\}\1(?=[\s)])').match(self._text, self._at)
        if whole:
            self._at = whole.end()
            items = self._items(whole[2])
            return items if whole[1] else [field for item in items for field in item.split()]
        begin = self._at
        pieces = self._word(listed=True)
        if re.search(r"\[[@*]\]", self._text[begin : self._at]):
            self._refuse(
                "joins a whole list into a word of another", '"${NAME[@]}" as a word of its own', self._rest()
            )
        if not any(piece.split for piece in pieces):
            return [_joined(pieces)] if pieces else []
        if len(pieces) == 1:
            return pieces[0].text.split()
        if any(piece.split and re.search(r"\s", piece.text) for piece in pieces):
            self._refuse("would be split at its blanks", "quotes around it", self._rest())
        text = _joined(pieces)
        return [text] if text or not all(piece.split for piece in pieces) else []

    def _subscript(self) -> str:
        self._at += 1
        pieces: list[_Piece] = []
        while self._peek() != "]":
            if self._peek() in ("", "\n"):
                self._refuse("has a key without its ']'", '["KEY"]')
            pieces += self._part(listed=False, start=False)
        self._at += 1
        return _joined(pieces)

    # -- words --

    def _word(self, *, listed: bool = False) -> list[_Piece]:
        """Everything up to a blank that is not quoted."""
        pieces: list[_Piece] = []
        start = True
        while (char := self._peek()) and char not in " \t\n;" and not (listed and char == ")"):
            part = self._part(listed=listed, start=start)
            pieces += part
            # A line that goes on has not begun the word yet.
            start = (start and not part) or (char == ":" and not listed)
        return pieces

    def _part(self, *, listed: bool, start: bool) -> list[_Piece]:
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
        return [_Piece(char)]

    def _escape(self) -> list[_Piece]:
        if self._at + 1 >= len(self._text):
            self._refuse("ends with a backslash", "no backslash at the very end")
        char = self._text[self._at + 1]
        self._at += 2
        return [] if char == "\n" else [_Piece(char)]

    def _single(self) -> _Piece:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._refuse("opens a single quote that is never closed", "' at its end", to_end=True)
        text = self._text[self._at + 1 : end]
        self._at = end + 1
        return _Piece(text)

    def _double(self) -> list[_Piece]:
        opened = self._at
        self._at += 1
        pieces = [_Piece("")]
        while (char := self._peek()) != '"':
            if not char:
                self._at = opened
                self._refuse("opens a double quote that is never closed", '" at its end', to_end=True)
            pieces += self._quoted(char, '$`"\\')
        self._at += 1
        return pieces

    def _quoted(self, char: str, escapable: str) -> list[_Piece]:
        if char == "$":
            return [_Piece(piece.text) for piece in self._expansion(quoted=True)]
        if char == "`":
            self._refuse_char(char)
        self._at += 1
        if char != "\\":
            return [_Piece(char)]
        after = self._peek()
        if after == "\n":
            self._at += 1
            return []
        if after and after in escapable:
            self._at += 1
            return [_Piece(after)]
        return [_Piece(char)]

    def _tilde(self, *, listed: bool) -> _Piece:
        user = self._take(re.compile(r"~[^/:\s;)'\"$\\`]*"))
        if user != "~" or self._peek() in ("'", '"', "$", "\\", "`") or (listed and self._peek() == ":"):
            self._refuse("names a user's home", "the path itself", user)
        return _Piece(self._lookup("HOME"))

    # -- expansions --

    def _expansion(self, *, quoted: bool) -> list[_Piece]:
        after = self._text[self._at + 1 : self._at + 2]
        if after == "{":
            return self._braced(quoted=quoted)
        if after == "(" or (after in ("'", '"') and after and not quoted):
            self._refuse_char("$" + after)
        self._at += 1
        name = self._take(_NAME)
        if self._text.startswith("\\\n", self._at):
            self._refuse("continues a name on the next line", "the name on one line", f"${name}")
        if name:
            return [_Piece(self._lookup(name), not quoted)]
        if after and (after.isdigit() or after in "@*#?$!-"):
            self._refuse("refers to what only a running shell has", _WRITE_IT_OUT, f"${after}")
        return [_Piece("$")]

    def _braced(self, *, quoted: bool) -> list[_Piece]:
        begin = self._at
        self._at += 2
        name = self._take(_NAME)
        key = self._take(re.compile(r"\[(@|\*|[A-Za-z0-9_.-]+)\]"))[1:-1]
        operator = self._take(re.compile(r":?-(?!\})|:?-(?=\})|\}"))
        if not name or not operator:
            end = _index(self._text, "}", begin) + 1
            self._refuse(
                "uses a form of ${...} that is not read", "$NAME, ${NAME} or ${NAME:-default}", self._text[begin:end]
            )
        known = self._known(name, key)
        if operator == "}":
            return [_Piece(self._lookup(name, key) if known is None else known, not quoted)]
        default = self._default(quoted=quoted)
        if known is None or (operator == ":-" and not known):
            return default
        return [_Piece(known, not quoted)]

    def _default(self, *, quoted: bool) -> list[_Piece]:
        pieces: list[_Piece] = []
        start = not quoted
        while (char := self._peek()) != "}":
            if not char or char in "\n\0\r":
                self._refuse("has a ${ without its }", "'}' at its end")
            if quoted and char == '"':
                self._refuse("has quotes inside of a quoted ${...}", "the default without quotes of its own")
            if quoted:
                pieces += self._quoted(char, '$`"\\}')
            elif char in " \t;&|<>()*?[{":
                pieces.append(_Piece(char, split=True))
                self._at += 1
            else:
                pieces += [_Piece(p.text, split=char not in "'\"\\") for p in self._part(listed=False, start=start)]
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
        return self._text[begin : _index(self._text, "\n", self._at)].strip()[:80]

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
        raise _Refused(
            Fault(file=self._file, field=self._name, message=message, line=line, found=found, accepted=accepted)
        )


class _Elements:
    """The elements between parentheses: each turn stands at the next one."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def __iter__(self) -> "_Elements":
        return self

    def __next__(self) -> None:
        if self._reader.at_close():
            raise StopIteration


def _joined(pieces: list[_Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _index(text: str, char: str, start: int) -> int:
    """Where `char` comes next; the end of the text where it does not."""
    found = text.find(char, start)
    return len(text) if found < 0 else found
