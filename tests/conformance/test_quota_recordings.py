"""Every statement about quota windows in the recordings of real agents is read, with its figures."""

import json
from pathlib import Path

import pytest

from workers.quota_signals import from_claude, from_codex, from_headers

_RECORDINGS = Path(__file__).parents[2].parent / "shared/fixtures/agents"
pytestmark = pytest.mark.skipif(not _RECORDINGS.is_dir(), reason="the recordings beside the checkout are not here")

_CLAUDE = sorted(_RECORDINGS.glob("claude*/*/stdout"))
_ROLLOUTS = sorted(_RECORDINGS.rglob("rollout*.jsonl"))
_OPENCODE = sorted(_RECORDINGS.glob("opencode/*/stdout"))
_LENGTHS = {"5h": 18000.0, "7d": 604800.0}
_SHORT = {"five_hour": "5h", "seven_day": "7d"}


def _objects(file: Path) -> list[dict[str, object]]:
    found = []
    for line in file.read_text("utf-8", "replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _near(epoch: float) -> float:
    """A present in which a recorded reset is still to come."""
    return epoch - 60


@pytest.mark.parametrize("file", _CLAUDE, ids=lambda file: f"{file.parent.parent.name}/{file.parent.name}")
def test_rate_limit_events_of_claude(file: Path) -> None:
    events = [value for value in _objects(file) if value.get("type") == "rate_limit_event"]
    others = [value for value in _objects(file) if value.get("type") != "rate_limit_event"]
    assert [seen for other in others for seen in from_claude(other, 1.8e9)] == []
    for event in events:
        info = event["rate_limit_info"]
        assert isinstance(info, dict)
        windows = info["unifiedWindows"]
        found = {seen.window: seen for seen in from_claude(event, _near(info["resetsAt"]))}
        assert {name: seen.used_ppm for name, seen in found.items()} == {
            _SHORT[name]: round(window["utilization"] * 1e6) for name, window in windows.items()
        }
        assert {name: seen.resets_at_epoch for name, seen in found.items()} == {
            _SHORT[name]: window["resetsAt"] for name, window in windows.items()
        }
        assert {name: seen.length_seconds for name, seen in found.items()} == _LENGTHS


def test_the_recordings_have_such_events() -> None:
    events = [value for file in _CLAUDE for value in _objects(file) if value.get("type") == "rate_limit_event"]
    assert len(events) >= 2


@pytest.mark.parametrize("file", _ROLLOUTS, ids=lambda file: file.parent.name)
def test_rate_limits_of_codex(file: Path) -> None:
    for value in _objects(file):
        payload = value.get("payload")
        limits = payload.get("rate_limits") if isinstance(payload, dict) else None
        if not isinstance(limits, dict):
            continue
        wanted = {
            {300: "5h", 10080: "7d"}[window["window_minutes"]]: (window["used_percent"] * 10_000, window["resets_at"])
            for window in (limits["primary"], limits["secondary"])
        }
        found = from_codex(limits, _near(limits["primary"]["resets_at"]))
        assert {seen.window: (seen.used_ppm, seen.resets_at_epoch) for seen in found} == wanted


def test_headers_that_opencode_repeats() -> None:
    found = []
    for file in _OPENCODE:
        for value in _objects(file):
            error = value.get("error")
            data = error.get("data") if isinstance(error, dict) else None
            headers = data.get("responseHeaders") if isinstance(data, dict) else None
            if isinstance(headers, dict) and "x-ratelimit-limit-requests" in headers:
                found.append(from_headers(headers, 1.795e9))
    assert found
    for statements in found:
        assert {seen.window: (seen.used_ppm, seen.resets_at_epoch) for seen in statements} == {
            "requests": (1_000_000, 1.795e9 + 5),
            "tokens": (1_000_000, 1.795e9 + 5),
        }
