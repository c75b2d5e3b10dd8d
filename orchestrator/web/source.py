"""One reading for everybody who looks at the same thing, and what was read last while the database is away."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StorageError

T = TypeVar("T")

TICK_SECONDS = 1.0
# Rest so many times as long as a reading took: a large matrix must not eat the machine that runs it.
REST_TIMES = 5.0
# A viewer is not kept waiting for a database that hangs: the last reading is shown, marked as old.
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Shown(Generic[T]):
    """What was read last, None when nothing ever was. `away_since` is set while the database does not answer."""

    value: T | None
    read_at: datetime | None
    away_since: datetime | None
    fault: str


class Source(Generic[T]):
    """Reads on demand, in a thread, at most once per tick whoever asks."""

    def __init__(self, read: Callable[[datetime], T]) -> None:
        self._read = read
        self._shown: Shown[T] = Shown(value=None, read_at=None, away_since=None, fault="")
        self._running: asyncio.Task[None] | None = None
        self._next = 0.0

    async def look(self) -> Shown[T]:
        """The newest reading. Raises what the reading raises, but for StorageError, which is shown."""
        if self._running is None and boot_seconds() >= self._next:
            self._running = asyncio.create_task(self._look())
        if (task := self._running) is not None:
            await asyncio.wait([task], timeout=_PATIENCE_SECONDS if self._known else None)
            if task.done():
                task.result()
        return self._shown

    @property
    def _known(self) -> bool:
        return self._shown.value is not None or self._shown.away_since is not None

    async def _look(self) -> None:
        began, now = boot_seconds(), utc_now()
        try:
            value = await asyncio.to_thread(self._read, now)
        except StorageError as error:
            since = self._shown.away_since or now
            self._shown = Shown(
                value=self._shown.value, read_at=self._shown.read_at, away_since=since, fault=str(error)
            )
        else:
            self._shown = Shown(value=value, read_at=now, away_since=None, fault="")
        finally:
            self._next = boot_seconds() + max(TICK_SECONDS, REST_TIMES * (boot_seconds() - began))
            self._running = None


class Sources(Generic[T]):
    """Sources by key, those that were asked last."""

    def __init__(self, make: Callable[[Hashable], Callable[[datetime], T]], most: int) -> None:
        self._make, self._most = make, most
        self._kept: OrderedDict[Hashable, Source[T]] = OrderedDict()

    async def look(self, key: Hashable) -> Shown[T]:
        """The newest reading of this key. What cannot be read is not kept."""
        source = self._kept.get(key) or Source(self._make(key))
        self._kept[key] = source
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        try:
            return await source.look()
        except Exception:
            if self._kept.get(key) is source:
                del self._kept[key]
            raise
