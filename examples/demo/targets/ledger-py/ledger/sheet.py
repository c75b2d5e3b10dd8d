"""The balance sheet as text."""

from collections.abc import Iterable

from ledger.account import Account
from ledger.money import format_cents


def balance_sheet(accounts: Iterable[Account]) -> str:
    """One line per account by name, and the sum."""
    rows = sorted(accounts, key=lambda account: account.name)
    lines = [f"{account.name:<12}{format_cents(account.balance):>12}" for account in rows]
    total = format_cents(sum(account.balance for account in rows))
    return "\n".join([*lines, f"{'total':<12}{total:>12}"])
