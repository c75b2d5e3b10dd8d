"""Which kind of error a status, an error code and headers tell. Structured fields only, never prose."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from orchestrator.domain.events import ErrorKind, ErrorSeen
from workers.agents.reading import number, parse_object, pick, text

# Codes and types that providers put into an error's body, and that agents repeat. They say more than the status.
_CODES = {
    "insufficient_quota": ErrorKind.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": ErrorKind.QUOTA_EXHAUSTED,
    "billing_error": ErrorKind.QUOTA_EXHAUSTED,
    "usage_limit_reached": ErrorKind.USAGE_LIMIT,
    "usage_limit_exceeded": ErrorKind.USAGE_LIMIT,
    "rate_limit_exceeded": ErrorKind.RATE_LIMIT,
    "rate_limit_error": ErrorKind.RATE_LIMIT,
    "invalid_api_key": ErrorKind.AUTH,
    "authentication_error": ErrorKind.AUTH,
    "permission_error": ErrorKind.AUTH,
    "unauthorized": ErrorKind.AUTH,
    "context_length_exceeded": ErrorKind.CONTEXT_OVERFLOW,
    "context_window_exceeded": ErrorKind.CONTEXT_OVERFLOW,
    "exceed_context_size_error": ErrorKind.CONTEXT_OVERFLOW,  # llama.cpp
    "request_too_large": ErrorKind.CONTEXT_OVERFLOW,
    "overloaded_error": ErrorKind.OVERLOADED,
    "server_overloaded": ErrorKind.OVERLOADED,
    "server_is_overloaded": ErrorKind.OVERLOADED,
    "internal_server_error": ErrorKind.SERVER,
    "bad_request": ErrorKind.BAD_REQUEST,
}
_STATUSES = {
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA_EXHAUSTED,
    403: ErrorKind.AUTH,
    408: ErrorKind.NETWORK,
    413: ErrorKind.CONTEXT_OVERFLOW,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    529: ErrorKind.OVERLOADED,
}


def kind_of_code(code: str) -> ErrorKind | None:
    """The kind that an error code or type stands for; None when it says nothing."""
    return _CODES.get(code)


def kind_of_status(status: int | None) -> ErrorKind:
    """The kind that an HTTP status alone tells; NETWORK when no answer came (None)."""
    if status is None:
        return ErrorKind.NETWORK
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return ErrorKind.SERVER
    return ErrorKind.BAD_REQUEST if 400 <= status < 500 else ErrorKind.UNKNOWN


def error_of_answer(*, status: int | None, body: str, headers: object, message: str) -> ErrorSeen:
    """The error that an HTTP answer, as an agent repeats it, tells: kind, and when the limit ends."""
    error = pick(parse_object(body.encode("utf-8", "replace")), "error")
    kinds = (kind_of_code(text(error, "code")), kind_of_code(text(error, "type")))
    fields = {name.lower(): value for name, value in headers.items()} if isinstance(headers, dict) else {}
    retry_after = retry_after_seconds(fields)
    return ErrorSeen(
        kind=next((kind for kind in kinds if kind is not None), kind_of_status(status)),
        text=message,
        status=status,
        retry_after_seconds=number(error, "resets_in_seconds") if retry_after is None else retry_after,
        resets_at_epoch=number(error, "resets_at"),
    )


def retry_after_seconds(headers: Mapping[str, object]) -> float | None:
    """Seconds in `retry-after-ms` or `retry-after` (names in lower case); a date counts from the answer's own."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        try:
            seconds = float(str(value)) * unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        until, now = (parsedate_to_datetime(str(headers.get(name))) for name in ("retry-after", "date"))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):  # TypeError: one of the dates names no zone
        return None
