"""What the last line of a run of Claude Code tells, and the errors on the way: structured fields alone."""

from collections.abc import Mapping
from dataclasses import asdict, replace

from orchestrator.domain.events import EndReason, ErrorKind, ErrorSeen, TurnEnded
from orchestrator.domain.provider_errors import kind_of_code, kind_of_status
from orchestrator.domain.usage import TokenUsage
from workers.agents.reading import count, number, pick, text, usd_micros

_OVERFLOWS = frozenset({"prompt_too_long", "rapid_refill_breaker", "blocking_limit"})
# Bases of a cost on which the program knows the price; for a model that it does not know it takes another's.
_KNOWN_PRICES = frozenset({"list", "managed"})
_LIMITS = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.USAGE_LIMIT})


def end_reason(result: Mapping[str, object]) -> EndReason:
    """How the run ended. `subtype` is `success` for errors of the provider too."""
    subtype, why = text(result, "subtype"), text(result, "terminal_reason")
    if subtype == "success" and pick(result, "is_error") is False:
        return EndReason.FINISHED
    if subtype == "error_max_turns":
        return EndReason.TURN_LIMIT
    return EndReason.INTERRUPTED if why.startswith("aborted") else EndReason.ERROR


def error_of_result(result: Mapping[str, object]) -> ErrorSeen:
    """The error by which the run ended."""
    errors = pick(result, "errors")
    message = text(result, "result") or "; ".join(map(str, errors if isinstance(errors, list) else ()))
    status = count(result, "api_error_status")
    if text(result, "terminal_reason") in _OVERFLOWS:
        kind = ErrorKind.CONTEXT_OVERFLOW
    elif status is None and text(result, "terminal_reason") != "api_error":
        kind = ErrorKind.AGENT
    else:
        kind = _kind(result, status)
    return ErrorSeen(kind=kind, text=message[:2_000] or text(result, "subtype"), status=status)


def error_of_retry(record: Mapping[str, object]) -> ErrorSeen:
    """The error behind a retry that was announced, and for a limit how long it waits."""
    status, word = count(record, "error_status"), text(record, "error")
    kind = kind_of_code(word) or kind_of_status(status)
    delay = number(record, "retry_delay_ms") if kind in _LIMITS else None
    return ErrorSeen(kind=kind, text=word, status=status, retry_after_seconds=None if delay is None else delay / 1000)


def limit_with_reset(error: ErrorSeen, reset_epoch: float, now: float) -> ErrorSeen:
    """A limit with the reset of the window that refused; any other error as it is."""
    if error.kind not in _LIMITS:
        return error
    return replace(error, resets_at_epoch=reset_epoch, retry_after_seconds=max(0.0, reset_epoch - now))


def rest_of_run(result: Mapping[str, object], told: TokenUsage) -> TurnEnded | None:
    """What the run has used beyond what its messages have `told`, as no turn of the main session.

    That is all output, and what no message shows: compaction, small requests of its own, sub-agents that stay silent.
    """
    models = _models(result)
    if not models:
        return None
    used = sum((_usage(model) for model in models), TokenUsage())
    costs = [usd_micros(model, "costUSD") for model in models if text(model, "costBasis") in _KNOWN_PRICES]
    known = [cost for cost in costs if cost is not None]
    cost = sum(known) if len(known) == len(models) else None
    return TurnEnded(usage=_minus(used, told), cost_usd_micros=cost, reason="sum", subagent=True)


def _models(result: Mapping[str, object]) -> list[object]:
    """The use of each model since the last result. `modelUsage` counts a resumed session from its beginning."""
    found = pick(result, "model_usage_since_last_result")
    return list(found.values()) if isinstance(found, dict) else []


def _usage(model: object) -> TokenUsage:
    output, thinking = count(model, "outputTokens"), count(model, "thinkingTokens")
    return TokenUsage(
        input=count(model, "inputTokens"),
        output=None if output is None else max(0, output - (thinking or 0)),
        cache_read=count(model, "cacheReadInputTokens"),
        cache_write=count(model, "cacheCreationInputTokens"),
        reasoning=thinking or None,  # 0 is its word for a server that does not tell
    )


def _minus(whole: TokenUsage, part: TokenUsage) -> TokenUsage:
    told = asdict(part)
    rest = {
        kind: None if value is None else max(0, value - (told[kind] or 0)) for kind, value in asdict(whole).items()
    }
    return TokenUsage(**rest)


def _kind(record: Mapping[str, object], status: int | None) -> ErrorKind:
    kinds = (kind_of_code(text(record, name)) for name in ("api_error", "api_error_type"))
    return next((kind for kind in kinds if kind is not None), kind_of_status(status))
