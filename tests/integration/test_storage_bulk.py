"""Many rows at once: what is read back is what an ordinary INSERT would have stored."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import StorageError
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import drains, events, experiments
from tests.support.world import NOW, A, add


def rows(count: int, *, bad: int = -1) -> Iterator[dict[str, Any]]:
    for number in range(count):
        name = f"n{number}" if number != bad else None
        text = f"tab\there \\N back\\slash\nline {number} \x00 \ud800"
        spec = {"a": [number, None, 'quote" \\ \t'], "é": "\n"}
        when = {"created_at": NOW, "submitted_at": NOW}
        yield {"name": name, "file_text": text, "spec": spec, "seed": 2**62, **when}


def test_what_goes_in_by_thousands_comes_out_alike(database: Database) -> None:
    with database.write() as connection:
        assert insert_many(connection, experiments, rows(4_100)) == 4_100
        connection.execute(experiments.insert(), [next(rows(1)) | {"name": "plain"}])
    columns = [column for column in experiments.c if column.name not in ("id", "name")]
    with database.read() as connection:
        stored = connection.execute(sa.select(*columns).order_by(experiments.c.id)).all()
        names = connection.execute(sa.select(experiments.c.name).order_by(experiments.c.id)).scalars().all()
    assert names == [*(f"n{number}" for number in range(4_100)), "plain"]
    assert stored[0] == stored[-1], "as by an ordinary insert"
    assert stored[4_099].spec["a"][0] == 4_099
    assert stored[0].file_text == "tab\there \\N back\\slash\nline 0 \ufffd \ufffd"


def test_none_is_null_and_nothing_is_nothing(database: Database) -> None:
    add(database, [A])
    with database.write() as connection:
        assert insert_many(connection, drains, []) == 0
        assert insert_many(connection, events, iter([])) == 0


def test_one_bad_row_leaves_none(database: Database) -> None:
    with pytest.raises((sa.exc.IntegrityError, StorageError)), database.write() as connection:
        insert_many(connection, experiments, rows(3_000, bad=2_500))
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(experiments)).scalar_one() == 0
