"""Durations as people write them: `90`, `90s`, `15m`, `2h`, `1h30m`, `250ms`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")


def parse_duration_seconds(value: object) -> float:
    """Seconds of a number or a text like `1h30m`. Raises ValueError with the accepted forms."""
    if isinstance(value, bool):
        raise ValueError("a duration like 90s, 15m or 1h30m")
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().replace(" ", "")
    if not _WHOLE.fullmatch(text):
        raise ValueError("a duration like 90s, 15m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


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
    Field(gt=0, allow_inf_nan=False, description="A duration: seconds, or text like 90s, 15m, 1h30m."),
]
