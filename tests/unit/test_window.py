"""Quota windows: how full, until when, and what they allow."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.pace import HOLD_SECONDS, RAISE_SECONDS, Pace, next_pace
from orchestrator.domain.window import WHOLE, Entry, Standing, Statement, WindowSpec, falls_below, standing
from orchestrator.domain.zones import (
    DEFAULT_BEHAVIOUR,
    Gate,
    Zone,
    begins_at_ppm,
    gate_of,
    state_of,
    strictest,
    zone_of,
)

HOUR = 3600.0
NOW = 1_000_000 * HOUR
FIVE = WindowSpec(name="5h", length_seconds=5 * HOUR)


def stated(percent: float, resets_in: float | None = HOUR, ago: float = 60.0) -> Statement:
    resets_at = None if resets_in is None else NOW + resets_in
    return Statement(window="5h", used_ppm=round(percent * 10_000), resets_at=resets_at, stated_at=NOW - ago)


def used(ago: float, tokens: int | None = 100, requests: int = 1, without: int = 0) -> Entry:
    return Entry(at=NOW - ago, requests=requests, tokens=tokens, seconds=10.0, requests_without_usage=without)


# -- zones --


@pytest.mark.parametrize(
    ("used_ppm", "zone"),
    [
        (None, None),
        (0, Zone.GREEN),
        (699_999, Zone.GREEN),
        (700_000, Zone.YELLOW),
        (849_999, Zone.YELLOW),
        (850_000, Zone.ORANGE),
        (949_999, Zone.ORANGE),
        (950_000, Zone.RED),
        (1_200_000, Zone.RED),
    ],
)
def test_zones_are_exact_at_their_edges(used_ppm: int | None, zone: Zone | None) -> None:
    assert zone_of(used_ppm) is zone


@given(st.integers(0, 2 * WHOLE), st.integers(0, 950_000))
def test_a_zone_is_a_share_of_what_is_not_kept_for_people(used_ppm: int, reserve: int) -> None:
    share = Fraction(used_ppm, WHOLE - reserve)
    edges = {Zone.YELLOW: Fraction(70, 100), Zone.ORANGE: Fraction(85, 100), Zone.RED: Fraction(95, 100)}
    assert zone_of(used_ppm, reserve) is [Zone.GREEN, *(z for z, edge in edges.items() if share >= edge)][-1]


@given(st.sampled_from(list(Zone)), st.integers(0, 950_000))
def test_a_zone_begins_where_it_says(zone: Zone, reserve: int) -> None:
    edge = begins_at_ppm(zone, reserve)
    assert zone_of(edge, reserve) is zone
    assert edge == 0 or zone_of(edge - 1, reserve) is not zone


# -- how full --


def test_without_statement_and_limit_everything_is_unknown() -> None:
    assert standing(FIVE, None, [used(60)], NOW).used_ppm is None
    assert standing(FIVE, None, [used(60)], NOW).burn_ppm_per_hour is None


def test_a_statement_holds_until_its_reset() -> None:
    assert standing(FIVE, stated(60), [], NOW) == Standing(
        used_ppm=600_000, resets_at=NOW + HOUR, burn_ppm_per_hour=150_000, lasts=True
    )
    assert standing(FIVE, stated(60, resets_in=-1, ago=60), [], NOW).used_ppm is None
    assert standing(FIVE, stated(60, resets_in=None), [], NOW).used_ppm == 600_000
    assert standing(FIVE, stated(60, resets_in=None, ago=5 * HOUR), [], NOW).used_ppm is None


def test_a_reset_beyond_the_windows_length_closes_it_for_that_length_only() -> None:
    far = stated(99, resets_in=40 * 24 * HOUR)
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, tokens=1000)
    assert falls_below(FIVE, far, [], NOW, 950_000) == far.stated_at + 5 * HOUR
    later = far.stated_at + 5 * HOUR
    assert standing(FIVE, far, [], later).used_ppm is None
    # What we counted ourselves is not forgotten over it.
    assert standing(spec, far, [Entry(at=later - 60, requests=1, tokens=970, seconds=1.0)], later).used_ppm == 970_000


def test_use_by_a_machine_whose_clock_is_ahead_counts() -> None:
    for kind in ("fixed", "rolling"):
        spec = WindowSpec(name="5h", length_seconds=5 * HOUR, kind=kind, tokens=1000)
        assert standing(spec, None, [used(-HOUR, 960)], NOW).used_ppm == 960_000
        below = falls_below(spec, None, [used(-HOUR, 960)], NOW, 950_000)
        assert below is not None
        assert NOW < below <= NOW + 6 * HOUR


def test_exhaustion_is_projected_for_the_share_that_is_ours() -> None:
    # 60 % in 2 h is 30 % an hour; 20 % are kept for people, so 20 % are left.
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, reserve_ppm=200_000)
    seen = standing(spec, stated(60, resets_in=3 * HOUR), [], NOW)
    assert seen.burn_ppm_per_hour == 300_000
    assert seen.exhausted_at == pytest.approx(NOW + 2 / 3 * HOUR)
    assert not seen.lasts


def test_the_ledger_counts_what_a_limit_is_given_for() -> None:
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, kind="rolling", tokens=1000, requests=100, hours=1)
    seen = standing(spec, None, [used(6 * HOUR), used(4 * HOUR, 300), used(2 * HOUR, 200)], NOW)
    assert (seen.used_ppm, seen.at_least, seen.resets_at) == (500_000, False, None)
    assert seen.burn_ppm_per_hour == 125_000


def test_requests_that_hid_their_tokens_make_it_a_lower_bound() -> None:
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, kind="rolling", tokens=1000)
    seen = standing(spec, None, [used(HOUR, 300), used(60, None, without=1)], NOW)
    assert (seen.used_ppm, seen.at_least) == (300_000, True)


def test_the_larger_of_statement_and_ledger_is_believed() -> None:
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, requests=10)
    entries = [used(60, requests=4)]
    assert standing(spec, stated(60), entries, NOW).used_ppm == 600_000
    assert standing(spec, stated(10), entries, NOW).used_ppm == 400_000


def test_a_fixed_window_rolls_at_the_stated_reset_and_its_multiples() -> None:
    spec = WindowSpec(name="5h", length_seconds=5 * HOUR, requests=10)
    rolled = stated(90, resets_in=-HOUR)
    seen = standing(spec, rolled, [used(2 * HOUR, requests=9), used(60, requests=1)], NOW)
    assert (seen.used_ppm, seen.resets_at) == (100_000, NOW + 4 * HOUR)


_ENTRIES = st.lists(
    st.builds(
        used,
        st.floats(0, 12 * HOUR),
        st.none() | st.integers(0, 400),
        st.integers(1, 5),
    ),
    max_size=30,
).map(lambda entries: sorted(entries, key=lambda entry: entry.at))
_SPECS = st.builds(
    WindowSpec,
    name=st.just("w"),
    length_seconds=st.sampled_from([20.0, HOUR, 5 * HOUR]),
    kind=st.sampled_from(["fixed", "rolling"]),
    tokens=st.none() | st.integers(1, 5000),
    requests=st.none() | st.integers(1, 50),
    reserve_ppm=st.integers(0, 900_000),
)
_STATEMENTS = st.none() | st.builds(
    stated, st.floats(0, 100), st.none() | st.floats(-10 * HOUR, 10 * HOUR), st.floats(0, 6 * HOUR)
)


@given(_SPECS, _STATEMENTS, _ENTRIES, st.integers(1, WHOLE))
def test_use_is_below_a_share_when_it_was_said_to_be(
    spec: WindowSpec, statement: Statement | None, entries: list[Entry], share: int
) -> None:
    moment = falls_below(spec, statement, entries, NOW, share)
    present = standing(spec, statement, entries, NOW).used_ppm
    assert (moment is None) == (present is None)
    if moment is None or present is None:
        return
    assert (moment == NOW) == (present < share)
    assert (standing(spec, statement, entries, moment + 0.001).used_ppm or 0) < share


@given(_SPECS, _STATEMENTS, _ENTRIES)
def test_every_gate_but_an_open_one_says_why_and_until_when(
    spec: WindowSpec, statement: Statement | None, entries: list[Entry]
) -> None:
    state = state_of(spec, statement, entries, NOW)
    gate = gate_of(state, DEFAULT_BEHAVIOUR, entries, NOW)
    closed = state.zone in (Zone.ORANGE, Zone.RED)
    assert (gate.sessions is not None) == closed
    if closed:
        assert gate.reason
        assert gate.until is not None
        assert gate.until > NOW
        later = state_of(spec, statement, entries, gate.until + 0.001)
        assert gate_of(later, DEFAULT_BEHAVIOUR, entries, gate.until + 0.001).sessions != 0


# -- what is allowed --


def test_a_red_window_defers_in_words_and_ends_by_itself() -> None:
    state = state_of(FIVE, stated(96.4), [], NOW)
    assert gate_of(state, DEFAULT_BEHAVIOUR, [], NOW) == Gate(
        sessions=0,
        reason="5h window at 96 % (red), deferred until 2084-01-29 17:00:00 UTC",
        until=NOW + HOUR,
    )
    assert gate_of(state_of(FIVE, stated(96.4), [], NOW + HOUR), DEFAULT_BEHAVIOUR, [], NOW + HOUR) == Gate()


def test_behaviours_are_the_accounts() -> None:
    orange = state_of(FIVE, stated(90), [], NOW)
    assert gate_of(orange, DEFAULT_BEHAVIOUR, [], NOW).sessions == 1
    assert gate_of(orange, {**DEFAULT_BEHAVIOUR, Zone.ORANGE: "run"}, [], NOW) == Gate()
    assert gate_of(orange, {**DEFAULT_BEHAVIOUR, Zone.ORANGE: "defer"}, [], NOW).sessions == 0


def test_the_strictest_window_counts() -> None:
    slow, red, longer = Gate(sessions=1, until=9.0), Gate(sessions=0, until=5.0), Gate(sessions=0, until=7.0)
    assert strictest([Gate(), slow, red, longer]) == longer
    assert strictest([Gate()]) == Gate()


# -- pace --


def test_a_refusal_halves_and_peace_adds_one() -> None:
    pace = next_pace(Pace(), 8, NOW - 1, NOW)
    assert pace == Pace(sessions=4, changed_at=NOW)
    assert next_pace(pace, 8, NOW + HOLD_SECONDS - 1, NOW + HOLD_SECONDS) == pace
    assert next_pace(pace, 8, NOW + HOLD_SECONDS + 1, NOW + HOLD_SECONDS + 1).sessions == 2
    assert next_pace(pace, 8, NOW - 1, NOW + RAISE_SECONDS).sessions == 5
    assert next_pace(Pace(sessions=7, changed_at=NOW), 8, NOW - 1, NOW + RAISE_SECONDS).sessions is None


def test_an_old_refusal_says_nothing() -> None:
    assert next_pace(Pace(), 8, NOW - RAISE_SECONDS, NOW) == Pace()


@given(st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), max_size=60), st.integers(1, 64))
def test_the_pace_stays_between_one_and_the_concurrency(steps: list[tuple[float, bool]], concurrency: int) -> None:
    pace, now, refused = Pace(), NOW, None
    for seconds, refusal in steps:
        now += seconds
        refused = now if refusal else refused
        pace = next_pace(pace, concurrency, refused, now)
        assert pace.sessions is None or 1 <= pace.sessions < concurrency
    assert next_pace(Pace(sessions=None), concurrency, None, now) == Pace()
