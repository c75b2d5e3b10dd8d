"""Outcomes: whose doing, and what the job does next."""

import pytest

from orchestrator.domain.outcome import Outcome, OutcomeClass, job_event, outcome_class

NOT_THE_PROFILES_DOING = {
    Outcome.QUOTA_PARKED: OutcomeClass.QUOTA,
    Outcome.AUTH_ERROR: OutcomeClass.INFRA,
    Outcome.MODEL_UNAVAILABLE: OutcomeClass.INFRA,
    Outcome.SETUP_FAILED: OutcomeClass.INFRA,
    Outcome.INFRA_ERROR: OutcomeClass.INFRA,
    Outcome.LEASE_LOST: OutcomeClass.INFRA,
    Outcome.CANCELLED: OutcomeClass.USER,
    Outcome.RACED_OUT: OutcomeClass.USER,
    Outcome.PAUSED: OutcomeClass.USER,
    Outcome.INTERRUPTED: OutcomeClass.USER,
    Outcome.MODEL_MISMATCH: OutcomeClass.INVALID,
}


def event(outcome: Outcome, infra_attempts: int = 1) -> str:
    return job_event(outcome, infra_attempts=infra_attempts, max_infra_attempts=3)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_results_speak_about_quality(outcome: Outcome) -> None:
    assert outcome_class(outcome) is NOT_THE_PROFILES_DOING.get(outcome, OutcomeClass.RESULT)


def test_infrastructure_is_tried_again_but_not_for_ever() -> None:
    assert [event(Outcome.INFRA_ERROR, count) for count in (1, 2, 3, 4)] == ["requeue", "requeue", "fail", "fail"]


def test_quota_parks_however_often() -> None:
    assert [event(Outcome.QUOTA_PARKED, count) for count in (0, 3, 99)] == ["park"] * 3


def test_what_the_job_does_next() -> None:
    assert {outcome: event(outcome) for outcome in Outcome if outcome_class(outcome) is not OutcomeClass.INFRA} == {
        **{outcome: "fail" for outcome in Outcome if outcome_class(outcome) is OutcomeClass.RESULT},
        Outcome.COMPLETE: "complete",
        Outcome.QUOTA_PARKED: "park",
        Outcome.CANCELLED: "cancel",
        Outcome.RACED_OUT: "cancel",
        Outcome.PAUSED: "pause",
        Outcome.INTERRUPTED: "requeue",
        Outcome.MODEL_MISMATCH: "invalidate",
    }
