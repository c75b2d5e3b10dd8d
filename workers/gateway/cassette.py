"""The file format of cassettes: the model traffic of one stage, to be replayed without a provider.

The first line says what the file is, and is written again when an interrupted stage goes on. Each further line is a
`Take`. A request's body is written as how many characters it shares with the one before, and the rest: agents send
the whole conversation again with every turn.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from orchestrator.domain.errors import Fault, InvalidInput
from workers.gateway.conversation import fingerprints, read_request
from workers.gateway.jsonvalues import JsonObject, child, count, parse_object, text

VERSION = 1
SUFFIX = ".jsonl"
# A stage whose traffic is larger is recorded up to here.
MAX_FILE_BYTES = 256 * 1024 * 1024
_PROTOCOLS = {"/chat/completions": "chat", "/messages": "messages", "/responses": "responses"}
# Gemini names the model and the call in the path.
GEMINI_CALL = re.compile(r"/models/([^/]+):(?:generateContent|streamGenerateContent)$")


class End(StrEnum):
    """How an answer ended."""

    WHOLE = "whole"
    BROKEN = "broken"  # the server broke off, or could not be reached
    LEFT = "left"  # the agent went away, or was ended, before the answer did


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a request is recognised by. Its texts are not: they name folders, dates and what tools have printed.

    `tools` is the fingerprint of the tools that are offered; `results` and `answers` are how many tool results and
    messages of the model the conversation holds.
    """

    method: str
    path: str
    model: str = ""
    tools: str = ""
    results: int = 0
    answers: int = 0

    def fits(self, asked: "Shape") -> bool:
        """Whether a request of that shape is this one again; something may stand before the path."""
        mine, other = asdict(self), asdict(asked)
        return str(other.pop("path")).endswith(str(mine.pop("path"))) and mine == other

    def __str__(self) -> str:
        kind = f"with tools {self.tools}" if self.tools else "without tools"
        conversation = (
            f" of {self.model or 'no model'} {kind}, {self.answers} answers and {self.results} tool results"
        )
        return f"{self.method} {self.path}{conversation if self.method == 'POST' else ''}"


@dataclass(frozen=True, kw_only=True)
class Take:
    """One exchange. `status` is None when no answer began. Bodies are text in which other bytes are escaped."""

    shape: Shape
    request: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    end: End = End.WHOLE
    duration_seconds: float = 0.0


def shape_of(method: str, path: str, body: bytes | None) -> Shape:
    """The shape of a request; `path` without its query. A body that cannot be read has no conversation."""
    value = parse_object(body) if body else None
    gemini = GEMINI_CALL.search(path)
    protocol = "gemini" if gemini else next((name for end, name in _PROTOCOLS.items() if path.endswith(end)), None)
    if value is None or protocol is None:
        return Shape(method=method, path=path)
    conversation = read_request(protocol, value, len(body or b""))
    return Shape(
        method=method,
        path=path,
        model=unquote(gemini[1]) if gemini else conversation.model,
        tools=fingerprints(protocol, value)[0],
        results=conversation.results,
        answers=conversation.answers,
    )


def as_text(data: bytes) -> str:
    """Bytes as text that `as_bytes` turns into the same bytes again."""
    return data.decode("utf-8", "surrogateescape")


def as_bytes(words: str) -> bytes:
    """The inverse of `as_text`."""
    return words.encode("utf-8", "surrogateescape")


class CassetteFile:
    """A cassette that is being written. Raises OSError where the file cannot be made or written."""

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="ascii")
        self._before = ""
        self._size = self._file.tell()
        if self._size:
            self._file.write("\n")  # a worker that died may have left half a line
        self._write({"cassette": VERSION, **about})

    def add(self, take: Take) -> None:
        """Write a take; beyond the file's bound only that it is missing."""
        if self._size > MAX_FILE_BYTES:
            return
        same = _shared_start(self._before, take.request)
        self._before = take.request
        self._write({**asdict(take), "request": {"same": same, "rest": take.request[same:]}})
        if self._size > MAX_FILE_BYTES:
            self._write({"stopped": f"the traffic is larger than {MAX_FILE_BYTES} bytes"})

    def close(self) -> None:
        """Nothing follows. Idempotent."""
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        # Escapes keep bytes that are no UTF-8, and a file that any editor opens.
        self._size += self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shared_start(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def load_cassettes(path: Path) -> list[list[Take]]:
    """The takes of a file, or of all files of a folder in the order of their names. Raises InvalidInput."""
    paths = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise InvalidInput([Fault(file=str(path), field="", message=f"no cassette (*{SUFFIX}) in this folder")])
    return [list(_takes(one)) for one in paths]


def _takes(path: Path) -> Iterator[Take]:
    before = ""
    for number, line in enumerate(_lines(path), start=1):
        value = parse_object(line) or {}
        if (number == 1 or "cassette" in value) and value.get("cassette") != VERSION:
            raise _fault(path, number, f"not a cassette of version {VERSION}")
        if "shape" not in value:
            before = ""
            continue
        request = child(value, "request")
        before = before[: count(request, "same") or 0] + (text(request, "rest") or "")
        try:
            yield _take(value, before)
        except (TypeError, ValueError) as error:
            raise _fault(path, number, f"not a take: {error}") from None


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines() or [b""]
    except OSError as error:
        raise InvalidInput([Fault(file=str(path), field="", message=error.strerror or "cannot be read")]) from None


def _take(value: JsonObject, request: str) -> Take:
    shape = child(value, "shape")
    return Take(
        shape=Shape(
            method=text(shape, "method") or "",
            path=text(shape, "path") or "",
            model=text(shape, "model") or "",
            tools=text(shape, "tools") or "",
            results=count(shape, "results") or 0,
            answers=count(shape, "answers") or 0,
        ),
        request=request,
        status=count(value, "status"),
        headers={name: str(told) for name, told in child(value, "headers").items()},
        body=text(value, "body") or "",
        end=End(text(value, "end") or ""),
        duration_seconds=float(str(value.get("duration_seconds", 0.0))),
    )


def _fault(path: Path, line: int, message: str) -> InvalidInput:
    return InvalidInput([Fault(file=str(path), field="", message=message, line=line)])
