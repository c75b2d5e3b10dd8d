"""Limit signals: every provider's form comes out as the same statement, and garbage as none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import QuotaSeen
from workers.quota_signals import from_claude, from_codex, from_headers

NOW = 1_795_000_000.0
FIVE, WEEK = 5 * 3600.0, 7 * 86400.0


def seen(window: str, ppm: int, resets: float | None, length: float | None, source: str = "headers") -> QuotaSeen:
    return QuotaSeen(window=window, used_ppm=ppm, resets_at_epoch=resets, length_seconds=length, source=source)


@pytest.mark.parametrize(
    "reset",
    ["1795003600", "1795003600000", "2026-11-18T12:06:40+00:00", "2026-11-18T12:06:40Z", "3600", "60m0s", "1h"],
)
def test_a_reset_is_one_moment_however_it_is_written(reset: str) -> None:
    found = from_headers(
        {
            "anthropic-ratelimit-unified-5h-utilization": "0.29",
            "anthropic-ratelimit-unified-5h-reset": reset,
            "anthropic-ratelimit-unified-5h-status": "allowed",
        },
        NOW,
    )
    assert found == [seen("5h", 290_000, NOW + 3600, FIVE)]


def test_unified_windows_and_a_rejected_one() -> None:
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": "1795003600",
        "anthropic-ratelimit-unified-5h-status": "rejected",
        "anthropic-ratelimit-unified-5h-reset": "1795003600",
        "anthropic-ratelimit-unified-7d-utilization": "0.41",
        "anthropic-ratelimit-unified-7d_opus-utilization": "0.57",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
    }
    assert from_headers(headers, NOW) == [
        seen("5h", 1_000_000, NOW + 3600, FIVE),
        seen("7d", 410_000, None, WEEK),
        seen("7d-opus", 570_000, None, WEEK),
    ]


@pytest.mark.parametrize("minutes", ["300", "299"])
def test_codex_headers(minutes: str) -> None:
    headers = {
        "x-codex-primary-used-percent": "37.5",
        "x-codex-primary-window-minutes": minutes,
        "x-codex-primary-reset-after-seconds": "60",
        "x-codex-secondary-used-percent": "100",
        "x-codex-secondary-window-minutes": "10080",
        "x-codex-secondary-reset-at": "1795000100",
    }
    assert from_headers(headers, NOW) == [
        seen("5h", 375_000, NOW + 60, FIVE),
        seen("7d", 1_000_000, NOW + 100, WEEK),
    ]


def test_counters_of_both_families() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "45",
        "x-ratelimit-reset-requests": "6m0s",
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-18T11:06:50Z",
        "x-ratelimit-limit-tokens": "0",
        "x-ratelimit-remaining-tokens": "0",
    }
    assert from_headers(headers, NOW) == [
        seen("requests", 250_000, NOW + 360, None),
        seen("input-tokens", 1_000_000, NOW + 10, None),
    ]


def test_claude_s_event_with_all_windows_and_with_one() -> None:
    windows = {
        "five_hour": {"utilization": 1, "resetsAt": 1795000100, "status": "rejected"},
        "seven_day": {"utilization": 0.57, "resetsAt": 1795000200, "status": "allowed"},
    }
    event = {"type": "rate_limit_event", "rate_limit_info": {"unifiedWindows": windows, "rateLimitType": "five_hour"}}
    assert from_claude(event, NOW) == [
        seen("5h", 1_000_000, NOW + 100, FIVE, "claude"),
        seen("7d", 570_000, NOW + 200, WEEK, "claude"),
    ]
    alone = {"status": "allowed", "utilization": 0.7, "rateLimitType": "seven_day_opus", "resetsAt": 1795000100000}
    assert from_claude({"type": "rate_limit_event", "rate_limit_info": alone}, NOW) == [
        seen("7d-opus", 700_000, NOW + 100, WEEK, "claude")
    ]


def test_what_an_agent_says_about_limits_is_no_signal() -> None:
    words = "rate_limit_event utilization 1.0: usage limit reached, resets at 1795000100"
    assert from_claude({"type": "assistant", "rate_limit_info": {"utilization": 1}, "text": words}, NOW) == []
    assert from_claude({"type": "rate_limit_event", "rate_limit_info": words}, NOW) == []
    assert from_headers({"retry-after": "5", "x-note": words}, NOW) == []


def test_codex_rate_limits_without_a_reset_or_with_a_relative_one() -> None:
    limits = {"primary": {"used_percent": 12.5, "resets_in_seconds": 30}, "secondary": None}
    assert from_codex(limits, NOW) == [seen("primary", 125_000, NOW + 30, None, "codex")]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_WINDOW = st.dictionaries(
    st.sampled_from(["utilization", "resetsAt", "status", "used_percent", "window_minutes", "resets_at"]), _JSON
)
_NAMES = st.sampled_from(
    [
        "anthropic-ratelimit-unified-5h-utilization",
        "anthropic-ratelimit-unified-5h-reset",
        "anthropic-ratelimit-unified--utilization",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-codex-primary-used-percent",
        "x-codex-primary-window-minutes",
        "x-codex-primary-reset-at",
    ]
)
_VALUES = st.text(max_size=20) | st.floats().map(str) | st.integers().map(str)


@given(st.dictionaries(_NAMES, _VALUES), _JSON, st.dictionaries(st.text(max_size=10), _WINDOW | _JSON, max_size=3))
def test_nothing_that_a_stranger_sends_raises_or_is_out_of_range(
    headers: dict[str, str], info: object, windows: dict[str, object]
) -> None:
    event = {"type": "rate_limit_event", "rate_limit_info": {"unifiedWindows": windows}}
    limits = {"primary": info, "secondary": next(iter(windows.values()), None)}
    bare = {"type": "rate_limit_event", "rate_limit_info": info}
    found = [*from_headers(headers, NOW), *from_claude(event, NOW), *from_claude(bare, NOW), *from_codex(limits, NOW)]
    for one in found:
        assert one.window
        assert 0 <= one.used_ppm <= 10**9
        assert one.resets_at_epoch is None or abs(one.resets_at_epoch - NOW) <= 40 * 86400
