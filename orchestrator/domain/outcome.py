"""How an attempt ended: exactly one typed outcome, what class it is, and what the job does next."""

from enum import StrEnum

from orchestrator.domain.events import ErrorKind


class OutcomeClass(StrEnum):
    """Whose doing the end was. Only RESULT outcomes speak about the profile's quality."""

    RESULT = "result"
    INFRA = "infra"
    QUOTA = "quota"
    USER = "user"
    INVALID = "invalid"


class Outcome(StrEnum):
    """The reasons for which an attempt can end."""

    COMPLETE = "complete"
    NO_PROGRESS = "no_progress"
    TASKS_LEFT = "tasks_left"
    CHECKS_FAILED = "checks_failed"
    UNUSABLE_ANSWERS = "unusable_answers"
    STAGE_TIMEOUT = "stage_timeout"
    WALL_TIMEOUT = "wall_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    ITERATION_LIMIT = "iteration_limit"
    TURN_LIMIT = "turn_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - an outcome, not a secret
    COST_LIMIT = "cost_limit"
    OUTPUT_LIMIT = "output_limit"
    MEMORY_LIMIT = "memory_limit"
    PROCESS_LIMIT = "process_limit"
    DISK_LIMIT = "disk_limit"
    CONTEXT_KILL = "context_kill"
    COMPACTION_FAILED = "compaction_failed"
    LOOP_DETECTED = "loop_detected"
    WORKTREE_BROKEN = "worktree_broken"
    FAILURE_BREAKER = "failure_breaker"
    AGENT_ERROR = "agent_error"
    MODEL_MISMATCH = "model_mismatch"
    QUOTA_PARKED = "quota_parked"
    AUTH_ERROR = "auth_error"
    MODEL_UNAVAILABLE = "model_unavailable"
    SETUP_FAILED = "setup_failed"
    INFRA_ERROR = "infra_error"
    LEASE_LOST = "lease_lost"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    RACED_OUT = "raced_out"  # of a job, never of an attempt: its race was decided without it


# Nobody's work failed: the same work may go on in a later attempt, from where it stood.
RESUMABLE = frozenset(
    {
        Outcome.QUOTA_PARKED,
        Outcome.PAUSED,
        Outcome.INTERRUPTED,
        Outcome.AUTH_ERROR,
        Outcome.MODEL_UNAVAILABLE,
        Outcome.INFRA_ERROR,
        Outcome.LEASE_LOST,
    }
)

_CLASSES = {
    Outcome.QUOTA_PARKED: OutcomeClass.QUOTA,
    Outcome.AUTH_ERROR: OutcomeClass.INFRA,
    Outcome.MODEL_UNAVAILABLE: OutcomeClass.INFRA,
    Outcome.SETUP_FAILED: OutcomeClass.INFRA,
    Outcome.INFRA_ERROR: OutcomeClass.INFRA,
    Outcome.LEASE_LOST: OutcomeClass.INFRA,
    Outcome.CANCELLED: OutcomeClass.USER,
    Outcome.PAUSED: OutcomeClass.USER,
    Outcome.RACED_OUT: OutcomeClass.USER,
    Outcome.INTERRUPTED: OutcomeClass.USER,
    Outcome.MODEL_MISMATCH: OutcomeClass.INVALID,
}


_BY_ERROR = {
    ErrorKind.RATE_LIMIT: Outcome.QUOTA_PARKED,
    ErrorKind.USAGE_LIMIT: Outcome.QUOTA_PARKED,
    ErrorKind.QUOTA_EXHAUSTED: Outcome.QUOTA_PARKED,
    ErrorKind.AUTH: Outcome.AUTH_ERROR,
    ErrorKind.OVERLOADED: Outcome.MODEL_UNAVAILABLE,
    ErrorKind.SERVER: Outcome.MODEL_UNAVAILABLE,
    ErrorKind.NETWORK: Outcome.MODEL_UNAVAILABLE,
    ErrorKind.CONTEXT_OVERFLOW: Outcome.CONTEXT_KILL,  # the provider ended what the guard would have ended
}


def outcome_of_error(kind: ErrorKind) -> Outcome | None:
    """What an end means to which an error of the provider has led; None where the agent alone is to blame."""
    return _BY_ERROR.get(kind)


def outcome_class(outcome: Outcome) -> OutcomeClass:
    """Whose doing this outcome is."""
    return _CLASSES.get(outcome, OutcomeClass.RESULT)


def job_event(outcome: Outcome, *, infra_attempts: int, max_infra_attempts: int) -> str:
    """The job's move (an event of `states.JOB_MOVES`) after an attempt ended so.

    `infra_attempts` counts the attempts of this job that already ended by infrastructure, this one included.
    """
    kind = outcome_class(outcome)
    if kind is OutcomeClass.QUOTA:
        return "park"
    if kind is OutcomeClass.INVALID:
        return "invalidate"
    if outcome is Outcome.PAUSED:
        return "pause"
    if outcome is Outcome.INTERRUPTED:
        return "requeue"  # the worker was stopped: no attempt counts against anybody
    if kind is OutcomeClass.USER:
        return "cancel"
    if kind is OutcomeClass.INFRA:
        return "requeue" if infra_attempts < max_infra_attempts else "fail"
    return "complete" if outcome is Outcome.COMPLETE else "fail"
