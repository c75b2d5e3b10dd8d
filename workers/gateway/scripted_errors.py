"""The scripted model server's HTTP errors, in the words and headers of the providers they stand for."""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from workers.gateway.script import ErrorFault, ErrorName

_STATUS: dict[ErrorName, int] = {
    "rate_limit": 429,
    "usage_limit": 429,
    "quota": 429,
    "auth": 401,
    "overloaded": 529,
    "server": 500,
    "context_overflow": 400,
}
# kind: (code, type, message) of the OpenAI family
_OPENAI: dict[ErrorName, tuple[str | None, str, str]] = {
    "rate_limit": ("rate_limit_exceeded", "tokens", "Rate limit reached on tokens per min."),
    "usage_limit": ("usage_limit_reached", "usage_limit_reached", "The usage limit has been reached"),
    "quota": ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "auth": ("invalid_api_key", "invalid_request_error", "Incorrect API key provided."),
    "overloaded": ("server_is_overloaded", "server_error", "The engine is currently overloaded."),
    "server": (None, "server_error", "The server had an error while processing your request."),
    "context_overflow": (
        "context_length_exceeded",
        "invalid_request_error",
        "This model's maximum context length is exceeded. Please reduce the length of the messages.",
    ),
}
# kind: (type, message) of Anthropic
_ANTHROPIC: dict[ErrorName, tuple[str, str]] = {
    "rate_limit": ("rate_limit_error", "This request would exceed your rate limit."),
    "usage_limit": ("rate_limit_error", "You have reached your usage limit."),
    "quota": ("billing_error", "Your credit balance is too low."),
    "auth": ("authentication_error", "invalid x-api-key"),
    "overloaded": ("overloaded_error", "Overloaded"),
    "server": ("api_error", "Internal server error"),
    "context_overflow": ("invalid_request_error", "prompt is too long"),
}

_GOOGLE_TYPE = "type.googleapis.com/google.rpc."
_PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
_PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
# kind: (HTTP status, status, message, quota or reason) of Google
_GEMINI: dict[ErrorName, tuple[int, str, str, str]] = {
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "Too many requests per minute.", _PER_MINUTE),
    "usage_limit": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", _PER_DAY),
    "quota": (403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", "BILLING_DISABLED"),
    "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ""),
    "server": (500, "INTERNAL", "An internal error has occurred.", ""),
    "context_overflow": (400, "INVALID_ARGUMENT", "The input token count exceeds the maximum.", ""),
}


class ErrorAnswer(NamedTuple):
    """Status, headers and JSON body of an error."""

    status: int
    headers: dict[str, str]
    body: bytes


def error_answer(protocol: str, fault: ErrorFault, now_epoch: float) -> ErrorAnswer:
    """The error as the provider behind `protocol` sends it."""
    wait = fault.retry_after
    headers = _limit_headers(protocol, fault.kind, wait, now_epoch) if wait is not None else {}
    if protocol == "gemini":
        return _gemini_error(fault)
    status = fault.status or (402 if protocol == "messages" and fault.kind == "quota" else _STATUS[fault.kind])
    if protocol == "messages":
        kind, message = _ANTHROPIC[fault.kind]
        return _answer(status, headers, {"type": "error", "error": {"type": kind, "message": message}})
    code, kind, message = _OPENAI[fault.kind]
    error: dict[str, object] = {"message": message, "type": kind, "param": None, "code": code}
    if fault.kind == "usage_limit" and wait is not None:
        error |= {"resets_at": int(now_epoch + wait), "resets_in_seconds": int(wait)}
    return _answer(status, headers, {"error": error})


def plain_error(protocol: str, status: int, code: str, message: str) -> ErrorAnswer:
    """An error that no script asked for, such as an unknown model."""
    if protocol == "messages":
        return _answer(status, {}, {"type": "error", "error": {"type": "not_found_error", "message": message}})
    if protocol == "gemini":
        return _answer(status, {}, {"error": {"code": status, "message": message, "status": code.upper()}})
    return _answer(status, {}, {"error": {"message": message, "type": "invalid_request_error", "code": code}})


def _gemini_error(fault: ErrorFault) -> ErrorAnswer:
    """Google tells nothing in headers: what was exceeded and when to come again are details of the body."""
    usual, name, message, reason = _GEMINI[fault.kind]
    details: list[object] = []
    if name == "RESOURCE_EXHAUSTED":
        details.append({"@type": _GOOGLE_TYPE + "QuotaFailure", "violations": [{"quotaId": reason}]})
    elif reason:
        details.append({"@type": _GOOGLE_TYPE + "ErrorInfo", "reason": reason, "domain": "googleapis.com"})
    if fault.retry_after is not None:
        details.append({"@type": _GOOGLE_TYPE + "RetryInfo", "retryDelay": f"{fault.retry_after:g}s"})
    status = fault.status or usual
    error = {"code": status, "message": message, "status": name, "details": details}
    return _answer(status, {}, {"error": error})


def _answer(status: int, headers: dict[str, str], body: dict[str, object]) -> ErrorAnswer:
    return ErrorAnswer(status, headers, json.dumps(body).encode())


def _limit_headers(protocol: str, kind: ErrorName, wait: float, now: float) -> dict[str, str]:
    headers = {"retry-after": f"{wait:g}"}
    reset = str(int(now + wait))
    if kind == "usage_limit" and protocol == "messages":
        headers |= {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": reset,
            "anthropic-ratelimit-unified-5h-reset": reset,
            "anthropic-ratelimit-unified-5h-utilization": "1.0",
        }
    elif kind == "usage_limit":
        headers |= {
            "x-codex-primary-used-percent": "100",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": reset,
            "x-codex-primary-reset-after-seconds": str(int(wait)),
        }
    elif kind == "rate_limit" and protocol == "messages":
        headers |= {
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": datetime.fromtimestamp(now + wait, UTC).isoformat(),
        }
    elif kind == "rate_limit":
        headers |= {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": f"{wait:g}s"}
    return headers
