"""The errors of HTTP answers as agents repeat them, and of the library that many of them ask models with."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from orchestrator.domain.events import ErrorKind, ErrorSeen
from orchestrator.domain.provider_errors import kind_of_code, kind_of_status
from workers.agents.reading import number, parse_object, pick, text

_EXCEPTIONS = {
    "AuthenticationError": ErrorKind.AUTH,
    "PermissionDeniedError": ErrorKind.AUTH,
    "RateLimitError": ErrorKind.RATE_LIMIT,
    "ContextWindowExceededError": ErrorKind.CONTEXT_OVERFLOW,
    "ServiceUnavailableError": ErrorKind.OVERLOADED,
    "InternalServerError": ErrorKind.SERVER,
    "BadGatewayError": ErrorKind.SERVER,
    "APIError": ErrorKind.SERVER,
    "APIConnectionError": ErrorKind.NETWORK,
    "Timeout": ErrorKind.NETWORK,
    "BadRequestError": ErrorKind.BAD_REQUEST,
    "NotFoundError": ErrorKind.BAD_REQUEST,
    "UnprocessableEntityError": ErrorKind.BAD_REQUEST,
    "UnsupportedParamsError": ErrorKind.BAD_REQUEST,
}


def kind_of_exception(name: str) -> ErrorKind:
    """The kind of an exception of litellm; AGENT for a name that is none of them."""
    return _EXCEPTIONS.get(name, ErrorKind.AGENT)


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
