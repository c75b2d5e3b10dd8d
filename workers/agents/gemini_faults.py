"""The error with which a run of Gemini CLI ends: an answer of Google's, wrapped in a message of its own."""

import re
from collections.abc import Iterator

from orchestrator.domain.events import ErrorKind, ErrorSeen
from orchestrator.domain.provider_errors import kind_of_code
from workers.agents.faults import kind_of_client_error
from workers.agents.reading import count, parse_object, pick, text

_WRAPPED = re.compile(
    r"\[API Error: (?P<answer>.*?)(?: \(Status: (?P<code>[A-Z_]+)\))?\](?P<advice>\nPlease wait .*)?", re.DOTALL
)
_RETRY = re.compile(r"Suggested retry after (\d+(?:\.\d+)?)s\.?")
_AUTH = frozenset({"FatalAuthenticationError", "ValidationRequiredError"})
# What it says itself about a quota that it does not wait for.
_DAILY = "You have exhausted your daily quota on this model."
# Google gives an overflow no code but that of any wrong argument.
_OVERFLOW = re.compile(r"The input token count \(?\d+\)? exceeds the maximum number of tokens allowed")


def error_of_result(error: object) -> ErrorSeen | None:
    """The error that the `error` of a failed result tells; None when it tells none (an `error` event did)."""
    if not isinstance(error, dict):
        return None
    name, message = text(error, "type"), text(error, "message")
    found = _WRAPPED.fullmatch(message)
    if found is None or name.startswith("Fatal"):
        return ErrorSeen(kind=ErrorKind.AUTH if name in _AUTH else ErrorKind.AGENT, text=message or name)
    answer = pick(parse_object(found["answer"].encode("utf-8", "replace")), "error")
    # Only a 429 has the advice to wait; its body is not repeated.
    status = 429 if found["advice"] else count(answer, "code")
    retry = _RETRY.search(found["answer"])
    return ErrorSeen(
        kind=_kind(answer, found, status),
        text=text(answer, "message") or found["answer"],
        status=status,
        retry_after_seconds=float(retry[1]) if retry else None,
    )


def _kind(answer: object, found: re.Match[str], status: int | None) -> ErrorKind:
    if status == 429:
        return ErrorKind.USAGE_LIMIT if found["answer"].startswith(_DAILY) else ErrorKind.RATE_LIMIT
    if _OVERFLOW.match(text(answer, "message")):
        return ErrorKind.CONTEXT_OVERFLOW
    told = (kind for code in (*_codes(answer), found["code"]) if (kind := kind_of_code(code)) is not None)
    return next(told, kind_of_client_error(status, found["answer"]))


def _codes(answer: object) -> Iterator[str]:
    """Reasons before the status: it is the same for a wrong key and a wrong argument."""
    details = pick(answer, "details")
    yield from (text(detail, "reason") for detail in details) if isinstance(details, list) else ()
    yield text(answer, "status")
