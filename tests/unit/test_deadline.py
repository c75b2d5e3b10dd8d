"""Deadlines in the zones of people."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.deadline import parse_deadline

EVENING = datetime(2026, 7, 1, 21, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("08:00Z", "2026-07-02T08:00"),
        ("8:00 UTC", "2026-07-02T08:00"),
        ("22:00Z", "2026-07-01T22:00"),
        ("21:30Z", "2026-07-02T21:30"),
        ("08:00 Europe/Berlin", "2026-07-02T06:00"),
        ("23:00 Europe/Berlin", "2026-07-02T21:00"),
        ("08:00 Asia/Tokyo", "2026-07-01T23:00"),
        ("08:00+05:30", "2026-07-02T02:30"),
        ("2026-07-05 08:00 America/New_York", "2026-07-05T12:00"),
        ("2026-07-05T08:00-07:00", "2026-07-05T15:00"),
    ],
)
def test_the_next_such_moment(text: str, expected: str) -> None:
    assert parse_deadline(text, EVENING) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_on_the_night_when_the_clocks_go_back_a_morning_is_an_hour_further() -> None:
    before = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)
    assert parse_deadline("08:00 Europe/Berlin", before) == datetime(2026, 10, 25, 7, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "25:00",
        "soon",
        "08:00 Nowhere/City",
        "2026-13-01 08:00",
        "08:00+2",
        "08:00 /etc",
        "0001-01-01 00:00+23:00",
    ],
)
def test_what_is_no_deadline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"clock|time|month|hour|zone|must be"):
        parse_deadline(text, EVENING)


def test_a_moment_that_is_over_is_refused() -> None:
    with pytest.raises(ValueError, match="it is over: now it is 2026-07-01 21:30 UTC"):
        parse_deadline("2026-07-01 08:00Z", EVENING)


@given(st.integers(0, 23), st.integers(0, 59), st.sampled_from(["Z", "+09:00", " Europe/Berlin", ""]))
def test_it_is_always_ahead_and_within_a_day_and_an_hour(hour: int, minute: int, zone: str) -> None:
    found = parse_deadline(f"{hour:02}:{minute:02}{zone}", EVENING)
    assert EVENING < found <= EVENING + timedelta(hours=25)
