"""Breakers: when they open, for how long, and that exactly one probe closes them."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.breaker import (
    POLICIES,
    Breaker,
    EndFacts,
    Policy,
    admits,
    describe,
    failed,
    limited,
    open_slots,
    probe_over,
    probing,
    signals,
    succeeded,
    tick,
)
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import BreakerState

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(threshold=3, open_seconds=10, longest_seconds=35)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def opened(failures: int = 3) -> Breaker:
    breaker = Breaker()
    for index in range(failures):
        breaker = failed(breaker, POLICY, NOW, "why", attempt=f"a{index}")
    return breaker


def test_it_opens_at_the_threshold_and_asks_one_probe_at_its_time() -> None:
    assert opened(2).state is BreakerState.CLOSED
    breaker = opened()
    assert (breaker.state, breaker.until, breaker.cause) == (BreakerState.OPEN, NOW + seconds(10), "why")
    assert tick(breaker, NOW + seconds(9.999)) == breaker
    half = tick(breaker, NOW + seconds(10))
    assert admits(half)
    tried = probing(half, "p")
    assert not admits(tried)
    assert succeeded(tried, attempt="another") == failed(tried, POLICY, NOW, "x", attempt="another") == tried
    assert succeeded(tried, attempt="p") == Breaker()
    assert admits(probe_over(tried, "p"))


def test_something_that_goes_well_forgets_the_failures() -> None:
    assert succeeded(opened(2), attempt="a") == Breaker()


def test_each_failed_probe_doubles_the_time_up_to_the_longest() -> None:
    breaker, times = opened(), []
    for _ in range(5):
        assert breaker.until is not None
        times.append((breaker.until - NOW).total_seconds())
        half = probing(tick(breaker, breaker.until), "p")
        breaker = failed(half, POLICY, NOW, "why", attempt="p")
    assert times == [10, 20, 35, 35, 35]


def test_of_two_limits_the_later_reset_holds() -> None:
    far, near = NOW + seconds(100), NOW + seconds(50)
    breaker = limited(limited(Breaker(), NOW, far, "far"), NOW, near, "near")
    assert (breaker.until, breaker.cause) == (far, "far")
    assert limited(breaker, NOW, far + seconds(1), "farther").until == far + seconds(1)


def test_the_same_job_or_target_counts_once() -> None:
    breaker = Breaker()
    for _ in range(9):
        breaker = failed(breaker, POLICY, NOW, "why", attempt="a", key="target:1")
    assert (breaker.failures, breaker.state) == (1, BreakerState.CLOSED)


@pytest.mark.parametrize(
    ("breaker", "busy", "drained", "expected"),
    [
        (None, 1, False, 4),
        (opened(2), 1, False, 4),
        (opened(), 1, False, 0),
        (tick(opened(), NOW + seconds(10)), 0, False, 1),
        (tick(opened(), NOW + seconds(10)), 2, False, 3),
        (tick(opened(), NOW + seconds(10)), 4, False, 4),
        (probing(tick(opened(), NOW + seconds(10)), "p"), 2, False, 2),
        (None, 1, True, 0),
    ],
)
def test_how_many_slots_are_open(breaker: Breaker | None, busy: int, drained: bool, expected: int) -> None:
    assert open_slots(4, busy, breaker, drained=drained) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.COMPLETE, {"profile:e/p": True, "machine:m": True, "pool:q": True, "account:a": True}),
        (Outcome.TOKEN_LIMIT, {"profile:e/p": True, "machine:m": True, "pool:q": True, "account:a": True}),
        (Outcome.FAILURE_BREAKER, {"profile:e/p": False, "machine:m": True, "pool:q": True, "account:a": True}),
        (Outcome.MODEL_MISMATCH, {"profile:e/p": False, "machine:m": True, "pool:q": True, "account:a": True}),
        (Outcome.AUTH_ERROR, {"machine:m": True, "pool:q": True, "account:a": False}),
        (Outcome.MODEL_UNAVAILABLE, {"machine:m": True, "pool:q": True, "account:a": False}),
        (Outcome.QUOTA_PARKED, {"machine:m": True, "pool:q": True, "account:a": False}),
        (Outcome.INFRA_ERROR, {"machine:m": False, "pool:q": True, "account:a": True}),
        (Outcome.CANCELLED, {"machine:m": True, "pool:q": True, "account:a": True}),
    ],
)
def test_what_an_end_tells_about_whom(outcome: Outcome, expected: dict[str, bool]) -> None:
    end = EndFacts(
        outcome=outcome,
        profile="e/p",
        machine="m",
        job_id=1,
        target_id=2,
        resource="account:a",
        answered=("account:a", "pool:q"),
    )
    assert {signal.scope: signal.ok for signal in signals(end)} == expected


@given(st.sampled_from(Outcome), st.sampled_from([None, "account:a", "pool:q"]))
def test_every_end_says_at_most_one_thing_about_each(outcome: Outcome, resource: str | None) -> None:
    end = EndFacts(
        outcome=outcome, profile="e/p", machine="m", job_id=1, target_id=2, resource=resource, answered=("account:a",)
    )
    said = Counter(signal.scope for signal in signals(end))
    assert set(said.values()) <= {1}
    assert {scope.partition(":")[0] for scope in said} <= set(POLICIES)
    if outcome in (Outcome.LEASE_LOST, Outcome.INFRA_ERROR, Outcome.SETUP_FAILED, Outcome.AUTH_ERROR):
        assert "profile:e/p" not in said


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["start", "fail", "ok", "limit", "vanish", "clock"]), st.integers(0, 30)), max_size=60
)


@given(_EVENTS)
def test_any_order_of_events_has_one_probe_and_no_early_start(events: list[tuple[str, int]]) -> None:
    """Attempts start when they are admitted and end in any order; the model keeps its own account of the times."""
    breaker, now, live, probes, count = Breaker(), NOW, [], set[str](), 0
    not_before = NOW
    for what, number in events:
        before = breaker
        if what == "clock":
            now += seconds(number)
            breaker = tick(breaker, now)
        elif what == "start" and admits(breaker):
            assert now >= not_before, "let through before its time"
            count += 1
            live.append(f"a{count}")
            breaker = probing(breaker, live[-1])
            if breaker.state is BreakerState.HALF_OPEN:
                assert not probes & set(live), "two probes at a time"
                probes = {live[-1]}
        elif live and what in ("fail", "ok", "limit", "vanish"):
            one = live.pop(number % len(live))
            if what == "fail":
                breaker = failed(breaker, POLICY, now, "why", attempt=one)
            elif what == "ok":
                breaker = succeeded(breaker, attempt=one)
            elif what == "limit":
                breaker = limited(breaker, now, now + seconds(number), "limit")
            breaker = probe_over(breaker, one)
            if before.state is not BreakerState.CLOSED and breaker.state is BreakerState.CLOSED:
                assert (what, one) == ("ok", before.probe), "closed by something else than its probe's success"
        if breaker.state is BreakerState.OPEN:
            assert breaker.until is not None
            if before.state is BreakerState.OPEN:
                assert before.until is not None
                assert breaker.until >= before.until
            not_before = breaker.until
        assert (breaker.until is None) is (breaker.state is not BreakerState.OPEN)
        assert breaker.probe is None or breaker.state is BreakerState.HALF_OPEN


def test_it_says_what_stopped_and_when_it_is_tried_again() -> None:
    assert describe("profile:e/x", opened()) == (
        "profile e/x is stopped after 3 failures running, tried again at 2026-07-01 12:00:10 UTC: why"
    )
    limit = limited(Breaker(), NOW, NOW + seconds(60), "quota_parked: used up")
    assert describe("account:a", limit) == (
        "account a is parked until its limit resets at 2026-07-01 12:01:00 UTC: quota_parked: used up"
    )
