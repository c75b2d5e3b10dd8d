"""What all readers of test output share."""

import math
import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class BadReport(Exception):
    """It is not in the format that it should be in; the text says why."""


def lines_of(text: str) -> list[str]:
    """The lines of terminal output, without colours."""
    return [line.rstrip("\r") for line in _COLOURS.sub("", text).split("\n")]


def seconds_of(text: str | None) -> float | None:
    """A non-negative number of seconds, thousands separators allowed; None for anything else."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
