"""What can be refused."""


class LedgerError(Exception):
    """The ledger refuses."""


class UnknownAccount(LedgerError):
    """There is no account of this name."""


class Overdrawn(LedgerError):
    """The account would be drawn beyond its overdraft limit."""
