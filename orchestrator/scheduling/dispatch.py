"""One pass: which ready jobs may start now. Costs by classes, free slots and open hints, not by what waits."""

import secrets
from datetime import datetime

from orchestrator.domain.order import pick
from orchestrator.storage import dispatch as store
from orchestrator.storage.engine import Database

# Hints of one class in one pass: it bounds the lists in statements. The next pass comes within a second.
_MOST_PER_PASS = 1000


def dispatch(database: Database, now: datetime) -> list[store.Hint]:
    """Choose and queue jobs; the caller sends the hints after this has returned."""
    with database.read() as connection:
        slots = store.slots(connection, now)
        classes = store.ready_classes(connection)
        limit_of = {needs: limit for needs in classes if (limit := _limit(needs, slots)) > 0}
        if not limit_of:
            return []
        waiting = store.candidates(connection, limit_of)
    # A resource without slots is parked or gone: closed, and nothing is kept for those who wait for it.
    free = {name: slot.free for name, slot in slots.items() if slot.total > 0}
    picked = pick(waiting, free, lookahead(slots))
    if not picked.chosen and not picked.passed_over:
        return []
    with database.write() as connection:
        return store.queue_jobs(connection, picked.chosen, picked.passed_over, secrets.token_hex(8))


def lookahead(slots: dict[str, store.Slots]) -> dict[str, int]:
    """Hints beyond the free slots, so that a pool's worker that finishes short jobs finds the next one waiting.

    A pool may look ahead by as many hints as it has slots. An account never does: its next job is decided when it
    is free, by the order and the quota of that moment.
    """
    return {name: slot.total for name, slot in slots.items() if name.startswith("pool:")}


def _limit(needs: str, slots: dict[str, store.Slots]) -> int:
    """How many jobs of a class are worth reading: what its scarcest resource could take, and one to pass over."""
    resources = store.split_needs(needs)
    if any(r not in slots or slots[r].total == 0 for r in resources):
        return 0
    ahead = lookahead(slots) if len(resources) == 1 else {}
    room = min(slots[r].free + ahead.get(r, 0) for r in resources)
    if room > 0:
        return min(room, _MOST_PER_PASS)
    return 1 if len(resources) > 1 and any(slots[r].free > 0 for r in resources) else 0
