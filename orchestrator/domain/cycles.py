"""Going round in circles: the same things in the same order again and again, and errors that say the same. Pure."""

import hashlib
import re
from collections.abc import Hashable, Sequence

LONGEST_PERIOD = 4
# What differs between two tellings of one error: addresses and digests, ids, numbers, the rest of a long text.
_HEX = re.compile(r"0x[0-9a-f]+|\b(?=[a-f]*\d)[0-9a-f-]{7,}\b")
_DIGITS = re.compile(r"\d+")
_ERROR_CHARS = 500


def repeated_period(items: Sequence[Hashable], repeats: int) -> int | None:
    """The shortest period, 1 to 4, with which the last items repeat `repeats` times; None when they do not."""
    for period in range(1, LONGEST_PERIOD + 1):
        need = period * repeats
        tail = items[-need:]
        if len(tail) == need and all(tail[i] == tail[i % period] for i in range(need)):
            return period
    return None


def fingerprint(error: str) -> str:
    """A hash that two tellings of the same error share, whatever numbers, ids and addresses they name."""
    text = " ".join(error.lower().split())
    text = _DIGITS.sub("0", _HEX.sub("h", text))[:_ERROR_CHARS]
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


class SameErrors:
    """How often the last error came in a row."""

    def __init__(self) -> None:
        self._last: str | None = None
        self.count = 0
        self.text = ""

    def saw(self, error: str) -> None:
        """One more error."""
        mark = fingerprint(error)
        self.count = self.count + 1 if mark == self._last else 1
        self._last, self.text = mark, error

    def forget(self) -> None:
        """Something went well."""
        self._last, self.count, self.text = None, 0, ""
