"""Money is an integer number of cents."""

import re

_TEXT = re.compile(r"(-?)(\d+)(?:\.(\d{2}))?")


def parse_cents(text: str) -> int:
    """Cents of a text like `12.50`."""
    match = _TEXT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"not an amount: {text!r}")
    sign, whole, cents = match.groups()
    value = int(whole) * 100 + int(cents or 0)
    return -value if sign else value


def format_cents(cents: int) -> str:
    """Text like `-12.50`."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"
