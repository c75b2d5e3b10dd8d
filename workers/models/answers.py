"""Answers of model servers as values, and careful reading of what is in them: anybody may sit behind a URL."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from workers.gateway.jsonvalues import JsonObject, count, items, text


class Answer(NamedTuple):
    """The answer to one GET. `status` is None when there was none; `fault` says why not."""

    status: int | None
    body: str = ""
    server: str = ""  # the Server header
    fault: str = ""
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is a good answer."""
        return self.status is not None and 200 <= self.status < 300

    def json(self) -> object:
        """The JSON value of a body of any status; None when it has none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def fields(self) -> JsonObject:
        """The JSON object of a good answer; empty when there is none."""
        value = self.json() if self.ok else None
        return value if isinstance(value, dict) else {}


Answers = Mapping[str, Answer]
MISSING = Answer(None)


def objects(value: JsonObject, key: str) -> list[JsonObject]:
    """The objects of the list under `key`."""
    return [one for one in items(value, key) if isinstance(one, dict)]


def size(value: JsonObject, key: str) -> int | None:
    """The size from 1 under `key`. Servers write 0 for what they do not know yet."""
    return count(value, key) or None


def names(value: JsonObject, *keys: str) -> tuple[str, ...]:
    """The texts under the keys, each once."""
    return tuple(dict.fromkeys(found for key in keys if (found := text(value, key)) is not None))


# A sample of the text format: name, labels in braces, value.
# https://prometheus.io/docs/instrumenting/exposition_formats/
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^\n]*\})?[ \t]+([^\s]+)", re.MULTILINE | re.ASCII)


def gauge(metrics: Answer, name: str) -> int | None:
    """The sum of a gauge's samples over all labels; None without any, or when they make no count."""
    found = list(_samples(metrics.body, name)) if metrics.ok else []
    total = math.fsum(found)
    return round(total) if found and math.isfinite(total) and total >= 0 else None


def _samples(body: str, name: str) -> Iterator[float]:
    for found in _SAMPLE.finditer(body):
        if found[1] == name:
            try:
                yield float(found[2])
            except ValueError:
                yield math.nan
