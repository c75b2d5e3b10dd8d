"""Durations: what people write, and what is written back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.durations import Seconds, compact_duration, format_duration, parse_duration_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        (1.5, 1.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("1h30m", 5400.0),
        (" 1h 30m ", 5400.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("1m500ms", 60.5),
    ],
)
def test_reads_what_people_write(text: object, seconds: float) -> None:
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "5x", "-5m", "5s3h", "5m5m", "m", "1h30", "1 0m", True, None, [5], "٣m"]
)
def test_refuses_the_rest_with_the_accepted_forms(text: object) -> None:
    with pytest.raises(ValueError, match="a duration like 90s, 15m or 1h30m"):
        parse_duration_seconds(text)


@pytest.mark.parametrize("value", [0, -1, "0s", float("inf"), float("nan"), "22d", "9" * 400 + "d"])
def test_a_field_holds_more_than_nothing_and_at_most_three_weeks(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(value)


@given(st.integers(min_value=1, max_value=10**10))
def test_compact_text_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration_seconds(compact_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


def test_compact_text_is_short() -> None:
    assert [compact_duration(s) for s in (0, 0.25, 300, 5400, 90, 86400)] == [
        "0s",
        "250ms",
        "5m",
        "1h30m",
        "1m30s",
        "1d",
    ]


def test_text_for_people() -> None:
    assert [format_duration(s) for s in (None, 4.24, 59.6, 200, 3900)] == [
        "unknown",
        "4.2s",
        "1m00s",
        "3m20s",
        "1h05m",
    ]
