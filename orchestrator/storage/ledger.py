"""What was used of accounts, and what their providers said about it: rows of `ledger` and `windows`.

A row of the ledger is what one stage used within one minute. It is written whole each time it grows, under a number
that grows too, so that shipping a record twice or late changes nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from orchestrator.domain.window import Entry, Statement, WindowSpec
from orchestrator.storage.bulk import upsert_newer
from orchestrator.storage.tables import ledger, windows

# A window is read as at most about this many sums, however much was used in it.
_SLICES = 200


@dataclass(frozen=True, kw_only=True)
class LedgerRecord:
    """Use of an account by one stage within one minute (since 1970). A higher `seq` replaces a lower one."""

    attempt_id: str
    stage_ordinal: int
    minute: int
    seq: int
    account: str
    model: str
    at: datetime
    requests: int
    requests_without_usage: int
    seconds: float
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    refused_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class StatementRecord:
    """A provider's statement about a window of an account. A later one replaces an earlier one."""

    account: str
    name: str
    used_ppm: int
    resets_at: datetime | None
    length_seconds: float | None
    stated_at: datetime
    source: str


def store_use(
    connection: sa.Connection, entries: Sequence[LedgerRecord], statements: Sequence[StatementRecord], now: datetime
) -> None:
    """Store these records; what is stored already, or newer, stays.

    A statement from the future is of a machine whose clock is ahead: it does not stand in the way of later ones.
    """
    upsert_newer(connection, ledger, [asdict(entry) for entry in entries], ledger.c.seq)
    # In the order of their keys, as every transaction of many rows.
    ordered = sorted(statements, key=lambda one: (one.account, one.name, one.stated_at))
    upsert_newer(
        connection, windows, [asdict(one) for one in ordered], windows.c.stated_at, windows.c.stated_at > now
    )


def entries_of(connection: sa.Connection, account: str, spec: WindowSpec, now: datetime) -> list[Entry]:
    """What the ledger has for the last length of a window, in order of time. Empty for one without a limit."""
    if spec.tokens is None and spec.requests is None and spec.hours is None:
        return []
    first = int((now.timestamp() - spec.length_seconds) // 60)
    width = max(1, int(spec.length_seconds / 60 / _SLICES))
    kinds = [column for column in ledger.c if column.name.endswith("_tokens")]
    tokens = sum((sa.func.coalesce(kind, 0) for kind in kinds), start=sa.literal(0))
    told = sa.func.count(ledger.c.input_tokens) + sa.func.count(ledger.c.output_tokens)
    part = ledger.c.minute // width
    query = (
        sa.select(
            sa.func.max(ledger.c.at).label("at"),
            sa.func.sum(ledger.c.requests).label("requests"),
            sa.func.sum(ledger.c.requests_without_usage).label("without"),
            sa.func.sum(ledger.c.seconds).label("seconds"),
            sa.func.sum(tokens).label("tokens"),
            told.label("told"),
        )
        .where(ledger.c.account == account, ledger.c.minute >= first)
        .group_by(part)
        .order_by(sa.func.max(ledger.c.at))
    )
    if spec.model is not None:
        query = query.where(ledger.c.model == spec.model)
    return [
        Entry(
            at=row.at.timestamp(),
            requests=int(row.requests),
            tokens=int(row.tokens) if row.told else None,
            seconds=float(row.seconds),
            requests_without_usage=int(row.without),
        )
        for row in connection.execute(query)
    ]


def refused_at(connection: sa.Connection, account: str, now: datetime) -> datetime | None:
    """The newest refusal of the last minutes that named no reset."""
    since = int(now.timestamp() // 60) - 5
    query = sa.select(sa.func.max(ledger.c.refused_at)).where(ledger.c.account == account, ledger.c.minute >= since)
    return connection.execute(query).scalar()


def statements_of(connection: sa.Connection, account: str) -> dict[str, Statement]:
    """The newest statement about each window of an account, by name."""
    query = sa.select(windows).where(windows.c.account == account, windows.c.stated_at.is_not(None))
    return {
        row.name: Statement(
            window=row.name,
            used_ppm=row.used_ppm,
            resets_at=row.resets_at.timestamp() if row.resets_at else None,
            stated_at=row.stated_at.timestamp(),
            length_seconds=row.length_seconds,
            source=row.source,
        )
        for row in connection.execute(query.order_by(windows.c.name))
    }


def moment(epoch: float | None) -> datetime | None:
    """Seconds since 1970 as a date."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
