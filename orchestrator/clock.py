"""The clocks that the shells hand to pure code."""

import time
from datetime import UTC, datetime
from pathlib import Path


def utc_now() -> datetime:
    """Wall-clock time, for people and for provider resets. Never used to judge a lease or a limit."""
    return datetime.now(UTC)


def boot_seconds() -> float:
    """Seconds since boot, counting suspend, never stepped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names this boot of this machine and its process table: two containers on it cannot see each other's processes,
    and would take them for dead."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; with the pid it names the process for good. None = dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] == b"Z" else int(fields[19])
