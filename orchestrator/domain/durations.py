"""Durations as people write them: `90`, `90s`, `15m`, `2h`, `1h30m`, `250ms`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# Units from large to small, each at most once, so that a slip like `5s3h` is not read as a duration.
_WHOLE = re.compile(r"\s*".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit}(?![a-z]))?" for unit in _UNITS))
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ACCEPTED = "a duration like 90s, 15m or 1h30m"
# poll(2) takes milliseconds in 32 bits, 24.8 days: a longer wait would overflow inside a supervisor.
MAX_DURATION_SECONDS = 21 * 86400.0


def parse_duration_seconds(value: object) -> float:
    """Seconds of a number or a text like `1h30m`. Raises ValueError with the accepted forms."""
    if isinstance(value, bool):
        raise ValueError(_ACCEPTED)
    if isinstance(value, int | float):
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _WHOLE.fullmatch(text)
    if not text or match is None:
        raise ValueError(_ACCEPTED)
    return sum(float(number) * _UNITS[unit] for unit, number in match.groupdict().items() if number)


def compact_duration(seconds: float) -> str:
    """The shortest text that `parse_duration_seconds` reads back as the same whole milliseconds: `5m`, `1h30m`."""
    rest = round(seconds * 1000)
    parts = []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_duration(seconds: float | None) -> str:
    """Short text for people: `1h05m`, `3m20s`, `4.2s`, `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{secs:02d}s" if minutes else f"{secs}s"


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration_seconds, json_schema_input_type=float | str),
    Field(
        gt=0,
        le=MAX_DURATION_SECONDS,
        allow_inf_nan=False,
        description="A duration up to 21 days: seconds, or text like 90s, 15m, 1h30m.",
    ),
]
