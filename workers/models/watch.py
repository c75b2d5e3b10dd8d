"""A GPU worker's thread that looks at its pool's server, tells the database, and ends what a dead server leaves."""

import logging
import threading
from collections.abc import Callable

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StorageError, Unavailable
from orchestrator.domain.model_server import ServerReport
from orchestrator.settings import read_secret
from orchestrator.storage.attempts import WorkerIdentity
from orchestrator.storage.engine import Database
from orchestrator.storage.pools import Moment, PoolServer, pool_server, report
from workers.models.probe import Prober

log = logging.getLogger("bakeoff.worker")

# A few GETs of some KiB. Until a dead server is seen, its jobs break one after the other.
_LOOK_SECONDS = 2.0
# How often an unchanged server is told again; a look counts for 45 s. Its load changes all the time.
_TELL_SECONDS = 10.0
# After so long without a server the attempts on it end: agents that retry silently would be ended as idle later,
# and that would count against their profiles. A service manager restarts a server sooner.
_GIVE_UP_SECONDS = 60.0


class PoolWatch:
    """The looking thread. `resize` is told after every look how many requests the server takes now, 0 while it is
    away; `give_up`, after every look while it has been away for too long, why.
    """

    def __init__(
        self,
        database: Database,
        identity: WorkerIdentity,
        pool: str,
        *,
        resize: Callable[[int], None],
        give_up: Callable[[str], None],
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._database, self._identity, self._pool = database, identity, pool
        self._resize, self._give_up, self._clock = resize, give_up, clock
        self._server: PoolServer | None = None
        self._prober: Prober | None = None
        self._told: ServerReport | None = None
        self._told_at = self._away_since = 0.0
        self._fault: str | None = None
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.try_look()
            self._stop.wait(_LOOK_SECONDS)

    def try_look(self) -> None:
        """One look, from any thread. What goes wrong is logged: the next look comes in two seconds."""
        try:
            with self._looking:
                self.look()
        except StorageError as error:
            log.warning("pool_look_failed pool=%s error=%s", self._pool, error)
        except Exception:
            # A bug in one look must not leave the pool unwatched for the night.
            log.exception("pool_look_failed pool=%s", self._pool)

    def look(self) -> None:
        """One look, and what follows from it. Raises StorageError while the database is away."""
        server = pool_server(self._database, self._pool)
        if server is None:
            return  # no fleet file has named it yet
        if server != self._server or self._prober is None:
            self._server, self._prober = server, Prober(server.base_url, _key(server))
        began = self._clock()
        found = self._prober.look()
        self._judge(server, found, began)
        if self._worth_telling(found, began):
            moment = Moment(self._identity.boot_id, began)
            report(self._database, server, self._identity.machine, moment, found, utc_now())
            self._told, self._told_at = found, began

    def _judge(self, server: PoolServer, found: ServerReport, began: float) -> None:
        if found.serves:
            if self._fault is not None:
                log.warning("pool_server_serves pool=%s %s", self._pool, found.in_words())
            self._fault = None
            self._resize(found.slots or server.slots or 1)
            return
        if self._fault is None:
            self._away_since = began
            log.warning("pool_server_away pool=%s url=%s %s", self._pool, server.base_url, found.in_words())
        self._resize(0)
        self._fault = f"the model server {server.base_url} of pool {self._pool} is {found.in_words()}"
        if self._clock() - self._away_since >= _GIVE_UP_SECONDS:
            self._give_up(self._fault)

    def _worth_telling(self, found: ServerReport, began: float) -> bool:
        if self._told is None or began - self._told_at >= _TELL_SECONDS:
            return True
        load = {"busy": None, "waiting": None}
        return found.model_copy(update=load) != self._told.model_copy(update=load)


def _key(server: PoolServer) -> str | None:
    """The pool's key. Without it the server may tell less, and attempts will say what is wrong with it."""
    if server.key is None:
        return None
    try:
        return read_secret(server.key)
    except Unavailable as error:
        log.warning("pool_key_missing pool=%s error=%s", server.name, error)
        return None
