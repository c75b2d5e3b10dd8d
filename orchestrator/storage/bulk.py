"""Many rows into one table: COPY on PostgreSQL, executemany on SQLite, in batches that are made as they are sent."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.domain.errors import StorageError
from orchestrator.storage.engine import Database

# Rows per statement. The server ends a statement that takes too long, and a transaction that pauses for long: each
# batch is a statement of its own, and no more than one is prepared while the server waits.
_BATCH = 2000


def insert_many(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert all rows, which have the same columns; returns how many. May be an iterator that is read as it goes."""
    put = _copy if connection.dialect.name == "postgresql" else _execute
    source, count = iter(rows), 0
    while batch := list(islice(source, _BATCH)):
        put(connection, table, batch)
        count += len(batch)
    return count


def insert_new(connection: sa.Connection, table: sa.Table, rows: list[Mapping[str, Any]]) -> None:
    """Insert those of the rows, which have the same columns, whose key is not there yet."""
    if connection.dialect.name != "postgresql":
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
        return
    # COPY knows no conflicts, so it fills a table of this transaction's first.
    columns = [table.c[name] for name in rows[0]]
    fresh = sa.Table(f"new_{table.name}", sa.MetaData(), *(sa.Column(one.name, one.type) for one in columns))
    connection.execute(sa.text(f"CREATE TEMPORARY TABLE {fresh.name} (LIKE {table.name}) ON COMMIT DROP"))
    _copy(connection, fresh, rows)
    into = postgresql.insert(table).from_select([one.name for one in columns], sa.select(*fresh.c))
    connection.execute(into.on_conflict_do_nothing())


def upsert_newer(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[dict[str, object]],
    version: sa.Column[Any],
    void: sa.ColumnElement[bool] | None = None,
) -> None:
    """Insert rows, or put them in the place of those with their key that have a lower `version` or are `void`."""
    if not rows:
        return
    key = [column.name for column in table.primary_key]
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    newer = sa.or_(version.is_(None), insert.excluded[version.name] > version, *([] if void is None else [void]))
    changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_=changed, where=newer), rows)


def refresh_statistics(database: Database, table: sa.Table) -> None:
    """Tell PostgreSQL's planner now how much there is; by itself it looks a minute later, and until then a
    scheduler's pass over 100,000 jobs takes twice as long. That it could not be told is no fault of the caller's."""
    if not database.sqlite:
        with suppress(StorageError), database.read() as connection:
            connection.exec_driver_sql(f"ANALYZE {table.name}")


def _execute(connection: sa.Connection, table: sa.Table, rows: list[Mapping[str, Any]]) -> None:
    connection.execute(table.insert(), rows)


def _copy(connection: sa.Connection, table: sa.Table, rows: list[Mapping[str, Any]]) -> None:
    names = list(rows[0])
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in names)
    ready = [(name, _binder(connection, table.c[name])) for name in names]
    driver: Any = connection.connection.driver_connection
    dbapi: Any = connection.dialect.dbapi
    statement = f"COPY {quote(table.name)} ({columns}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([bind(row[name]) for name, bind in ready])
    except dbapi.Error as error:
        # As SQLAlchemy tells what goes wrong in its own statements.
        raise sa.exc.DBAPIError.instance(statement, None, error, dbapi.Error, dialect=connection.dialect) from error


def _binder(connection: sa.Connection, column: sa.Column[Any]) -> Callable[[Any], Any]:
    """What SQLAlchemy does to a value of this column before the driver gets it."""
    dialect = connection.dialect
    bind: Callable[[Any], Any] | None = column.type.dialect_impl(dialect).bind_processor(dialect)
    return bind or (lambda value: value)
