"""What every part of an attempt stands on: whose it is, whom it heeds, and patience with the database."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from orchestrator.clock import boot_seconds
from orchestrator.domain.errors import StorageError
from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.storage.attempts import Claim
from orchestrator.storage.hidden import load_hidden
from workers.checking import Hidden, packs
from workers.command import CommandFrame
from workers.context import WorkerContext
from workers.spool import Recorder
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView

log = logging.getLogger("bakeoff.worker")

T = TypeVar("T")
_RETRY_SECONDS = 1.0


class Ended(Exception):
    """The attempt is over before its loop said so."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        self.outcome, self.detail = outcome, detail
        super().__init__(detail)


@dataclass(frozen=True, kw_only=True)
class Footing:
    """Shared by the parts of one attempt."""

    context: WorkerContext
    claim: Claim
    recorder: Recorder
    inbox: StageInbox
    lease: LeaseView
    progress: Callable[[str], None]

    @property
    def commands(self) -> CommandFrame:
        """For setup and checks."""
        return CommandFrame(attempt_id=self.claim.attempt_id, lease=self.lease, inbox=self.inbox)

    def heed(self) -> None:
        """End here when somebody ordered it, or when the lease has run out."""
        order = self.inbox.order
        if order is not None:
            raise Ended(order.outcome, order.detail)
        if boot_seconds() >= self.lease.deadline:
            raise Ended(Outcome.LEASE_LOST, "the lease was not renewed in time")

    def ask(self, ask: Callable[[], T]) -> T:
        """Ask the database, again and again while it is away: the lease says how long that may take."""
        pause = threading.Event()
        while True:
            self.heed()
            try:
                return ask()
            except StorageError as error:
                log.warning("attempt_waits attempt=%s error=%s", self.claim.attempt_id, error)
            pause.wait(_RETRY_SECONDS)

    def hidden(self, spec: JobSpec) -> Hidden:
        """What the hidden checks bring, in memory only: nothing of it is on this machine before the checks run."""
        found = {}
        for name, pack in packs(spec).items():
            found[name] = self.ask(partial(load_hidden, self.context.database, pack))
        return found
