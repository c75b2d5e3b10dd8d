"""Whether this machine has room for another attempt: disk, memory, load. It delays starts, and ends nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

_MIB = 1024 * 1024
# A machine that was too full is only taken to have room again with this much more of it.
_ROOM_AGAIN = 1.2


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a machine has left: bytes of disk and memory, and its load per core over the last minute."""

    disk_bytes: int
    memory_bytes: int | None  # None where the kernel does not tell
    load_per_core: float


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What must be left for an attempt to start. Sizes in MiB; a load of 0 is not looked at."""

    disk_mib: float
    memory_mib: float
    load_per_core: float


def room(home: Path) -> Room:
    """What this machine has left now. `home` is where the trees of attempts lie, or will lie."""
    disk = os.statvfs(next(place for place in (home, *home.parents) if place.exists()))
    return Room(
        disk_bytes=disk.f_bavail * disk.f_frsize,
        memory_bytes=_available_memory(Path("/proc/meminfo").read_text()),
        load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
    )


def _available_memory(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def too_full(room: Room, floor: Floor, *, was_full: bool) -> str | None:
    """Why nothing new may start, in words; None when there is room. Once full, a fifth more is asked for."""
    more = _ROOM_AGAIN if was_full else 1.0
    disk, memory = room.disk_bytes / _MIB, None if room.memory_bytes is None else room.memory_bytes / _MIB
    if disk < floor.disk_mib * more:
        return f"{disk:.0f} MiB of disk are free, {floor.disk_mib * more:.0f} are wanted"
    if memory is not None and memory < floor.memory_mib * more:
        return f"{memory:.0f} MiB of memory are free, {floor.memory_mib * more:.0f} are wanted"
    if floor.load_per_core and room.load_per_core * more > floor.load_per_core:
        return f"the load is {room.load_per_core:.1f} per core, at most {floor.load_per_core / more:.1f} is wanted"
    return None
