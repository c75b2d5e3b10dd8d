"""A worker process: `python -m workers.main cloud --account NAME` or `gpu --pool NAME [--slots N|auto]`.

Started by `bakeoff worker`; it must not be imported by the orchestrator.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from orchestrator.broker import celery_app
from orchestrator.clock import boot_id, start_ticks, utc_now
from orchestrator.domain.errors import BakeoffError, ExitCode, Unavailable
from orchestrator.domain.lease import Beat
from orchestrator.domain.outcome import Outcome
from orchestrator.logs import log_to
from orchestrator.settings import Settings, host_environment, load_settings
from orchestrator.storage import attempts, machines
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import WorkerIdentity
from orchestrator.storage.engine import Database
from orchestrator.storage.pools import pool_server
from workers.agents.registry import names
from workers.checks import sweep_dead_scenes
from workers.context import WorkerContext
from workers.envelopes import guard_envelopes
from workers.events import batch_events
from workers.gateway.server import Gateway
from workers.gc import run_folders
from workers.heartbeat import Heartbeats
from workers.keeper import Keeper
from workers.models.watch import PoolWatch
from workers.registrar import Registrar, require_fit
from workers.slots import JobDesk
from workers.spool import Shipper
from workers.supervision.meter import Meter
from workers.supervision.sweep import sweep
from workers.tasks import register

log = logging.getLogger("bakeoff.worker")

# Beside the attempts that hold slots: those that check their work, wait for a slot between two stages, or were
# hinted ahead. The database admits; threads that wait cost nothing.
_SPARE_THREADS = 4
# Threads of a GPU worker, whose server may grow while it runs. They are made when they are needed.
_MOST_GPU = 64
# How long our own consumer may take to answer; it is asked again a second later.
_ANSWER_SECONDS = 1.0
# How long Celery may take to tell the broker that a worker without attempts ends; usually it takes 0.1 s.
_GOODBYE_SECONDS = 5.0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bakeoff worker")
    kinds = parser.add_subparsers(dest="kind", required=True)
    cloud = kinds.add_parser("cloud")
    cloud.add_argument("--account", required=True)
    cloud.add_argument("--slots", type=int, default=0)
    gpu = kinds.add_parser("gpu")
    gpu.add_argument("--pool", required=True)
    gpu.add_argument("--slots", type=lambda text: 0 if text == "auto" else int(text), default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop. Returns an exit code of `ExitCode`."""
    options = parse(sys.argv[1:] if argv is None else argv)
    # A log that cannot be written, on a full disk, is no reason to write more.
    logging.raiseExceptions = False
    log_to(None, as_json=False)
    # Celery sets the root logger to its own level, under which our account of every attempt would be lost.
    logging.getLogger("bakeoff").setLevel(logging.INFO)
    try:
        settings = load_settings()
        if settings.log_json:
            log_to(None, as_json=True)
        return serve(options, settings)
    except BakeoffError as error:
        log.error("worker_stopped kind=%s error=%s", error.kind, error)
        return int(error.exit_code)


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Set the process up, consume the queue, take everything down again."""
    if settings.broker_url is None:
        raise Unavailable("BAKEOFF_BROKER_URL is not set: a worker needs the broker of its scheduler")
    database = Database(settings.database_url)
    require_fit(database, settings)
    resource = f"account:{options.account}" if options.kind == "cloud" else f"pool:{options.pool}"
    queue = f"cloud.{options.account}" if options.kind == "cloud" else f"gpu.{options.pool}"
    slots = options.slots or _places(database, resource)
    context = make_context(settings, database, resource, slots)
    recover(context)
    guard_envelopes()
    app = celery_app(settings)
    register(app, context)
    context.gateway.start()
    context.heartbeats.start()
    context.shipper.start()
    context.meter.start()
    watch = watch_pool(context, options.pool, options.slots) if options.kind == "gpu" else None
    name = f"{queue}@{settings.machine}.{context.identity.pid}"

    def switch(on: bool) -> bool:
        # To ourselves by way of the broker: Celery's own consumer may only be changed in its own thread. Redis drops
        # what is sent while nobody listens, so only an answer says that it arrived.
        order = app.control.add_consumer if on else app.control.cancel_consumer
        return bool(order(queue, destination=[name], reply=True, timeout=_ANSWER_SECONDS))

    registrar = Registrar(
        context,
        f"{queue}@{context.identity.pid}",
        {"resource": resource, "slots": slots, "agents": list(names())},
        consume=switch,
        recover=lambda: recover_dead(context),
    )
    keeper = Keeper(context)
    registrar.start()
    keeper.start()
    try:
        return consume(app, context, queue, name, slots, most=_MOST_GPU if options.kind == "gpu" else 0)
    finally:
        registrar.stop()
        keeper.stop()
        if watch is not None:
            watch.stop()
        context.heartbeats.stop()
        context.shipper.stop()
        context.meter.stop()
        context.gateway.stop()
        database.close()


def _places(database: Database, resource: str) -> int:
    """Sessions at a time here when nobody says how many; of a pool only until its server has been looked at."""
    kind, _, name = resource.partition(":")
    if kind == "account":
        return machines.capacity(database, resource) or 1
    server = pool_server(database, name)
    return server.slots or 1 if server is not None else 1


def watch_pool(context: WorkerContext, pool: str, most: int) -> PoolWatch:
    """Look at the pool's server from now on; this worker has as many places as it serves, at most `most` if not 0."""

    def give_up(reason: str) -> None:
        here = attempts.attempts_on(context.database, context.identity, f"pool:{pool}")
        context.heartbeats.order_all(Outcome.MODEL_UNAVAILABLE, reason, only=here)

    def resize(live: int) -> None:
        context.desk.places.resize(min(live, most or live))

    watch = PoolWatch(context.database, context.identity, pool, resize=resize, give_up=give_up)
    context.desk.doubt = watch.try_look
    watch.start()
    return watch


def make_context(settings: Settings, database: Database, resource: str, places: int) -> WorkerContext:
    """The long-lived parts, not started yet."""
    pid = os.getpid()
    ticks = start_ticks(pid)
    assert ticks is not None  # this process lives
    identity = WorkerIdentity(machine=settings.machine, boot_id=boot_id(), pid=pid, start_ticks=ticks)
    return WorkerContext(
        settings=settings,
        database=database,
        gateway=Gateway(),
        heartbeats=Heartbeats(settings, database),
        shipper=Shipper(database),
        meter=Meter(),
        artifacts=ArtifactStore(settings.artifacts),
        identity=identity,
        desk=JobDesk(database, identity, resource, places),
        host_env=host_environment(settings.home),
    )


def recover(context: WorkerContext) -> None:
    """End what dead workers of this machine left, give their jobs back at once, and ship their telemetry.

    Their leases need not run out first: the holders are provably dead and so, after the sweep, are their trees.
    """
    recover_dead(context, always_sweep=True)
    adopted = context.shipper.adopt(context.settings.spool)
    if adopted:
        log.warning("leftovers telemetry_files=%d", adopted)


def recover_dead(context: WorkerContext, *, always_sweep: bool = False) -> None:
    """The attempts and processes of dead workers only: cheap enough to ask for all the time."""
    identity = context.identity
    local = attempts.local_attempts(context.database, identity.machine, identity.boot_id)
    dead = [one for one in local if start_ticks(one.worker_pid) != one.worker_start_ticks]
    if not dead and not always_sweep:
        return
    ended = sweep(live_attempts={one.attempt_id for one in local} - {one.attempt_id for one in dead})
    # Before their jobs go back: what the dead ones checked with may be hidden from the agents that come next.
    sweep_dead_scenes(run_folders(context.settings.runs))
    for one in dead:
        beat = Beat(one.attempt_id, one.heartbeat)
        if attempts.expire(context.database, beat, "its worker died on this machine", utc_now()):
            log.warning("attempt_recovered attempt=%s worker_pid=%d", one.attempt_id, one.worker_pid)
    if ended:
        log.warning("leftovers processes=%d", len(ended))


def consume(app: Celery, context: WorkerContext, queue: str, name: str, slots: int, *, most: int) -> int:
    """Celery's own loop. TERM or INT ends the running attempts, whose jobs go back, and then the process."""

    def interrupted(**_: object) -> None:
        running = context.heartbeats.order_all(Outcome.INTERRUPTED, "the worker was stopped")
        log.info("worker_stopping attempts=%d", running)
        threading.Thread(target=_leave, args=(context,), name="leave", daemon=True).start()

    def ready(**_: object) -> None:
        log.info("worker_ready queue=%s slots=%d", queue, slots)

    worker_shutting_down.connect(interrupted, weak=False)
    worker_ready.connect(ready, weak=False)
    # Celery's second SIGINT would kill at once; the leases make that safe, so its handlers stay as they are.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    batch_events(app)
    worker = app.Worker(
        queues=[queue],
        concurrency=max(slots, most) + _SPARE_THREADS,
        pool="threads",
        hostname=name,
        without_mingle=True,
        without_gossip=True,
        loglevel="WARNING",
        task_events=True,
        optimization="fair",
    )
    worker.start()
    return int(worker.exitcode or ExitCode.OK)


def _leave(context: WorkerContext) -> None:
    """End the process when its attempts have ended but Celery's goodbye hangs, as it does with a frozen broker."""
    pause = threading.Event()
    while context.heartbeats.holds_any():
        pause.wait(0.1)
    pause.wait(_GOODBYE_SECONDS)
    log.warning("worker_left reason=the broker does not answer")
    context.shipper.stop()
    os._exit(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
