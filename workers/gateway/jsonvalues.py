"""Reading untrusted JSON without surprises: every accessor answers None or an empty value instead of raising."""

import json
import math
from collections.abc import Mapping

JsonObject = Mapping[str, object]
_NOTHING: JsonObject = {}


def parse_object(data: bytes | bytearray) -> JsonObject | None:
    """The JSON object in `data`; None when it is anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_objects(data: bytes | bytearray) -> list[JsonObject] | None:
    """The JSON object in `data`, or those in its array; None when it is anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    found = value if isinstance(value, list) else [value]
    return found if all(isinstance(one, dict) for one in found) else None


def child(value: JsonObject, key: str) -> JsonObject:
    """The object under `key`; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else _NOTHING


def items(value: JsonObject, key: str) -> list[object]:
    """The list under `key`; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, list) else []


def text(value: JsonObject, key: str) -> str | None:
    """The non-empty string under `key`."""
    found = value.get(key)
    return found if isinstance(found, str) and found else None


def count(value: JsonObject, key: str) -> int | None:
    """The whole number >= 0 under `key`. Booleans are not numbers."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
        return None
    return int(found)
