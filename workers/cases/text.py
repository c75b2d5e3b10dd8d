"""What all readers of test output share."""

import math
import re

from orchestrator.domain.cases import MAX_NAME

# Names are made of parts that may each have megabytes, and thousands of cases may share a part. What is shown of a
# name at the end is much shorter, blanks in a row included.
_MOST_CHARS = 4 * MAX_NAME
# Python refuses to read numbers of thousands of digits, and no counter has more than these.
_MOST_DIGITS = 18
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class BadReport(Exception):
    """It is not in the format that it should be in; the text says why."""


def lines_of(text: str) -> list[str]:
    """The lines of terminal output, without colours."""
    return [line.rstrip("\r") for line in _COLOURS.sub("", text).split("\n")]


def name_of(separator: str, *parts: str) -> str:
    """The parts as one name, cut at its end where it is far too long."""
    return separator.join(part[:_MOST_CHARS] for part in parts)[:_MOST_CHARS]


def count_of(digits: str) -> int:
    """A number of cases; of one that nothing could count to only the first digits."""
    return int(digits[:_MOST_DIGITS])


def seconds_of(text: str | None) -> float | None:
    """A non-negative number of seconds, thousands separators allowed; None for anything else."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
