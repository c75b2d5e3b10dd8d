"""What one job says: does it count for quality, is it solved, and under which word does its end go."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from orchestrator.analysis.rows import CheckRow, by_job
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import FINAL_JOB_STATES, JobState

Checks = Mapping[int, Sequence[CheckRow]]


class Standing(StrEnum):
    """How a job takes part in the numbers. Only RESULT is in the denominator of quality."""

    RESULT = "result"
    INFRA = "infra"
    QUOTA = "quota"
    CANCELLED = "cancelled"
    RACED_OUT = "raced_out"
    INVALID = "invalid"
    OPEN = "open"


class Ended(Protocol):
    """What of a job says how it ended."""

    @property
    def state(self) -> JobState: ...

    @property
    def outcome(self) -> Outcome | None: ...


class Checked(Protocol):
    """What of a check says how it ended."""

    @property
    def status(self) -> CheckStatus: ...


SOLVED = "solved"
CHECKS_FAILED = "checks_failed"
NOT_JUDGED = "not_judged"

_STANDINGS = {
    OutcomeClass.RESULT: Standing.RESULT,
    OutcomeClass.INFRA: Standing.INFRA,
    OutcomeClass.QUOTA: Standing.QUOTA,
    OutcomeClass.USER: Standing.CANCELLED,
    OutcomeClass.INVALID: Standing.INVALID,
}


def standing(job: Ended) -> Standing:
    """The job's part in the numbers. A job that is not final is open, whatever an earlier attempt of it was;
    a final one without a recorded outcome died of infrastructure."""
    if job.state is JobState.CANCELLED:
        return Standing.RACED_OUT if job.outcome is Outcome.RACED_OUT else Standing.CANCELLED
    if job.state is JobState.INVALID:
        return Standing.INVALID
    if job.state is JobState.PARKED:
        return Standing.QUOTA
    if job.state not in FINAL_JOB_STATES:
        return Standing.OPEN
    return Standing.INFRA if job.outcome is None else _STANDINGS[outcome_class(job.outcome)]


def is_solved(job: Ended, checks: Sequence[Checked]) -> bool:
    """Outcome `complete` and every check passed. Without checks, `complete` alone."""
    if standing(job) is not Standing.RESULT or job.outcome is not Outcome.COMPLETE:
        return False
    return all(check.status is CheckStatus.PASS for check in checks)


def is_judged(job: Ended, checks: Sequence[Checked]) -> bool:
    """False for a complete job of which no check failed but one gave no answer; it counts as not solved."""
    if job.outcome is not Outcome.COMPLETE:
        return True
    statuses = {check.status for check in checks}
    return CheckStatus.FAIL in statuses or not statuses & {CheckStatus.ERROR, CheckStatus.NOT_RUN}


def end_word(job: Ended, checks: Sequence[Checked]) -> str:
    """`solved`, `checks_failed`, `not_judged`, an outcome's name, or the state of a job that is not final."""
    kind = standing(job)
    if kind is Standing.RACED_OUT:
        return Outcome.RACED_OUT.value
    by_state = kind is Standing.OPEN or job.state in (JobState.PARKED, JobState.CANCELLED)
    if by_state or job.outcome is None:
        return job.state.value
    if kind is not Standing.RESULT or job.outcome is not Outcome.COMPLETE:
        return job.outcome.value
    if is_solved(job, checks):
        return SOLVED
    return CHECKS_FAILED if is_judged(job, checks) else NOT_JUDGED


def word_standing(word: str) -> Standing:
    """The standing of jobs whose end goes under this word (see `end_word`)."""
    if word in (SOLVED, CHECKS_FAILED, NOT_JUDGED):
        return Standing.RESULT
    if word == JobState.PARKED:
        return Standing.QUOTA
    if word in frozenset(JobState) - FINAL_JOB_STATES:  # before the outcomes: `paused` is both
        return Standing.OPEN
    if word == Outcome.RACED_OUT:
        return Standing.RACED_OUT
    if word == JobState.INVALID:
        return Standing.INVALID
    if word in frozenset(Outcome):
        return _STANDINGS[outcome_class(Outcome(word))]
    return Standing.INFRA


def group_checks(checks: Sequence[CheckRow]) -> dict[int, list[CheckRow]]:
    """The checks of each job, in their order."""
    return by_job(checks)
