"""Removes ended trees while this worker has nothing to do, when a setting says for how long they are kept."""

import logging
import threading

from orchestrator.clock import utc_now
from orchestrator.domain.errors import BakeoffError
from orchestrator.domain.garbage import GarbageQuestion
from workers.context import WorkerContext
from workers.gc import Collector

log = logging.getLogger("bakeoff.worker")

_FIRST_SECONDS, _PAUSE_SECONDS = 30.0, 900.0


class Keeper:
    """The removing thread. It stops between two trees as soon as an attempt begins."""

    def __init__(
        self, context: WorkerContext, *, first_seconds: float = _FIRST_SECONDS, pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        self._context, self._first, self._pause = context, first_seconds, pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin, if the setting says so."""
        if self._context.settings.gc_after_hours:
            self._thread.start()

    def stop(self) -> None:
        """Remove nothing more. A tree whose removal takes longer is finished by the next collection."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        pause = self._first
        while not self._stop.wait(pause):
            pause = self._pause
            if not self._idle():
                continue
            try:
                self._collect()
            except (BakeoffError, OSError) as error:
                log.warning("collection_failed error=%s", error)
            except Exception:
                # A bug in one collection must not end those that would make room later.
                log.exception("collection_failed")

    def _idle(self) -> bool:
        return not self._stop.is_set() and not self._context.heartbeats.holds_any()

    def _collect(self) -> None:
        settings = self._context.settings
        question = GarbageQuestion(remove=True, retention_seconds=settings.gc_after_hours * 3600)
        collector = Collector(settings=settings, database=self._context.database, question=question, now=utc_now())
        went = [item for item in collector.collect(self._idle) if item.goes]
        if went:
            log.info("trees_removed count=%d bytes=%d", len(went), sum(item.disk_bytes for item in went))
