"""Asks the machine, in a process of its own, which trees and mirrors may go, and lets them go."""

from pydantic import TypeAdapter

from orchestrator.domain.garbage import GarbageItem, GarbageQuestion
from orchestrator.scheduling.asking import ask_worker

# Weighing and removing millions of files on a slow disk.
_COLLECT_SECONDS = 6 * 3600.0


def collect(question: GarbageQuestion) -> list[GarbageItem]:
    """What there is on this machine, and what became of it. Raises Unavailable, BakeoffError."""
    what = "removing ended trees" if question.remove else "looking at ended trees"
    answer = ask_worker("workers.gc", question.model_dump_json(), what=what, timeout_seconds=_COLLECT_SECONDS)
    return TypeAdapter(list[GarbageItem]).validate_json(answer)
