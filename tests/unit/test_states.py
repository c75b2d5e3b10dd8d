"""The transition tables: legal moves move, all others raise and change nothing."""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import IllegalTransition
from orchestrator.domain.outcome import Outcome, job_event
from orchestrator.domain.states import (
    ATTEMPT_MOVES,
    BREAKER_MOVES,
    FINAL_JOB_STATES,
    JOB_MOVES,
    AttemptState,
    BreakerState,
    JobState,
    diagram,
    move,
    sources,
)

EVENTS = sorted({event for _, event in JOB_MOVES})


S = TypeVar("S", bound=StrEnum)


def reachable(table: Mapping[tuple[S, str], S], start: S) -> set[S]:
    seen, open_ = {start}, deque([start])
    while open_:
        here = open_.popleft()
        for (state, _), target in table.items():
            if state == here and target not in seen:
                seen.add(target)
                open_.append(target)
    return seen


@given(st.sampled_from(list(JobState)), st.sampled_from([*EVENTS, "nonsense"]))
def test_a_move_is_in_the_table_or_raises(state: JobState, event: str) -> None:
    if (state, event) in JOB_MOVES:
        assert move(JOB_MOVES, state, event) is JOB_MOVES[(state, event)]
    else:
        with pytest.raises(IllegalTransition, match=state.value) as caught:
            move(JOB_MOVES, state, event)
        assert (caught.value.machine, caught.value.state, caught.value.event) == ("JobState", state.value, event)


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_a_job_is_always_in_a_state_of_the_enum(events: list[str]) -> None:
    state = JobState.READY
    for event in events:
        try:
            state = move(JOB_MOVES, state, event)
        except IllegalTransition:
            continue
    assert state in JobState


def test_every_state_can_be_reached_and_every_waiting_one_can_end() -> None:
    assert reachable(JOB_MOVES, JobState.READY) == set(JobState)
    assert reachable(ATTEMPT_MOVES, AttemptState.CLAIMED) == set(AttemptState)
    assert reachable(BREAKER_MOVES, BreakerState.CLOSED) == set(BreakerState)
    for state in set(JobState) - FINAL_JOB_STATES:
        assert reachable(JOB_MOVES, state) & FINAL_JOB_STATES
        assert JobState.CANCELLED in reachable(JOB_MOVES, state)


def test_done_is_done() -> None:
    assert not [event for (state, event) in JOB_MOVES if state is JobState.DONE]


def test_a_final_state_is_left_by_a_person_only() -> None:
    assert {event for (state, event) in JOB_MOVES if state in FINAL_JOB_STATES} == {"requeue"}


def test_sources_are_the_where_clause_of_a_claim() -> None:
    assert sources(JOB_MOVES, "claim") == {JobState.QUEUED}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_every_outcome_moves_a_running_job(outcome: Outcome, attempts: int) -> None:
    move(JOB_MOVES, JobState.RUNNING, job_event(outcome, infra_attempts=attempts, max_infra_attempts=3))


def test_the_diagram_has_one_line_for_each_move() -> None:
    lines = diagram(JOB_MOVES).splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert len(lines) == 1 + len(JOB_MOVES)
    assert "    queued --> running: claim" in lines
