"""Accounts and pools that are gone from the fleet file and that no open job needs: forgotten, history apart."""

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from orchestrator.domain.fleet import Fleet
from orchestrator.domain.states import FINAL_JOB_STATES
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import (
    accounts,
    breakers,
    cells,
    drains,
    jobs,
    leases,
    pool_servers,
    pools,
    quota_gates,
    windows,
)


def unneeded(database: Database, fleet: Fleet) -> list[str]:
    """What `forget_unneeded` would forget now."""
    with database.read() as connection:
        return _unneeded(connection, _named_by(fleet))


def forget_unneeded(database: Database, fleet: Fleet) -> list[str]:
    """Forget the resources beside those of this fleet that no open job needs. Returns them. Idempotent.

    Whoever submits stores his jobs before his fleet, so that nothing which they need is missed here.
    """
    with database.write() as connection:
        one_at_a_time(connection, "fleet")
        gone = _unneeded(connection, _named_by(fleet))
        _forget(connection, gone)
        return gone


def _named_by(fleet: Fleet) -> set[str]:
    return {f"account:{name}" for name in fleet.accounts} | {f"pool:{name}" for name in fleet.pools}


def _unneeded(connection: sa.Connection, kept: Collection[str]) -> list[str]:
    """The resources (`account:NAME`, `pool:NAME`) beside `kept` that no open job of any experiment may use.

    Costs by open jobs, and next to nothing where the fleet has all.
    """
    known = set(connection.execute(sa.select(leases.c.resource).distinct()).scalars())
    known |= {f"account:{name}" for name in connection.execute(sa.select(accounts.c.name)).scalars()}
    known |= {f"pool:{name}" for name in connection.execute(sa.select(pools.c.name)).scalars()}
    gone = known - set(kept)
    if not gone:
        return []
    held = sa.select(leases.c.resource).where(leases.c.attempt_id.is_not(None))
    gone -= set(connection.execute(held).scalars())
    is_open = jobs.c.state.not_in(sorted(FINAL_JOB_STATES))
    for needs in connection.execute(sa.select(jobs.c.needs).where(is_open).distinct()).scalars():
        gone -= set(split_needs(needs))
    # What is held per stage is not among the needs.
    for role in ("reasoning", "build"):
        of = cells.c.spec["models"][role]["resource"].as_string()
        query = sa.select(of).join(jobs, jobs.c.cell_id == cells.c.id).where(is_open).distinct()
        gone -= {name for name in connection.execute(query).scalars() if name}
    return sorted(gone)


def _forget(connection: sa.Connection, resources: Iterable[str]) -> None:
    # Attempts, the ledger and the records of what breakers and quotas did stay.
    for resource in resources:
        kind, _, name = resource.partition(":")
        connection.execute(leases.delete().where(leases.c.resource == resource))
        connection.execute(breakers.delete().where(breakers.c.scope == resource))
        connection.execute(drains.delete().where(drains.c.scope == resource))
        if kind == "account":
            for table in (windows, quota_gates):
                connection.execute(table.delete().where(table.c.account == name))
            connection.execute(accounts.delete().where(accounts.c.name == name))
        else:
            connection.execute(pool_servers.delete().where(pool_servers.c.pool == name))
            connection.execute(pools.delete().where(pools.c.name == name))
