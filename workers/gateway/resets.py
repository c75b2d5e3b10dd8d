"""When a provider's limit ends, out of the many ways in which providers say it."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from orchestrator.domain.events import ErrorKind
from workers.gateway.jsonvalues import JsonObject, child, items, text
from workers.moments import duration, iso_date, number, until
from workers.moments import wait as wait_for

# No provider's window is longer; a larger figure is garbage or another unit.
_LONGEST_SECONDS = 40 * 86400.0
_UNIFIED = "anthropic-ratelimit-unified-"
# The IETF's drafts, older and newer: `limit=9, remaining=0, reset=30` and `"default";r=0;t=30`.
_DRAFT_RESET = re.compile(r"(?:^|[;,\s])(?:reset|t)=(\d{1,9})(?=$|[;,\s])")


class Reset(NamedTuple):
    """Seconds from now, and the same moment as seconds since 1970."""

    retry_after_seconds: float
    resets_at_epoch: float


Source = Callable[[Mapping[str, str], JsonObject, float], Iterator[float | None]]


def reset_of(kind: ErrorKind, headers: Mapping[str, str], error: JsonObject, now_epoch: float) -> Reset | None:
    """The best statement about the end of a limit; None when there is none.

    A used-up window is judged by the window's own reset first: `Retry-After` beside it may be only a back-off hint.
    """
    window: tuple[Source, ...] = (_body, _anthropic_window, _codex_window)
    short: tuple[Source, ...] = (_retry_after, _per_minute)
    for source in (*window, *short) if kind is ErrorKind.USAGE_LIMIT else (*short, *window):
        for wait in source(headers, error, now_epoch):
            if wait is not None and wait <= _LONGEST_SECONDS:
                seconds = max(0.0, wait)
                return Reset(seconds, now_epoch + seconds)
    return None


def _retry_after(headers: Mapping[str, str], error: JsonObject, now: float) -> Iterator[float | None]:
    millis = number(headers.get("retry-after-ms"))
    yield millis / 1000 if millis is not None else None
    value = headers.get("retry-after")
    if value is not None:
        seconds = number(value)
        yield seconds if seconds is not None else until(_http_date(value), now)


def _body(headers: Mapping[str, str], error: JsonObject, now: float) -> Iterator[float | None]:
    yield until(number(error.get("resets_at")), now)
    yield number(error.get("resets_in_seconds"))
    yield number(error.get("retry_after"))
    for detail in items(error, "details"):
        if isinstance(detail, dict):
            yield until(iso_date(text(child(detail, "metadata"), "quotaResetTimeStamp") or ""), now)
            yield duration(child(detail, "metadata").get("quotaResetDelay"))
            yield duration(detail.get("retryDelay"))


def _anthropic_window(headers: Mapping[str, str], error: JsonObject, now: float) -> Iterator[float | None]:
    """The reset of the window that counts, as the provider names it; else the latest among those that reject."""
    yield until(_moment(headers.get(f"{_UNIFIED}reset")), now)
    waits = {name: until(_moment(headers.get(f"{_UNIFIED}{name}-reset")), now) for name in ("5h", "7d")}
    rejects = [name for name in waits if headers.get(f"{_UNIFIED}{name}-status", "").lower() == "rejected"]
    yield max((wait for name in rejects if (wait := waits[name]) is not None), default=None)
    yield from waits.values()


def _codex_window(headers: Mapping[str, str], error: JsonObject, now: float) -> Iterator[float | None]:
    """The latest reset among the used-up windows; the primary one's when none says that it is used up."""
    waits = {name: _codex_wait(headers, name, now) for name in ("primary", "secondary")}
    used = {name: number(headers.get(f"x-codex-{name}-used-percent")) for name in waits}
    full = [wait for name, wait in waits.items() if wait is not None and (used[name] or 0) >= 100]
    yield max(full) if full else waits["primary"]


def _codex_wait(headers: Mapping[str, str], name: str, now: float) -> float | None:
    at = until(number(headers.get(f"x-codex-{name}-reset-at")), now)
    return at if at is not None else number(headers.get(f"x-codex-{name}-reset-after-seconds"))


def _per_minute(headers: Mapping[str, str], error: JsonObject, now: float) -> Iterator[float | None]:
    """The latest reset of the counters that stand at 0, or of all when none says so."""
    empty: list[float] = []
    every: list[float] = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name or "unified" in name:
            continue
        wait = wait_for(value, now)
        if wait is not None:
            every.append(wait)
            if number(headers.get(name.replace("reset", "remaining"))) == 0:
                empty.append(wait)
    yield max(empty or every, default=None)
    yield max((float(seconds) for seconds in _DRAFT_RESET.findall(headers.get("ratelimit", ""))), default=None)


def _moment(value: str | None) -> float | None:
    plain = number(value)
    return plain if plain is not None or value is None else iso_date(value)


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
