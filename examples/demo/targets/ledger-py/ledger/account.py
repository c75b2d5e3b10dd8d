"""One account."""

from dataclasses import dataclass


@dataclass
class Account:
    """A balance in cents, and how far below zero it may be drawn."""

    name: str
    balance: int = 0
    overdraft_limit: int = 0

    def __post_init__(self) -> None:
        if self.overdraft_limit < 0:
            raise ValueError("an overdraft limit is not negative")
