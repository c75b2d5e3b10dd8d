"""The stage's guard: every limit holds at its moment, waits count where they should, the first end is final."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.decision import CONTINUE, Action
from orchestrator.domain.events import (
    SUM,
    AgentEnded,
    Compacted,
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    LimitsChanged,
    MessageSaid,
    OutputSeen,
    RequestEnded,
    RequestStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import Prices, TokenUsage
from orchestrator.domain.watch import StageFrame, Watch, repeated_period

START = 1000.0
WINDOW = 1000


def frame(
    *,
    attempt_started_at: float = START,
    tokens_before: int = 0,
    prices: Prices | None = None,
    resumed_session: bool = False,
    self_compacting: bool = False,
    model_names: tuple[str, ...] = (),
    **limits: float,
) -> StageFrame:
    return StageFrame(
        limits=Limits.model_validate(limits),
        context_window=WINDOW,
        prices=prices,
        started_at=START,
        attempt_started_at=attempt_started_at,
        tokens_before=tokens_before,
        resumed_session=resumed_session,
        self_compacting=self_compacting,
        model_names=model_names,
    )


def turn(size: int = 1, *, subagent: bool = False, stated: int | None = None) -> TurnEnded:
    return TurnEnded(usage=TokenUsage(input=size, output=0), subagent=subagent, cost_usd_micros=stated)


def answer(size: int = 1, *, model: str = "m", error: ErrorSeen | None = None) -> RequestEnded:
    return RequestEnded(
        request_id="r",
        model_asked="m",
        model_served=None if error else model,
        status=429 if error else 200,
        usage=None if error else TokenUsage(input=size, output=0),
        first_byte_seconds=0.1,
        duration_seconds=0.2,
        request_bytes=1,
        response_bytes=1,
        error=error,
    )


def refusal(seconds: float | None, kind: ErrorKind = ErrorKind.RATE_LIMIT) -> ErrorSeen:
    return ErrorSeen(kind=kind, retry_after_seconds=seconds)


ASKED = RequestStarted(request_id="r", model="m")
OUTPUT = OutputSeen(size_bytes=1)
TOOL = ToolCalled(tool="bash", signature="ls")


# -- clocks --


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        ("stage_timeout", Outcome.STAGE_TIMEOUT),
        ("wall_timeout", Outcome.WALL_TIMEOUT),
        ("idle_timeout", Outcome.IDLE_TIMEOUT),
    ],
)
def test_a_clock_ends_the_stage_at_its_moment_and_not_before(limit: str, outcome: Outcome) -> None:
    watch = Watch(replace(frame(), limits=Limits.model_validate({limit: 60})))
    assert watch.next_deadline(START) == START + 60
    assert watch.tick(START + 59.999) == CONTINUE
    assert watch.tick(START + 60).outcome is outcome


def test_wall_time_counts_from_the_attempts_start() -> None:
    watch = Watch(frame(wall_timeout=100, attempt_started_at=START - 90))
    assert watch.tick(START + 10).outcome is Outcome.WALL_TIMEOUT


@pytest.mark.parametrize("sign", [OUTPUT, turn(), TOOL, MessageSaid(text=""), Compacted(), answer()])
def test_progress_breaks_the_silence(sign: Event) -> None:
    watch = Watch(frame(idle_timeout=60))
    watch.see(sign, START + 50)
    assert watch.next_deadline(START + 50) == START + 110


@pytest.mark.parametrize(
    ("noise", "outcome"),
    [
        (ASKED, Outcome.IDLE_TIMEOUT),
        (ErrorSeen(kind=ErrorKind.BAD_REQUEST), Outcome.IDLE_TIMEOUT),
        (ErrorSeen(kind=ErrorKind.SERVER), Outcome.MODEL_UNAVAILABLE),
        (ErrorSeen(kind=ErrorKind.AUTH), Outcome.AUTH_ERROR),
        (answer(error=ErrorSeen(kind=ErrorKind.NETWORK)), Outcome.MODEL_UNAVAILABLE),
    ],
)
def test_a_request_that_is_only_begun_or_refused_does_not_break_the_silence(noise: Event, outcome: Outcome) -> None:
    watch = Watch(frame(idle_timeout=60))
    watch.see(noise, START + 50)
    assert watch.tick(START + 60).outcome is outcome


def test_silence_after_an_error_that_was_overcome_is_the_agents() -> None:
    watch = Watch(frame(idle_timeout=60))
    watch.see(ErrorSeen(kind=ErrorKind.SERVER), START + 1)
    watch.see(answer(), START + 2)
    assert watch.tick(START + 62).outcome is Outcome.IDLE_TIMEOUT


def test_a_tool_that_runs_silently_is_silence() -> None:
    watch = Watch(frame(idle_timeout=60))
    watch.see(TOOL, START + 1)
    assert watch.tick(START + 61).outcome is Outcome.IDLE_TIMEOUT


# -- rate limits --


def test_a_wait_is_left_out_of_stage_and_silence_and_counted_in_wall() -> None:
    watch = Watch(frame(idle_timeout=60, stage_timeout=80, wall_timeout=500))
    watch.see(answer(error=refusal(100)), START + 10)
    assert watch.tick(START + 109) == CONTINUE
    assert watch.next_deadline(START + 109) == START + 110
    assert watch.tick(START + 110) == CONTINUE
    assert watch.rate_limit_wait_seconds == 100
    assert watch.next_deadline(START + 110) == START + 170  # silence, from the end of the wait on
    watch.see(OUTPUT, START + 150)
    assert watch.next_deadline(START + 150) == START + 180  # 80 s of work and 100 s of waiting
    assert Watch(frame(wall_timeout=50)).see(refusal(100), START + 50).outcome is Outcome.WALL_TIMEOUT


def test_wall_time_runs_through_a_wait() -> None:
    watch = Watch(frame(wall_timeout=50))
    watch.see(refusal(100), START + 10)
    assert watch.next_deadline(START + 10) == START + 50
    assert watch.tick(START + 50).outcome is Outcome.WALL_TIMEOUT


@pytest.mark.parametrize("sign", [answer(), turn()])
def test_a_model_that_answers_ends_the_wait(sign: Event) -> None:
    watch = Watch(frame())
    watch.see(refusal(100), START + 10)
    watch.see(sign, START + 15)
    assert watch.rate_limit_wait_seconds == 5


def test_a_second_source_that_knows_less_does_not_shorten_the_wait() -> None:
    watch = Watch(frame())
    watch.see(answer(error=refusal(100)), START)
    watch.see(refusal(None), START + 1)
    assert watch.next_deadline(START + 1) == START + 100


def test_a_refusal_that_was_overcome_does_not_explain_a_later_end() -> None:
    watch = Watch(frame())
    watch.see(answer(error=refusal(1)), START + 1)
    assert watch.last_error is not None
    watch.see(answer(), START + 3)
    assert watch.last_error is None


def test_a_reset_further_away_than_the_limit_parks() -> None:
    assert Watch(frame(rate_limit_wait=120)).see(refusal(120), START) == CONTINUE
    assert Watch(frame(rate_limit_wait=120)).see(refusal(121), START).outcome is Outcome.QUOTA_PARKED


def test_short_waits_without_an_answer_add_up() -> None:
    watch = Watch(frame(rate_limit_wait=120))
    assert watch.see(refusal(60), START) == CONTINUE
    assert watch.see(refusal(60), START + 60) == CONTINUE
    assert watch.see(refusal(60), START + 120).outcome is Outcome.QUOTA_PARKED
    answered = Watch(frame(rate_limit_wait=120))
    answered.see(refusal(60), START)
    answered.see(refusal(60), START + 60)
    answered.see(answer(), START + 120)
    assert answered.see(refusal(60), START + 120) == CONTINUE


@pytest.mark.parametrize("kind", [ErrorKind.USAGE_LIMIT, ErrorKind.QUOTA_EXHAUSTED])
def test_a_used_up_window_parks_also_without_a_time(kind: ErrorKind) -> None:
    assert Watch(frame()).see(refusal(None, kind), START).outcome is Outcome.QUOTA_PARKED


# -- counts --


def test_the_last_allowed_turn_may_end_and_the_agent_with_it() -> None:
    watch = Watch(frame(max_turns=2))
    for event in (ASKED, answer(), turn(), turn(subagent=True), ASKED, answer(), turn(), OUTPUT):
        assert watch.see(event, START + 1) == CONTINUE
    assert watch.see(AgentEnded(reason=EndReason.FINISHED, exit_code=0), START + 2) == CONTINUE


@pytest.mark.parametrize("further", [ASKED, turn()])
def test_a_turn_beyond_the_limit_ends_the_stage(further: Event) -> None:
    watch = Watch(frame(max_turns=2))
    watch.see(turn(), START)
    watch.see(turn(), START)
    assert watch.see(further, START).outcome is Outcome.TURN_LIMIT


def test_the_fuller_of_two_token_accounts_is_judged() -> None:
    watch = Watch(frame(max_tokens=100, tokens_before=40))
    assert watch.see(turn(59), START) == CONTINUE
    assert watch.see(answer(59), START) == CONTINUE
    assert watch.see(answer(1), START).outcome is Outcome.TOKEN_LIMIT


def test_the_list_price_is_judged_and_the_stated_cost_only_where_there_is_none() -> None:
    free = Prices(input=0.0, output=0.0)
    assert Watch(frame(max_cost_usd=1, prices=free)).see(turn(stated=2_000_000), START) == CONTINUE
    assert Watch(frame(max_cost_usd=1)).see(turn(stated=2_000_000), START).outcome is Outcome.COST_LIMIT
    dear = Prices(input=10_000.0, output=0.0)
    assert Watch(frame(max_cost_usd=1, prices=dear)).see(turn(100), START).outcome is Outcome.COST_LIMIT


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_a_cycle_of_tool_calls_is_found(period: int) -> None:
    watch = Watch(frame(max_repeated_calls=3))
    calls = [ToolCalled(tool="bash", signature=str(number % period)) for number in range(3 * period)]
    watch.see(ToolCalled(tool="read", signature=""), START)
    assert [watch.see(call, START).outcome for call in calls[:-1]] == [None] * (len(calls) - 1)
    assert watch.see(calls[-1], START).outcome is Outcome.LOOP_DETECTED


@given(st.lists(st.sampled_from("abc"), max_size=24), st.integers(2, 5))
def test_a_period_means_that_the_tail_repeats(calls: list[str], repeats: int) -> None:
    period = repeated_period(tuple(calls), repeats)
    cycles = {n for n in range(1, 5) if len(calls) >= n * repeats and calls[-n * repeats :] == calls[-n:] * repeats}
    assert period == min(cycles, default=None)


def test_a_model_that_was_not_asked_for() -> None:
    watch = Watch(frame(model_names=("m", "m-1"), max_tokens=1))
    assert watch.see(answer(model="other"), START).outcome is Outcome.MODEL_MISMATCH


# -- context --


def test_the_context_is_warned_of_and_killed() -> None:
    watch = Watch(frame(self_compacting=True))
    sizes = [690, 700, 840, 850, 949, 950]
    actions = [watch.see(turn(size), START).action for size in sizes]
    nothing = Action.CONTINUE
    assert actions == [nothing, Action.WARN, nothing, Action.WARN, nothing, Action.END]
    assert (watch.decision.outcome, watch.context_peak_tokens) == (Outcome.CONTEXT_KILL, 950)


def test_a_crowded_session_is_ended_when_it_goes_on() -> None:
    watch = Watch(frame())
    assert watch.see(ASKED, START).action is Action.CONTINUE
    assert watch.see(answer(850), START).action is Action.WARN
    # The agent's own stream tells of the same turn, and its tools run to their end.
    assert watch.see(turn(850), START).action is watch.see(TOOL, START).action is Action.CONTINUE
    decision = watch.see(ASKED, START)
    assert (decision.action, decision.outcome) == (Action.COMPACT, None)
    assert watch.see(turn(960), START) == decision, "final"
    assert watch.next_deadline(START) == math.inf


def test_a_crowded_session_without_a_gateway_is_ended_by_its_next_turn() -> None:
    watch = Watch(frame())
    assert [watch.see(turn(850), START).action for _ in range(3)] == [Action.WARN, Action.CONTINUE, Action.COMPACT]


def test_an_agent_that_compacts_itself_gets_the_time_for_it() -> None:
    watch = Watch(frame(self_compacting=True))
    watch.see(ASKED, START)
    assert watch.see(turn(850), START).action is Action.WARN
    assert watch.see(ASKED, START).action is Action.CONTINUE
    assert watch.see(Compacted(), START).action is Action.CONTINUE
    assert watch.context_fill is None, "unknown until the next turn"
    assert [watch.see(event, START).action for event in (ASKED, turn(300), ASKED, turn(400))] == [Action.CONTINUE] * 4
    assert watch.see(turn(860), START).action is Action.WARN, "and again the next time"
    stubborn = [watch.see(event, START).action for event in (ASKED, turn(861), ASKED, turn(862), ASKED)]
    assert stubborn == [Action.CONTINUE] * 4 + [Action.COMPACT]


def test_what_an_agent_states_counts_where_no_price_is_known() -> None:
    unpriced = Watch(frame())
    unpriced.see(turn(stated=1_000), START)
    assert unpriced.spent_usd_micros == 1_000
    priced = Watch(frame(prices=Prices(input=1_000_000, output=0)))
    priced.see(turn(7, stated=1_000), START)
    assert priced.spent_usd_micros == priced.cost_usd_micros != 1_000


def test_a_session_resumed_too_full_was_not_compacted() -> None:
    assert Watch(frame(resumed_session=True)).see(turn(801), START).outcome is Outcome.COMPACTION_FAILED
    watch = Watch(frame(resumed_session=True))
    assert watch.see(turn(800), START).action is Action.WARN
    assert watch.see(turn(849), START).action is Action.CONTINUE, "only its beginning is judged so"


# -- for every sequence of events --

seconds = st.floats(0.0, 40.0, allow_nan=False).map(lambda value: round(value, 3))
errors = st.builds(refusal, st.none() | seconds, st.sampled_from(ErrorKind))
happenings = st.one_of(
    st.sampled_from([OUTPUT, ASKED, TOOL, MessageSaid(text=""), Compacted(), answer(), turn(), turn(subagent=True)]),
    st.builds(lambda error: answer(error=error), errors),
    errors,
)
stories = st.lists(st.tuples(seconds, happenings), max_size=30)
frames = st.builds(
    frame,
    stage_timeout=st.floats(1, 100),
    idle_timeout=st.floats(1, 100),
    wall_timeout=st.floats(1, 300),
    rate_limit_wait=st.floats(1, 60),
    attempt_started_at=st.floats(START - 100, START),
)


def tell(watch: Watch, story: Sequence[tuple[float, Event]]) -> float:
    """Show a story to a watch without a tick in between; returns the time at its end."""
    now = START
    for pause, event in story:
        now += pause
        watch.see(event, now)
    return now


@given(frames, stories)
def test_no_end_comes_before_the_deadline_that_was_named(
    given_frame: StageFrame, story: list[tuple[float, Event]]
) -> None:
    watch = Watch(given_frame)
    now = tell(watch, story)
    if watch.tick(now).action is not Action.END:
        before = now + (watch.next_deadline(now) - now) * 0.999
        assert watch.tick(before).action is not Action.END


@given(frames, stories)
def test_ticking_at_each_deadline_ends_the_stage_in_a_few_steps(
    given_frame: StageFrame, story: list[tuple[float, Event]]
) -> None:
    watch = Watch(given_frame)
    now = tell(watch, story)
    steps = 0
    while watch.tick(now).action is not Action.END:
        deadline = watch.next_deadline(now)
        assert deadline > now, "a deadline that has passed would make the caller spin"
        now, steps = deadline, steps + 1
        assert steps <= 3  # the end of a wait, then a limit


@given(frames, stories)
def test_working_time_and_waiting_time_make_up_the_stage(
    given_frame: StageFrame, story: list[tuple[float, Event]]
) -> None:
    watch = Watch(given_frame)
    now = tell(watch, story)
    watch.tick(now)
    assert 0 <= watch.rate_limit_wait_seconds <= now - START + 1e-6


@given(frames, stories, stories)
def test_the_first_end_is_final(
    given_frame: StageFrame, story: list[tuple[float, Event]], more: list[tuple[float, Event]]
) -> None:
    watch = Watch(given_frame)
    now = tell(watch, story)
    end = watch.tick(now + 1000)
    assert end.action is Action.END
    for pause, event in more:
        now += pause
        assert watch.see(event, now + 1000) == end
    assert watch.tick(now + 5000) == end
    assert watch.next_deadline(now + 5000) == float("inf")


# -- limits that people change --


def test_other_limits_hold_at_once_and_are_no_progress() -> None:
    watch = Watch(frame(idle_timeout=100, wall_timeout=1000))
    assert watch.see(LimitsChanged(changes={"wall_timeout": 50.0}), START + 40) == CONTINUE
    assert watch.next_deadline(START + 40) == START + 50
    watch.see(LimitsChanged(changes={"wall_timeout": 500.0}), START + 45)
    assert watch.next_deadline(START + 45) == START + 100, "silent since the start"
    assert watch.see(LimitsChanged(changes={"idle_timeout": 30.0}), START + 46).outcome is Outcome.IDLE_TIMEOUT
    assert watch.see(LimitsChanged(changes={"idle_timeout": 300.0}), START + 47).outcome is Outcome.IDLE_TIMEOUT


def test_calls_made_before_count_under_another_repeat_limit() -> None:
    watch = Watch(frame(max_repeated_calls=8))
    for _ in range(4):
        assert watch.see(TOOL, START) == CONTINUE
    assert watch.see(LimitsChanged(changes={"max_repeated_calls": 4}), START).outcome is Outcome.LOOP_DETECTED


@pytest.mark.parametrize("kind", [ErrorKind.RATE_LIMIT, ErrorKind.BAD_REQUEST, ErrorKind.AGENT, ErrorKind.UNKNOWN])
def test_an_agent_that_repeats_the_provider_s_error_with_less_takes_nothing_away(kind: ErrorKind) -> None:
    watch = Watch(frame())
    refused = ErrorSeen(kind=ErrorKind.RATE_LIMIT, status=429, retry_after_seconds=3.0)
    watch.see(refused, START)
    watch.see(ErrorSeen(kind=kind, text="no luck"), START + 1)
    assert watch.last_error == refused


@pytest.mark.parametrize(
    "later",
    [ErrorSeen(kind=ErrorKind.AUTH), ErrorSeen(kind=ErrorKind.RATE_LIMIT, retry_after_seconds=9.0)],
)
def test_an_error_that_says_something_else_or_more_is_the_last(later: ErrorSeen) -> None:
    watch = Watch(frame())
    watch.see(ErrorSeen(kind=ErrorKind.RATE_LIMIT, retry_after_seconds=3.0), START)
    watch.see(later, START + 1)
    assert watch.last_error == later


def test_tokens_that_are_told_afterwards_are_counted_and_are_no_answer() -> None:
    watch = Watch(frame())
    refused = ErrorSeen(kind=ErrorKind.AUTH, status=401)
    watch.see(refused, START)
    watch.see(TurnEnded(usage=TokenUsage(input=7), reason=SUM, subagent=True), START + 1)
    assert (watch.last_error, watch.stream_usage.input, watch.turns) == (refused, 7, 0)
