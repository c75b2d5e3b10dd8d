"""Between a worker's threads and the jobs table: claiming, handing in, and waiting for slots."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.storage import attempts
from orchestrator.storage.attempts import (
    Answer,
    AttemptResult,
    Claim,
    Elsewhere,
    End,
    Hinted,
    NoFreeSlot,
    Refusal,
    WorkerIdentity,
)
from orchestrator.storage.engine import Database
from workers.batching import Batcher

# How often a waiting thread asks the database without having been told of a free slot (another worker's).
_ASK_SECONDS = 0.5


class Places:
    """How many sessions this worker may have on its own resource at a time; the number may change meanwhile."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._condition = threading.Condition()

    def resize(self, limit: int) -> None:
        """Let so many in from now on. Those that are in stay."""
        with self._condition:
            self._limit = limit
            self._condition.notify_all()

    def acquire(self, timeout: float) -> bool:
        """Take one; False when none became free within the timeout (seconds)."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._taken < self._limit, timeout):
                return False
            self._taken += 1
            return True

    def release(self) -> None:
        """Give one back."""
        with self._condition:
            self._taken -= 1
            self._condition.notify()


class Place:
    """One of the sessions that this worker may have on its own resource at a time."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def give_back(self) -> None:
        """Let the next attempt in. Idempotent; called from the attempt's own thread only."""
        if self._places is not None:
            self._places.release()
            self._places = None


class Claimed(NamedTuple):
    """A claim, the boot time before which it was asked for (its lease counts from there), and its place here."""

    claim: Claim
    asked_at: float
    place: Place


class SlotSignal:
    """Tells the threads of one worker that one of them has given a slot back."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def freed(self) -> None:
        """A slot was given back."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Until a slot was given back here, or the time is over."""
        with self._condition:
            self._condition.wait(seconds)


class JobDesk:
    """Where the threads of one worker claim jobs and hand in results; what comes together is stored together."""

    def __init__(self, database: Database, worker: WorkerIdentity, resource: str, places: int) -> None:
        """`places` is how many sessions on `resource` this worker may have, whatever the fleet has in all."""
        self.slots = SlotSignal()
        self.resource = resource
        # Told when an attempt found no model; of a GPU worker, to look at its server.
        self.doubt: Callable[[], None] = lambda: None
        self.places = Places(places)
        self._open = threading.Event()
        self._open.set()
        self._database, self._worker = database, worker
        self._claims = Batcher[Hinted, Answer](lambda hints: attempts.claim_many(database, hints))
        self._ends = Batcher[End, JobState | None](lambda ends: attempts.finish_many(database, ends))

    def admit(self, admits: bool) -> None:
        """Whether this worker may take new jobs. A hint that comes while it may not goes back at once."""
        if admits:
            self._open.set()
        else:
            self._open.clear()

    def claim(self, job_id: int, order_token: str, *, patience_seconds: float) -> Claimed | None:
        """Claim the job as soon as its slots are free. None when stale, or ready again after the patience."""
        began = boot_seconds()
        # Hints may come before the broker knows that nothing is wanted. It is hinted again: not faster than this.
        if not self._open.wait(_ASK_SECONDS) or not self.places.acquire(timeout=patience_seconds):
            attempts.withdraw(self._database, job_id, order_token)
            return None
        place = Place(self.places)
        claimed = None
        try:
            claimed = self._claim(job_id, order_token, place, began + patience_seconds)
        finally:
            if claimed is None:
                place.give_back()
        return claimed

    def _claim(self, job_id: int, order_token: str, place: Place, until: float) -> Claimed | None:
        while True:
            asked_at = boot_seconds()
            answer = self._claims.ask(Hinted(job_id, order_token, self._worker, utc_now()))
            if not isinstance(answer, Refusal):
                return Claimed(answer, asked_at, place) if answer else None
            if isinstance(answer, Elsewhere):
                # It is hinted again at once: not faster than this, should nobody else come.
                self.slots.wait(_ASK_SECONDS)
            if not isinstance(answer, NoFreeSlot) or asked_at >= until:
                attempts.withdraw(self._database, job_id, order_token)
                return None
            self.slots.wait(_ASK_SECONDS)

    def finish(self, attempt_id: str, result: AttemptResult) -> JobState:
        """Store the result. Returns the job's new state. Raises StaleAttempt, and stores nothing, when too late."""
        if result.outcome is Outcome.MODEL_UNAVAILABLE:
            # Before the job is ready again, so that it does not break on the same dead server at once.
            self.doubt()
        state = self._ends.ask(End(attempt_id, result, utc_now()))
        self.slots.freed()
        if state is None:
            raise StaleAttempt
        return state


class StageSlots:
    """The slots that one attempt holds, stage by stage."""

    def __init__(self, database: Database, desk: JobDesk, claimed: Claimed, spec: JobSpec) -> None:
        self._database, self._desk, self._place = database, desk, claimed.place
        self._attempt_id = claimed.claim.attempt_id
        self._held = set(claimed.claim.resources)
        per_stage = {model.resource for model in spec.models.values() if model.lease == "stage"}
        # A harness may ask any of its models at any time.
        self._per_stage = set[str]() if spec.loop == "external" else per_stage
        self.waited_seconds = 0.0

    def hold(self, model: ModelSpec, heed: Callable[[], None]) -> None:
        """Hold what this model needs and nothing that is held per stage beside it; wait where that is not free.

        `heed` is called while waiting and may raise. Raises StaleAttempt, and Parked for a stopped account.
        """
        for resource in self._held & self._per_stage - {model.resource}:
            attempts.release(self._database, self._attempt_id, resource)
            self._held.discard(resource)
            if resource == self._desk.resource:
                self._place.give_back()
            self._desk.slots.freed()
        if model.resource in self._held:
            return
        began = boot_seconds()
        while not attempts.take(self._database, self._attempt_id, model.resource, utc_now()):
            heed()
            self._desk.slots.wait(_ASK_SECONDS)
        self._held.add(model.resource)
        self.waited_seconds += boot_seconds() - began
