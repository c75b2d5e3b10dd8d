"""Which accounts and pools have answered an attempt: it proves that they work, and so ends their probe."""

import logging

from orchestrator.clock import utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.storage import breakers
from orchestrator.storage.attempts import Claim
from orchestrator.storage.engine import Database

log = logging.getLogger("bakeoff.worker")


class Answers:
    """The answers of one attempt. Used from the attempt's own thread only."""

    def __init__(self, database: Database, claim: Claim) -> None:
        self._database, self._claim = database, claim
        self._told: set[str] = set()
        self.resources: set[str] = set()

    def saw(self, resource: str) -> None:
        """A model there has answered a request. The first one closes the breaker that this attempt tries.

        A database that is away is asked again with the next answer; the attempt's end tells it in any case.
        """
        self.resources.add(resource)
        # A slot that was taken between two stages may have made this attempt the probe too.
        mine = resource in self._claim.probes or resource not in self._claim.resources
        if not mine or resource in self._told:
            return
        try:
            closed = breakers.answered(self._database, self._claim.attempt_id, resource, utc_now())
        except StorageError as error:
            log.warning("answer_untold attempt=%s scope=%s error=%s", self._claim.attempt_id, resource, error)
            return
        self._told.add(resource)
        if closed:
            log.info("breaker_closed scope=%s attempt=%s", resource, self._claim.attempt_id)
