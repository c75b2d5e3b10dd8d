"""Untyped JSON read as typed values: a missing or wrong field is None or empty, never an exception."""

import hashlib
import json
import math
from collections.abc import Mapping

from orchestrator.domain.usage import TokenUsage

# Answers longer than this are cut at the front: the end says how a stage ended, and rows must stay storable.
MAX_TEXT_CHARS = 65_536
_MAX_SIGNATURE_CHARS = 160
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


def call_signature(arguments: object) -> str:
    """Text that is equal for equal arguments: the arguments themselves, or a cut of them with their digest."""
    whole = arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    if len(whole) <= _MAX_SIGNATURE_CHARS:
        return storable(whole)
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{storable(whole[:_MAX_SIGNATURE_CHARS])}… {digest}"


def inclusive_usage(
    *,
    prompt: int | None,
    output: int | None,
    cache_read: int | None,
    cache_write: int | None,
    reasoning: int | None,
) -> TokenUsage:
    """Disjoint kinds from the OpenAI convention: prompt includes cached tokens and output includes reasoning."""
    return TokenUsage(
        input=None if prompt is None else max(0, prompt - (cache_read or 0) - (cache_write or 0)),
        output=None if output is None else max(0, output - (reasoning or 0)),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=reasoning,
    )


def chat_usage(usage: object) -> TokenUsage:
    """The `usage` object of a Chat Completions answer."""
    return inclusive_usage(
        prompt=count(usage, "prompt_tokens"),
        output=count(usage, "completion_tokens"),
        cache_read=count(usage, "prompt_tokens_details", "cached_tokens"),
        cache_write=None,
        reasoning=count(usage, "completion_tokens_details", "reasoning_tokens"),
    )
