"""The accounts, and everything that moves money between them."""

from ledger.account import Account
from ledger.errors import UnknownAccount
from ledger.journal import Entry, Journal


class Bank:
    """Accounts by name, with the journal of what moved."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self.journal = Journal()

    def open(self, name: str, overdraft_limit: int = 0) -> Account:
        """A new account with a balance of 0."""
        if name in self._accounts:
            raise ValueError(f"account {name!r} exists")
        account = self._accounts[name] = Account(name, overdraft_limit=overdraft_limit)
        return account

    def account(self, name: str) -> Account:
        """The account of this name."""
        try:
            return self._accounts[name]
        except KeyError:
            raise UnknownAccount(name) from None

    def deposit(self, name: str, cents: int) -> None:
        """Put money from outside into an account."""
        if cents <= 0:
            raise ValueError("an amount is positive")
        self.account(name).balance += cents
        self.journal.append(Entry(None, name, cents))

    def transfer(self, source: str, target: str, cents: int) -> None:
        """Move money from one account to another, within the source's overdraft limit."""
        raise NotImplementedError
