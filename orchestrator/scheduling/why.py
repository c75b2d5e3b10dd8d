"""Why a job waits, in words, from the state of its resources."""

from collections.abc import Mapping, Sequence

from orchestrator.domain.order import is_resource
from orchestrator.domain.states import JobState
from orchestrator.scheduling.next_step import serving
from orchestrator.storage.dispatch import Slots


def waiting_reason(
    state: JobState, stored: str, needs: Sequence[str], slots: Mapping[str, Slots], closed: Mapping[str, str]
) -> str:
    """One line for a job that is neither running nor final; empty for those that are.

    `stored` is what was written down when the job came into its state; it goes before all but closed resources.
    `closed` are the resources whose workers all take no new jobs, with the reason.
    """
    shut = closed.get(serving(needs), "") if needs else ""
    if state is JobState.QUEUED:
        return shut or "a worker has been told; waits to be claimed"
    if state is not JobState.READY:
        return stored
    missing = [need for need in needs if need not in slots and is_resource(need)]
    if missing:
        return f"nobody has set up {', '.join(missing)}: submit its fleet file"
    needs = [need for need in needs if need in slots]  # without what goes on again just now
    stopped = [slots[need].note or f"{need} has no slots" for need in needs if slots[need].total == 0]
    if stopped:
        return "; ".join(stopped)
    if stored:
        return stored
    full = [
        slots[need].note or f"{need} ({slots[need].taken} of {slots[need].total} taken)"
        for need in needs
        if slots[need].free <= 0
    ]
    if full:
        return f"waits for {' and '.join(full)}"
    return shut or "starts with the next pass of the scheduler"
