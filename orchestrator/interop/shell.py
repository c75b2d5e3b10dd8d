"""Shell assignments as values: what bash would assign, worked out without running anything.

Whatever would run a program, depend on the machine's files or on a variable that nobody set is refused with its line.
"""

import re
from collections.abc import Iterator, Mapping

from orchestrator.domain.errors import InvalidInput
from orchestrator.interop.shell_words import NAME, Assigned, Refused, Value, Words, index, joined

__all__ = ["Assigned", "Value", "read_assignments"]

_DECLARE = frozenset({"export", "readonly", "declare", "typeset"})
_FLAGS = re.compile(r"-[aAgrx]+(?=[ \t])")
# Bash gives these a meaning of their own: splitting, or values that change by themselves.
_SPECIAL = re.compile(
    r"IFS|UID|EUID|PPID|SHELLOPTS|SECONDS|RANDOM|SRANDOM|LINENO|EPOCH\w*|BASH\w*|DIRSTACK|GROUPS|FUNCNAME"
)
_BLANKS = " \t"


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
        except Refused as refused:
            faults.append(refused.fault)
            reader.skip_line()
    if faults:
        raise InvalidInput(faults)
    return reader.assigned


class _Reader(Words):
    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        super().__init__(text, file, environment)
        self._opened = 0  # where the list begins that is being read
        self._readonly: set[str] = set()

    # -- lines and statements --

    def more(self) -> bool:
        """Go to the next statement; False at the end."""
        while True:
            self._blanks()
            if self._peek() == "#":
                self._at = index(self._text, "\n", self._at)
            elif self._peek() and self._peek() in "\n;":
                self._at += 1
            else:
                return self._at < len(self._text)

    def skip_line(self) -> None:
        """Give up on the rest of this line."""
        self._at = index(self._text, "\n", self._at)

    def statement(self) -> None:
        """One assignment, or several behind `export` and the like."""
        self._name = ""
        word = self._take(NAME)
        if word not in _DECLARE:
            self._assignment(word, frozenset())
            return
        flags = {"r"} if word == "readonly" else set()
        self._blanks()
        while found := self._take(_FLAGS):
            flags |= set(found[1:])
            self._blanks()
        while self._peek() not in ("", "\n", ";", "#"):
            self._assignment(self._take(NAME), frozenset(flags), declared=True)
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
            return self._element(old, key, joined(self._word()), add=add)
        if self._peek() == "(":
            as_map = "A" in flags or isinstance(old, Mapping)
            return self._keyed(old if add else None) if as_map else self._list(old if add else None)
        text = joined(self._word())
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
            items[key] = joined(self._word(listed=True))
        return items

    def _inside(self) -> Iterator[None]:
        """Each turn stands at the next element between parentheses."""
        self._opened = self._at
        self._at += 1
        while not self._at_close():
            yield

    def _at_close(self) -> bool:
        """Within parentheses: go to the next element; True, and behind it, at the closing one."""
        while True:
            self._blanks()
            char = self._peek()
            if char == "#":
                self._at = index(self._text, "\n", self._at)
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
            return [joined(pieces)] if pieces else []
        if len(pieces) == 1:
            return pieces[0].text.split()
        if any(piece.split and re.search(r"\s", piece.text) for piece in pieces):
            self._refuse("would be split at its blanks", "quotes around it", self._rest())
        text = joined(pieces)
        return [text] if text or not all(piece.split for piece in pieces) else []
