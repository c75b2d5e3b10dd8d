"""Gives an error answer of a model server its class. Only structured fields count, never the message's words."""

from collections.abc import Iterator, Mapping

from orchestrator.domain.events import ErrorKind, ErrorSeen
from orchestrator.domain.provider_errors import kind_of_code, kind_of_status
from workers.gateway.jsonvalues import JsonObject, items, text
from workers.gateway.resets import reset_of
from workers.moments import number

_UNIFIED = "anthropic-ratelimit-unified-"
# Only these end by waiting; a reset time on another class would make somebody wait for nothing.
_ENDS_BY_WAITING = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.USAGE_LIMIT, ErrorKind.OVERLOADED, ErrorKind.SERVER})


def classify(
    *, status: int | None, headers: Mapping[str, str], error: JsonObject | None, now_epoch: float
) -> ErrorSeen | None:
    """The error that an answer is; None when it is none.

    Args:
        status: HTTP status; 200 with an error event in the stream is an error too.
        headers: the answer's headers with lower-case names.
        error: the error object of the body, if one was found.
        now_epoch: the present, to turn reset times into waits (seconds since 1970).
    """
    if error is None and (status is None or status < 400):
        return None
    fields = error or {}
    kind = _kind(status, headers, fields)
    reset = reset_of(kind, headers, fields, now_epoch) if kind in _ENDS_BY_WAITING else None
    return ErrorSeen(
        kind=kind,
        text=_text(status, fields),
        status=status,
        retry_after_seconds=reset.retry_after_seconds if reset else None,
        resets_at_epoch=reset.resets_at_epoch if reset else None,
    )


def _kind(status: int | None, headers: Mapping[str, str], error: JsonObject) -> ErrorKind:
    names = [*_google_reasons(error), *(text(error, key) for key in ("code", "type", "status", "reason"))]
    told = next((kind for name in names if (kind := kind_of_code(name)) is not None), None)
    kind = told or (ErrorKind.UNKNOWN if status is None else kind_of_status(status))
    if kind is ErrorKind.RATE_LIMIT and _window_used_up(headers, error):
        return ErrorKind.USAGE_LIMIT
    return kind


def _google_reasons(error: JsonObject) -> list[str | None]:
    """Google's status is coarse; the reason among the details tells a wrong key from a wrong argument."""
    return [text(detail, "reason") for detail in items(error, "details") if isinstance(detail, dict)]


def _window_used_up(headers: Mapping[str, str], error: JsonObject) -> bool:
    """Providers say with the same 429 whether it is a short limit or the window's end."""
    if any("PerDay" in quota for quota in _google_quotas(error)):
        return True
    whole = headers.get(f"{_UNIFIED}status")
    # Where the whole is allowed, a full window is paid for otherwise.
    statuses = [whole] if whole else [headers.get(f"{_UNIFIED}{window}-status", "") for window in ("5h", "7d")]
    if any(status.lower() == "rejected" for status in statuses):
        return True
    used = (number(headers.get(f"x-codex-{window}-used-percent")) for window in ("primary", "secondary"))
    return any(percent is not None and percent >= 100 for percent in used)


def _google_quotas(error: JsonObject) -> Iterator[str]:
    """The names of the quotas that were exceeded."""
    for detail in items(error, "details"):
        for violation in items(detail, "violations") if isinstance(detail, dict) else ():
            yield text(violation, "quotaId") or "" if isinstance(violation, dict) else ""


def _text(status: int | None, error: JsonObject) -> str:
    names = (text(error, key) for key in ("code", "type", "status"))
    name = next((name for name in names if name), f"HTTP {status}" if status else "error")
    message = text(error, "message")
    return f"{name}: {message}" if message else name
