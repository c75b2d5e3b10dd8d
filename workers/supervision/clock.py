"""The clock that leases and limits are counted on."""

import time


def boot_seconds() -> float:
    """Seconds since this machine booted. Counts suspend, ignores every setting of the wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
