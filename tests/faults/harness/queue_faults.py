"""Faults of the queue: its broker dies, hangs, forgets, remembers too much, or says everything twice."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import redis
from kombu.exceptions import OperationalError

from orchestrator.broker import KEY_PREFIX, celery_app, publish
from orchestrator.domain.errors import StorageError
from orchestrator.embedded import EmbeddedBroker
from orchestrator.storage.dispatch import Hint, open_hints
from tests.faults.harness.arena import Arena
from tests.faults.harness.duplicator import Duplicator
from tests.faults.harness.process_faults import LONG_SECONDS, SHORT_SECONDS, Lasting, NoTarget, freeze
from tests.support.processes import kill

# A message that nothing in the database knows.
_FORGED = Hint(1, "0123456789abcdef", "gpu.box")


def _broker(arena: Arena) -> int:
    pid = arena.site.broker()
    if pid is None:
        raise NoTarget
    return pid


def _client(arena: Arena) -> redis.Redis:
    url = arena.broker_url()
    if url is None:
        raise NoTarget
    return redis.Redis.from_url(url, socket_timeout=2)


def kill_broker(arena: Arena, rng: random.Random) -> None:
    """Another one is started, which knows nothing."""
    kill(_broker(arena))


def old_broker(arena: Arena, rng: random.Random) -> None:
    """It dies, and the next one has old data: every message of the past, as if none had been taken."""
    past = arena.recorder.hints
    if not past:
        raise NoTarget
    old = EmbeddedBroker(arena.root / "old-broker.log")
    try:
        publish(celery_app(replace(arena.settings, broker_url=old.url)), past, {})
        with old.client() as theirs, _client(arena) as ours:
            theirs.save()
            kept, folder = (str(client.config_get("dir")["dir"]) for client in (theirs, ours))
            shutil.copy(Path(kept) / "dump.rdb", folder)
    except (redis.RedisError, OSError):
        raise NoTarget from None
    finally:
        old.stop()
    kill(_broker(arena))


def freeze_broker_short(arena: Arena, rng: random.Random) -> Lasting:
    """Connections stay open and nothing comes, for less than a lease."""
    return freeze([_broker(arena)], rng.uniform(*SHORT_SECONDS))


def freeze_broker_long(arena: Arena, rng: random.Random) -> Lasting:
    """The same for longer than a lease."""
    return freeze([_broker(arena)], rng.uniform(*LONG_SECONDS))


def wipe_broker(arena: Arena, rng: random.Random) -> None:
    """FLUSHALL, under the feet of everybody."""
    try:
        with _client(arena) as client:
            client.flushall()
    except (redis.RedisError, OSError):
        raise NoTarget from None


def repeat_hints(arena: Arena, rng: random.Random) -> None:
    """Every open hint twice more, every hint of the past once more in any order, and a forged one."""
    app, late = arena.celery(), arena.recorder.hints
    if app is None or not late:
        raise NoTarget
    try:
        with arena.database.read() as connection:
            late += open_hints(connection) * 2
        rng.shuffle(late)
        publish(app, [*late, _FORGED], {})
    except (StorageError, redis.RedisError, OperationalError, OSError):
        raise NoTarget from None


def duplicate_messages(arena: Arena, rng: random.Random) -> Lasting:
    """From now on for a while: every message twice at once, and once more up to 6 s late."""
    try:
        duplicator = Duplicator(_client(arena), KEY_PREFIX, rng.random())
    except (redis.RedisError, OSError):
        raise NoTarget from None
    return Lasting(rng.uniform(*LONG_SECONDS), duplicator.close)
