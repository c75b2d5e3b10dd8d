"""What providers' error codes and HTTP statuses mean. Structured fields only, never prose."""

from orchestrator.domain.events import ErrorKind

_CODES: dict[ErrorKind, tuple[str, ...]] = {
    ErrorKind.QUOTA_EXHAUSTED: (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "insufficient_balance",
        "payment_required",
        "usage_not_included",
        "billing_disabled",  # Google
    ),
    ErrorKind.USAGE_LIMIT: ("usage_limit_reached", "usage_limit_exceeded", "quota_exhausted"),
    ErrorKind.CONTEXT_OVERFLOW: (
        "context_length_exceeded",
        "exceed_context_size_error",  # llama.cpp
        "context_window_exceeded",
        "model_context_window_exceeded",
        "request_too_large",
    ),
    ErrorKind.RATE_LIMIT: (
        "rate_limit_exceeded",
        "rate_limit_error",
        "rate_limited",
        "too_many_requests",
        "resource_exhausted",
    ),
    ErrorKind.OVERLOADED: (
        "overloaded_error",
        "overloaded",
        "server_overloaded",
        "server_is_overloaded",
        "engine_overloaded",
        "slow_down",
        "unavailable",
        "unavailable_error",
        "model_capacity_exhausted",  # Google
    ),
    ErrorKind.AUTH: (
        "authentication_error",
        "invalid_api_key",
        "api_key_invalid",  # Google
        "permission_error",
        "permission_denied",
        "invalid_authentication",
        "unauthorized",
        "unauthenticated",
        "token_expired",
    ),
    ErrorKind.SERVER: ("api_error", "server_error", "internal_server_error", "internal", "internal_error"),
    ErrorKind.BAD_REQUEST: ("bad_request",),
}
_KIND_OF_CODE = {code: kind for kind, codes in _CODES.items() for code in codes}
_KIND_OF_STATUS = {
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA_EXHAUSTED,
    403: ErrorKind.AUTH,
    408: ErrorKind.NETWORK,
    413: ErrorKind.CONTEXT_OVERFLOW,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    529: ErrorKind.OVERLOADED,
}


def kind_of_code(code: str | None) -> ErrorKind | None:
    """The kind that an error code or type of a body stands for; None when it says nothing."""
    return _KIND_OF_CODE.get(code.lower()) if code else None


def kind_of_status(status: int | None) -> ErrorKind:
    """The kind that an HTTP status alone tells; NETWORK when no answer came (None)."""
    if status is None:
        return ErrorKind.NETWORK
    if status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[status]
    if status >= 500:
        return ErrorKind.SERVER
    return ErrorKind.BAD_REQUEST if status >= 400 else ErrorKind.UNKNOWN
