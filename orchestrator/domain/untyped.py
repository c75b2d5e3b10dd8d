"""Untyped JSON read as typed values: a missing or wrong field is None or empty, never an exception."""

import json
import math
from collections.abc import Mapping

# Answers longer than this are cut at the front: the end says how a stage ended, and rows must stay storable.
MAX_TEXT_CHARS = 65_536
# json.loads would first guess the encoding of every line: a quarter of the time for short ones.
_DECODER = json.JSONDecoder()


def parse_object(data: bytes) -> Mapping[str, object] | None:
    """The JSON object in `data`; None when it is anything else."""
    try:
        value: object = _DECODER.decode(str(data, "utf-8"))
    except (ValueError, RecursionError):  # RecursionError: a line of ten thousand brackets
        return None
    return value if isinstance(value, dict) else None


def pick(value: object, *path: str) -> object:
    """The value at `path` in nested objects; None where the path ends early."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object, *path: str) -> str:
    """The text at `path`, empty when there is none; at most `MAX_TEXT_CHARS`, storable in any database."""
    found = pick(value, *path)
    return storable(found) if isinstance(found, str) else ""


def storable(value: str) -> str:
    """`value` cut to its last `MAX_TEXT_CHARS`, without NUL (PostgreSQL refuses it) and lone surrogates."""
    value = value[-MAX_TEXT_CHARS:]
    if value.isascii():
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def number(value: object, *path: str) -> float | None:
    """The finite number at `path`."""
    return _finite(pick(value, *path))


def _finite(found: object) -> float | None:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        result = float(found)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def count(value: object, *path: str) -> int | None:
    """The count (0 or more) at `path`."""
    found = pick(value, *path)
    if type(found) is not int:  # exactly: True is an int too
        found = _finite(found)
    return int(found) if found is not None and 0 <= found < 2**53 else None


def usd_micros(value: object, *path: str) -> int | None:
    """US dollars at `path` in micro-dollars."""
    found = _finite(pick(value, *path))
    return round(found * 1e6) if found is not None and 0 <= found < 2**40 else None
