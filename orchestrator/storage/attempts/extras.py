"""What an attempt leaves beside its own row: checks with every run and case, and changes to what judges it."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.tampering import Change
from orchestrator.storage.attempts.values import CheckRecord
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.tables import check_cases, check_runs, checks


def store_checks(connection: sa.Connection, attempt_id: str, target_id: int, records: Sequence[CheckRecord]) -> None:
    """Insert an attempt's checks with every run and case."""
    if not records:
        return
    key = {"attempt_id": attempt_id}
    connection.execute(checks.insert(), [key | {"target_id": target_id} | _check_row(record) for record in records])
    insert_many(connection, check_runs, (key | row for record in records for row in _run_rows(record)))
    insert_many(connection, check_cases, (key | row for record in records for row in _case_rows(record)))


def _check_row(record: CheckRecord) -> dict[str, Any]:
    row = dict(vars(record))
    del row["all_runs"]
    return row | {"replaced": list(record.replaced) if record.replaced else None}


def _run_rows(record: CheckRecord) -> Iterator[dict[str, Any]]:
    for number, run in enumerate(record.all_runs, start=1):
        row = dict(vars(run))
        cases = row.pop("cases")
        yield row | {
            "kind": record.kind,
            "name": record.name,
            "run": number,
            "status": run.status.value,
            "cases_complete": None if cases is None else cases.complete,
        }


def _case_rows(record: CheckRecord) -> Iterator[dict[str, Any]]:
    for number, run in enumerate(record.all_runs, start=1):
        for ordinal, case in enumerate(run.cases.cases if run.cases else (), start=1):
            yield {
                "kind": record.kind,
                "name": record.name,
                "run": number,
                "ordinal": ordinal,
                "case_name": case.name,
                "status": case.status.value,
                "seconds": case.seconds,
            }


def change_row(ordinal: int, change: Change) -> dict[str, Any]:
    """A change's columns."""
    signs = change.weakening
    return {
        "ordinal": ordinal,
        "path": change.path,
        "kind": change.kind.value,
        "status": change.status.value,
        "counts": change.counts,
        "lines_added": change.lines_added,
        "lines_removed": change.lines_removed,
        "tests_removed": signs.tests_removed if signs else None,
        "skips_added": signs.skips_added if signs else None,
        "asserts_removed": signs.asserts_removed if signs else None,
    }
