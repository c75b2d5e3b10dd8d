"""The states of jobs, attempts and breakers: an enum and a transition table each.

`move` is the only way to change a state: an illegal move raises and changes nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from orchestrator.domain.errors import IllegalTransition


class JobState(StrEnum):
    """Where a job stands. Exactly one at any time; `FINAL_JOB_STATES` never change again."""

    READY = "ready"  # may start when its resources are free
    QUEUED = "queued"  # a hint with the job's order token is out
    RUNNING = "running"  # one live attempt holds its leases
    PARKED = "parked"  # waits for a quota reset; worktree and session kept
    PAUSED = "paused"  # a person said wait
    BLOCKED = "blocked"  # of a second part that waits for the first
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INVALID = "invalid"  # the run cannot count, e.g. another model answered


class AttemptState(StrEnum):
    """Where one try at a job stands."""

    CLAIMED = "claimed"
    PREPARING = "preparing"
    WORKING = "working"
    CHECKING = "checking"
    ENDED = "ended"


class BreakerState(StrEnum):
    """A circuit breaker: closed lets work through, open does not, half-open lets one probe through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


FINAL_JOB_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INVALID})
LIVE_ATTEMPT_STATES = frozenset(AttemptState) - {AttemptState.ENDED}

S = TypeVar("S", bound=StrEnum)

J = JobState
JOB_MOVES: Mapping[tuple[JobState, str], JobState] = {
    (J.READY, "queue"): J.QUEUED,
    (J.READY, "cancel"): J.CANCELLED,
    (J.READY, "pause"): J.PAUSED,
    (J.READY, "block"): J.BLOCKED,
    (J.QUEUED, "claim"): J.RUNNING,
    (J.QUEUED, "withdraw"): J.READY,  # no slot at claim time, or the hint is taken back
    (J.QUEUED, "cancel"): J.CANCELLED,
    (J.QUEUED, "pause"): J.PAUSED,
    (J.RUNNING, "complete"): J.DONE,
    (J.RUNNING, "fail"): J.FAILED,
    (J.RUNNING, "invalidate"): J.INVALID,
    (J.RUNNING, "park"): J.PARKED,
    (J.RUNNING, "requeue"): J.READY,  # infra failure or lost lease, bounded
    (J.RUNNING, "cancel"): J.CANCELLED,
    (J.RUNNING, "pause"): J.PAUSED,
    (J.PARKED, "wake"): J.READY,
    (J.PARKED, "cancel"): J.CANCELLED,
    (J.PARKED, "pause"): J.PAUSED,
    (J.PAUSED, "resume"): J.READY,
    (J.PAUSED, "cancel"): J.CANCELLED,
    (J.BLOCKED, "unblock"): J.READY,
    (J.BLOCKED, "cancel"): J.CANCELLED,
    (J.FAILED, "requeue"): J.READY,  # a person asks for another try
    (J.CANCELLED, "requeue"): J.READY,
    (J.INVALID, "requeue"): J.READY,
}

A = AttemptState
ATTEMPT_MOVES: Mapping[tuple[AttemptState, str], AttemptState] = {
    (A.CLAIMED, "prepare"): A.PREPARING,
    (A.PREPARING, "work"): A.WORKING,
    (A.WORKING, "check"): A.CHECKING,
    **{(state, "end"): A.ENDED for state in (A.CLAIMED, A.PREPARING, A.WORKING, A.CHECKING)},
}

B = BreakerState
BREAKER_MOVES: Mapping[tuple[BreakerState, str], BreakerState] = {
    (B.CLOSED, "trip"): B.OPEN,
    (B.OPEN, "cool"): B.HALF_OPEN,
    (B.HALF_OPEN, "succeed"): B.CLOSED,
    (B.HALF_OPEN, "trip"): B.OPEN,
    (B.OPEN, "reset"): B.CLOSED,
    (B.HALF_OPEN, "reset"): B.CLOSED,
}


def move(table: Mapping[tuple[S, str], S], state: S, event: str) -> S:
    """The state after `event`. Raises IllegalTransition when the table has no such move."""
    try:
        return table[(state, event)]
    except KeyError:
        raise IllegalTransition(type(state).__name__, state.value, event) from None


def sources(table: Mapping[tuple[S, str], S], event: str) -> frozenset[S]:
    """Every state from which `event` is legal: the WHERE clause of a compare-and-set."""
    return frozenset(state for state, name in table if name == event)


def diagram(table: Mapping[tuple[S, str], S]) -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = [f"    {state.value} --> {target.value}: {event}" for (state, event), target in table.items()]
    return "\n".join(["stateDiagram-v2", *lines])
