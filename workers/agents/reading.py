"""What agents print, read as typed values: their JSON lines, and the usage objects of several protocols."""

import hashlib
import json

from orchestrator.domain.untyped import MAX_TEXT_CHARS, count, number, parse_object, pick, storable, text, usd_micros
from orchestrator.domain.usage import TokenUsage

__all__ = [
    "MAX_TEXT_CHARS",
    "call_signature",
    "chat_usage",
    "count",
    "inclusive_usage",
    "number",
    "parse_object",
    "pick",
    "storable",
    "text",
    "usd_micros",
]

_MAX_SIGNATURE_CHARS = 160


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
