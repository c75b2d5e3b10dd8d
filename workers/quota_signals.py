"""What providers state about quota windows, read from structured places only and brought to one form.

Headers at the gateway, `rate_limit_event`s of Claude Code, `rate_limits` in Codex's rollout files. Nothing here looks
at text that a person or a model has written.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

from orchestrator.domain.durations import compact_duration
from orchestrator.domain.events import QuotaSeen
from orchestrator.domain.window import WHOLE
from workers.moments import number, wait

# No provider's window is longer; a reset further away, or longer past, is garbage or another unit.
_LONGEST_SECONDS = 40 * 86400.0
_MOST_WINDOWS = 16
_MOST_USED = 1000 * WHOLE  # a larger share is garbage
_UNIFIED = "anthropic-ratelimit-unified-"
# The words that Claude Code has for what the headers call 5h and 7d.
_CLAUDE_NAMES = (("five_hour", "5h"), ("seven_day", "7d"))
_LENGTHS = {"5h": 5 * 3600.0, "7d": 7 * 86400.0}


def from_headers(headers: Mapping[str, str], now: float) -> list[QuotaSeen]:
    """The windows that an answer's limit headers (lower-cased names) tell of. `now` is seconds since 1970."""
    found = [*_unified(headers, now), *_codex_headers(headers, now), *_counters(headers, now)]
    return found[:_MOST_WINDOWS]


def from_claude(event: Mapping[str, object], now: float) -> list[QuotaSeen]:
    """The windows of a `rate_limit_event` object of Claude Code's stream; none for any other object."""
    info = event.get("rate_limit_info")
    if event.get("type") != "rate_limit_event" or not isinstance(info, dict):
        return []
    windows = info.get("unifiedWindows")
    if not isinstance(windows, dict):
        # Versions before the list of all windows tell of the one that is nearest to its end.
        windows = {str(info.get("rateLimitType") or ""): info}
    found = []
    for words, window in windows.items():
        if not isinstance(words, str) or not isinstance(window, dict):
            continue
        used = _used(window.get("utilization"), Decimal(1), rejected=window.get("status") == "rejected")
        found.append(_seen(_claude_name(words), used, window.get("resetsAt"), now, "claude"))
    return [seen for seen in found if seen is not None][:_MOST_WINDOWS]


def from_codex(limits: object, now: float) -> list[QuotaSeen]:
    """The windows of a `rate_limits` object of Codex."""
    if not isinstance(limits, dict):
        return []
    found = []
    for name in ("primary", "secondary"):
        window = limits.get(name)
        if isinstance(window, dict):
            length = _minutes(window.get("window_minutes"))
            used = _used(window.get("used_percent"), Decimal(100))
            resets = window.get("resets_at") or window.get("resets_in_seconds")
            found.append(_seen(_name(length, name), used, resets, now, "codex", length))
    return [seen for seen in found if seen is not None]


def _unified(headers: Mapping[str, str], now: float) -> Iterator[QuotaSeen]:
    names = {
        name.removeprefix(_UNIFIED).rpartition("-")[0]
        for name in headers
        if name.startswith(_UNIFIED) and name.endswith(("-utilization", "-reset", "-status"))
    }
    for window in sorted(name for name in names if name[:1].isdigit()):
        prefix = f"{_UNIFIED}{window}-"
        rejected = headers.get(f"{prefix}status", "").lower() == "rejected"
        used = _used(headers.get(f"{prefix}utilization"), Decimal(1), rejected=rejected)
        seen = _seen(window.replace("_", "-"), used, headers.get(f"{prefix}reset"), now, "headers")
        if seen is not None:
            yield seen


def _codex_headers(headers: Mapping[str, str], now: float) -> Iterator[QuotaSeen]:
    for name in ("primary", "secondary"):
        prefix = f"x-codex-{name}-"
        length = _minutes(headers.get(f"{prefix}window-minutes"))
        used = _used(headers.get(f"{prefix}used-percent"), Decimal(100))
        resets = headers.get(f"{prefix}reset-at", headers.get(f"{prefix}reset-after-seconds"))
        seen = _seen(_name(length, name), used, resets, now, "headers", length)
        if seen is not None:
            yield seen


def _counters(headers: Mapping[str, str], now: float) -> Iterator[QuotaSeen]:
    """Limit and remainder of counters such as requests and tokens a minute."""
    for name in headers:
        if name.startswith("x-ratelimit-limit-"):
            what = name.removeprefix("x-ratelimit-limit-")
            left, reset = f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}"
        elif name.startswith("anthropic-ratelimit-") and name.endswith("-limit") and "unified" not in name:
            what = name.removeprefix("anthropic-ratelimit-").removesuffix("-limit")
            left, reset = f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset"
        else:
            continue
        limit, remaining = _decimal(headers[name]), _decimal(headers.get(left))
        if limit is None or limit <= 0 or remaining is None:
            continue
        used = min(max(0, int((limit - remaining) * WHOLE / limit)), _MOST_USED)
        seen = _seen(what, used, headers.get(reset), now, "headers")
        if seen is not None:
            yield seen


def _seen(
    window: str, used: int | None, resets: object, now: float, source: str, length: float | None = None
) -> QuotaSeen | None:
    seconds = wait(resets, now)
    if seconds is not None and abs(seconds) > _LONGEST_SECONDS:
        seconds = None
    if not window or used is None:
        return None
    return QuotaSeen(
        window=window[:64],
        used_ppm=used,
        resets_at_epoch=None if seconds is None else now + seconds,
        length_seconds=length if length is not None else _LENGTHS.get(window[:2]),
        source=source,
    )


def _used(value: object, whole: Decimal, *, rejected: bool = False) -> int | None:
    """Parts per million of `whole`, rounded down; a window that rejects is full whatever else it says."""
    share = _decimal(value)
    used = None if share is None or share < 0 else min(int(share * WHOLE / whole), _MOST_USED)
    return max(used or 0, WHOLE) if rejected else used


def _decimal(value: object) -> Decimal | None:
    """By its digits: as a binary fraction 0.29 of something would be 28.999..."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = Decimal(str(value).strip()[:40])
    except InvalidOperation:
        return None
    return result if result.is_finite() and abs(result) < Decimal("1e15") else None


def _minutes(value: object) -> float | None:
    minutes = number(value)
    if minutes is None or not 0 < minutes * 60 <= _LONGEST_SECONDS:
        return None
    # Codex has also said 299 and 10079 for five hours and a week.
    return 60 * (minutes + 1 if minutes > 60 and (minutes + 1) % 60 == 0 else minutes)


def _name(length_seconds: float | None, otherwise: str) -> str:
    return otherwise if length_seconds is None else compact_duration(length_seconds)


def _claude_name(words: str) -> str:
    for long, short in _CLAUDE_NAMES:
        words = words.replace(long, short)
    return words.replace("_", "-")
