"""Moments and waits as providers write them: seconds or milliseconds, absolute or from now on, numbers or dates."""

import math
from datetime import UTC, datetime

from orchestrator.domain.durations import parse_duration_seconds

# As seconds since 1970 a moment has ten digits, as milliseconds thirteen; anything less is a wait.
_EPOCH_FROM = 1e9
_MILLIS_FROM = 1e11


def number(value: object) -> float | None:
    """A finite number, also when it is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def until(epoch: float | None, now: float) -> float | None:
    """Seconds from `now` to a moment in seconds or milliseconds since 1970, told apart by their size."""
    if epoch is None:
        return None
    return (epoch / 1000 if epoch > _MILLIS_FROM else epoch) - now


def wait(value: object, now: float) -> float | None:
    """Seconds from `now` to what any of the forms says; None when it says nothing."""
    plain = number(value)
    if plain is not None:
        return until(plain, now) if plain > _EPOCH_FROM else plain
    if not isinstance(value, str):
        return None
    span = duration(value)
    return span if span is not None else until(iso_date(value), now)


def duration(value: object) -> float | None:
    """Seconds of text like `1m30s`."""
    if not isinstance(value, str):
        return None
    try:
        return parse_duration_seconds(value)
    except (ValueError, OverflowError):
        return None


def iso_date(value: str) -> float | None:
    """Seconds since 1970 of an ISO date, which is UTC when it names no zone."""
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
