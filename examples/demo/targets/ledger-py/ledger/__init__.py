"""Accounts, a journal of what moved between them, and a balance sheet."""

from ledger.bank import Bank
from ledger.errors import LedgerError, Overdrawn, UnknownAccount
from ledger.journal import Entry, Journal
from ledger.money import format_cents, parse_cents

__all__ = ["Bank", "Entry", "Journal", "LedgerError", "Overdrawn", "UnknownAccount", "format_cents", "parse_cents"]
