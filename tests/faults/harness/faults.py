"""The kinds of fault by name. To add one: write it in one of the modules beside this one, and name it here."""

from collections.abc import Mapping
from enum import StrEnum

from tests.faults.harness import disk, network, process_faults, queue_faults, wallclock, world_faults
from tests.faults.harness.process_faults import Fault


class World(StrEnum):
    """What a round is played on."""

    RUN_SQLITE = "run-sqlite"
    RUN_POSTGRES = "run-postgres"
    FLEET_SQLITE = "fleet-sqlite"
    FLEET_POSTGRES = "fleet-postgres"

    @property
    def fleet(self) -> bool:
        """Services of their own instead of `bakeoff run`."""
        return self.value.startswith("fleet")

    @property
    def postgres(self) -> bool:
        """PostgreSQL instead of SQLite."""
        return self.value.endswith("postgres")


def _named(*faults: Fault) -> dict[str, Fault]:
    return {fault.__name__: fault for fault in faults}


_ANYWHERE = _named(
    process_faults.kill_worker,
    process_faults.kill_guard,
    process_faults.kill_keeper,
    process_faults.kill_agent,
    process_faults.kill_worker_and_shims,
    process_faults.interrupt_everything,
    process_faults.freeze_worker_short,
    process_faults.freeze_worker_long,
    process_faults.freeze_guard,
    queue_faults.kill_broker,
    queue_faults.old_broker,
    queue_faults.freeze_broker_short,
    queue_faults.freeze_broker_long,
    queue_faults.wipe_broker,
    queue_faults.repeat_hints,
    queue_faults.duplicate_messages,
    world_faults.kill_everything,
)
_RUN = _named(process_faults.kill_run, process_faults.freeze_run)
_FLEET = _named(
    process_faults.kill_leader,
    process_faults.kill_standby,
    process_faults.kill_schedulers,
    process_faults.freeze_leader,
)
_SQLITE = _named(world_faults.hold_write_lock_short, world_faults.hold_write_lock_long)
_POSTGRES = _named(
    world_faults.kill_postgres,
    world_faults.stop_postgres_short,
    world_faults.stop_postgres_long,
    world_faults.freeze_postgres_short,
    world_faults.freeze_postgres_long,
)
_NETWORK = _named(world_faults.cut_network_short, world_faults.cut_network_long)
# While one of these lasts nobody can be asked to start a run.
DATABASE_FAULTS = frozenset({*_SQLITE, *_POSTGRES})
# Played to their end before the next one comes: what is frozen or away is no target for more of the same.
ALONE = DATABASE_FAULTS | {"freeze_run"}


def faults_of(world: World) -> Mapping[str, Fault]:
    """What can be done to a round in this world, on this machine and as this user."""
    found = {**_ANYWHERE, **(_FLEET if world.fleet else _RUN), **(_POSTGRES if world.postgres else _SQLITE)}
    if world.postgres and network.can_be_made():
        found |= _NETWORK
    if disk.can_be_made():
        found |= _named(world_faults.fill_disk)
    if wallclock.can_be_set():
        found |= _named(world_faults.jump_clock)
    return found
