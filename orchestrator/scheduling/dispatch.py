"""One pass: which ready jobs may start now. Costs by classes, free slots and open hints, not by what waits."""

import secrets
from datetime import datetime

from orchestrator.domain.order import lookahead, pick, worth_reading
from orchestrator.storage import dispatch as store
from orchestrator.storage.engine import Database

# Hints of one class in one pass: it bounds the lists in statements. The next pass comes within a second.
_MOST_PER_PASS = 1000


def dispatch(database: Database, now: datetime) -> list[store.Hint]:
    """Choose and queue jobs; the caller sends the hints after this has returned."""
    with database.read() as connection:
        # A resource without open slots is stopped or gone: nothing is kept for those who wait for it.
        slots = {name: slot for name, slot in store.slots(connection).items() if slot.total > 0}
        free = {name: slot.free for name, slot in slots.items()}
        classes = store.ready_classes(connection)
        ahead = lookahead(
            {name: slot.total for name, slot in slots.items() if not slot.note}, map(store.split_needs, classes)
        )
        limit_of = {
            needs: min(limit, _MOST_PER_PASS)
            for needs in classes
            if (limit := worth_reading(store.split_needs(needs), free, ahead)) > 0
        }
        if not limit_of:
            return []
        waiting = store.candidates(connection, limit_of)
    picked = pick(waiting, free, ahead)
    if not picked.chosen and not picked.passed_over:
        return []
    with database.write() as connection:
        return store.queue_jobs(connection, picked.chosen, picked.passed_over, secrets.token_hex(8))
