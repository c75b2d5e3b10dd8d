"""What every attempt of one worker process shares."""

from dataclasses import dataclass

from orchestrator.settings import Settings
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import WorkerIdentity
from orchestrator.storage.engine import Database
from workers.gateway.server import Gateway
from workers.heartbeat import Heartbeats
from workers.slots import JobDesk
from workers.spool import Shipper
from workers.supervision.meter import Meter


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """The long-lived parts of a worker process."""

    settings: Settings
    database: Database
    gateway: Gateway
    heartbeats: Heartbeats
    shipper: Shipper
    meter: Meter
    artifacts: ArtifactStore
    identity: WorkerIdentity
    host_env: dict[str, str]
    desk: JobDesk
