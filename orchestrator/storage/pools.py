"""Pools and what the machines saw of their model servers."""

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.model_server import Observation, ServerReport, why_closed
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import pool_servers, pools


class PoolServer(NamedTuple):
    """Where a pool's server is, and under which secret (by name). `slots`: at most so many; None: what it tells."""

    name: str
    base_url: str
    key: str | None
    slots: int | None


class Moment(NamedTuple):
    """When a machine looked, on its own boot clock."""

    boot_id: str
    boot_seconds: float


class PoolView(NamedTuple):
    """A pool with the newest look of every machine, however old."""

    server: PoolServer
    seen: tuple[Observation, ...]


_POOLS = sa.select(pools.c.name, pools.c.base_url, pools.c.key, pools.c.slots)


def pool_server(database: Database, name: str) -> PoolServer | None:
    """A pool as the newest fleet file says; None when none has named it yet."""
    with database.read() as connection:
        row = connection.execute(_POOLS.where(pools.c.name == name)).first()
    return None if row is None else PoolServer(*row)


def report(
    database: Database, server: PoolServer, machine: str, moment: Moment, found: ServerReport, now: datetime
) -> bool:
    """Store what a machine saw. False, and nothing changes, when a later look of that machine is there already."""
    same = sa.and_(pool_servers.c.pool == server.name, pool_servers.c.machine == machine)
    values = {
        "base_url": server.base_url,
        **moment._asdict(),
        "health": found.health,
        "report": found.model_dump(mode="json"),
        "since": now,
        "seen_at": now,
    }
    with database.write() as connection:
        one_at_a_time(connection, f"pool server {server.name}")
        old = connection.execute(sa.select(pool_servers).where(same)).first()
        if old is None:
            connection.execute(pool_servers.insert().values(pool=server.name, machine=machine, **values))
            return True
        if old.boot_id == moment.boot_id and old.boot_seconds > moment.boot_seconds:
            return False
        if (old.health, old.base_url) == (found.health, server.base_url):
            values["since"] = old.since
        connection.execute(pool_servers.update().where(same).values(**values))
        return True


def pool_views(connection: sa.Connection) -> list[PoolView]:
    """Every pool. A look at another URL than the pool's present one is left out."""
    known = [PoolServer(*row) for row in connection.execute(_POOLS.order_by(pools.c.name))]
    seen: dict[tuple[str, str], list[Observation]] = defaultdict(list)
    for row in connection.execute(sa.select(pool_servers).order_by(pool_servers.c.machine)):
        seen[row.pool, row.base_url].append(
            Observation(
                machine=row.machine,
                report=ServerReport.model_validate(row.report),
                since=row.since,
                seen_at=row.seen_at,
            )
        )
    return [PoolView(server, tuple(seen[server.name, server.base_url])) for server in known]


def all_pools(database: Database) -> list[PoolView]:
    """As `pool_views`, for views."""
    with database.read() as connection:
        return pool_views(connection)


def closed_reasons(connection: sa.Connection) -> dict[str, str]:
    """For each resource `pool:NAME` whose server was not found serving: why it is closed."""
    found = {}
    for server, seen in pool_views(connection):
        away = [one for one in seen if not one.report.serves]
        if away:
            found[f"pool:{server.name}"] = why_closed(server.name, server.base_url, away)
    return found
