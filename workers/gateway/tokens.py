"""Token counts of the four wire protocols in one meaning: input without cached, output without reasoning tokens."""

from orchestrator.domain.usage import TokenUsage
from workers.gateway.jsonvalues import JsonObject, child, count


def chat_usage(usage: JsonObject) -> TokenUsage | None:
    """Usage of Chat Completions: `prompt_tokens` includes cached, `completion_tokens` includes reasoning."""
    prompt, completion = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    if prompt is None and completion is None:
        return None
    details = child(usage, "prompt_tokens_details")
    cached = count(details, "cached_tokens")
    if cached is None:
        cached = count(usage, "prompt_cache_hit_tokens")
    written = count(details, "cache_write_tokens")
    reasoning = count(child(usage, "completion_tokens_details"), "reasoning_tokens")
    # Some servers count reasoning beside the completion; the stated total tells which.
    beside = count(usage, "total_tokens") == (prompt or 0) + (completion or 0) + (reasoning or 0)
    return TokenUsage(
        input=_without(prompt, cached, written),
        output=completion if beside else _without(completion, reasoning),
        cache_read=cached,
        cache_write=written,
        reasoning=reasoning,
    )


def responses_usage(usage: JsonObject) -> TokenUsage | None:
    """Usage of the Responses API: input includes cached, output includes reasoning."""
    sent, answered = count(usage, "input_tokens"), count(usage, "output_tokens")
    if sent is None and answered is None:
        return None
    cached = count(child(usage, "input_tokens_details"), "cached_tokens")
    reasoning = count(child(usage, "output_tokens_details"), "reasoning_tokens")
    return TokenUsage(
        input=_without(sent, cached), output=_without(answered, reasoning), cache_read=cached, reasoning=reasoning
    )


def messages_usage(usage: JsonObject) -> TokenUsage | None:
    """Usage of Anthropic Messages: input already excludes cached; output includes thinking, told apart or not."""
    sent, answered = count(usage, "input_tokens"), count(usage, "output_tokens")
    if sent is None and answered is None:
        return None
    details = child(usage, "output_tokens_details")
    thinking = count(details, "thinking_tokens")
    if thinking is None:
        thinking = count(details, "reasoning_tokens")
    return TokenUsage(
        input=sent,
        output=_without(answered, thinking),
        cache_read=count(usage, "cache_read_input_tokens"),
        cache_write=count(usage, "cache_creation_input_tokens"),
        reasoning=thinking,
    )


def gemini_usage(usage: JsonObject) -> TokenUsage | None:
    """Usage of Gemini: the prompt includes cached but not what the provider's own tools read; thoughts are beside."""
    prompt, answered = count(usage, "promptTokenCount"), count(usage, "candidatesTokenCount")
    if prompt is None and answered is None:
        return None
    cached = count(usage, "cachedContentTokenCount")
    sent = _without(prompt, cached)
    return TokenUsage(
        input=None if sent is None else sent + (count(usage, "toolUsePromptTokenCount") or 0),
        output=answered,
        cache_read=cached,
        reasoning=count(usage, "thoughtsTokenCount"),
    )


def _without(whole: int | None, *parts: int | None) -> int | None:
    if whole is None:
        return None
    return max(0, whole - sum(part or 0 for part in parts))
