"""What was foretold of quota windows, and when it came: rows of `projections`, at most nine per window and reset."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.projection import Accuracy, Projection, accuracy, projection_of
from orchestrator.domain.zones import WindowState
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import moment
from orchestrator.storage.tables import projections

# The accuracy of a window is that of its newest ones: some weeks of five hours each.
_NEWEST = 900
_TIMES = ("made_at", "until", "came_at")


class Seen(NamedTuple):
    """A window as it was judged, and whether the fleet has to stop for it."""

    account: str
    state: WindowState
    stopped: bool


def follow(database: Database, seen: Sequence[Seen], now: datetime) -> None:
    """Note what is to be noted about these windows, and what has come. Writes nothing where nothing is new."""
    with database.read() as connection:
        known = _read(connection, projections.c.until > now)
    fresh, came = [], []
    for one in seen:
        before = known.get((one.account, one.state.spec.name), [])
        if one.stopped:
            came += [one] if any(projection.came_at is None for projection in before) else []
        elif (projection := projection_of(one.state, before, now.timestamp())) is not None:
            fresh.append(_row(one, projection))
    if not fresh and not came:
        return
    with database.write() as connection:
        for row in fresh:
            connection.execute(projections.insert().values(row))
        for one in came:
            mine = sa.and_(projections.c.account == one.account, projections.c.window == one.state.spec.name)
            open_ones = projections.update().where(mine, projections.c.until > now, projections.c.came_at.is_(None))
            connection.execute(open_ones.values(came_at=now, came_ppm=one.state.standing.used_ppm))


def accuracies(connection: sa.Connection, account: str) -> dict[str, Accuracy]:
    """How far off the projections of this account's windows were, by window."""
    found = _read(connection, projections.c.account == account)
    return {window: accuracy(those) for (_, window), those in found.items()}


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[tuple[str, str], list[Projection]]:
    query = sa.select(projections).where(which).order_by(projections.c.id.desc()).limit(_NEWEST)
    found: dict[tuple[str, str], list[Projection]] = {}
    for row in connection.execute(query):
        values = {name: row._mapping[name] for name in Projection.__dataclass_fields__}
        values |= {name: values[name] and values[name].timestamp() for name in _TIMES}
        found.setdefault((row.account, row.window), []).append(Projection(**values))
    return found


def _row(seen: Seen, projection: Projection) -> dict[str, Any]:
    values = asdict(projection)
    values |= {name: moment(values[name]) for name in _TIMES}
    return {"account": seen.account, "window": seen.state.spec.name, **values}
