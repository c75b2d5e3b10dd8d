"""What happened, in order; entries are never changed."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Cents moved from one account to another. `source` is None for a deposit."""

    source: str | None
    target: str
    cents: int


class Journal:
    """The entries so far."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def balance_of(self, name: str) -> int:
        """The balance of an account as the entries tell it."""
        came = sum(entry.cents for entry in self._entries if entry.target == name)
        went = sum(entry.cents for entry in self._entries if entry.source == name)
        return came - went
