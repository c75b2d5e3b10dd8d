"""The scripted server's quota window, as our own reader of limit signals understands it."""

import json

import pytest

from orchestrator.domain.events import ErrorKind
from workers.gateway.errors import classify
from workers.gateway.script import Quota
from workers.gateway.scripted_errors import ErrorAnswer
from workers.gateway.scripted_quota import Doors, QuotaWindow
from workers.quota_signals import from_headers

NOW = 1_795_000_000.25


@pytest.mark.parametrize("protocol", ["messages", "chat", "responses"])
def test_a_window_fills_refuses_and_empties(protocol: str) -> None:
    window = QuotaWindow(Quota(window="5h", length=20.0, requests=2))
    for share in (500_000, 1_000_000):
        headers = window.enter(protocol, NOW)
        assert isinstance(headers, dict)
        (seen,) = from_headers(headers, NOW)
        assert (seen.window, seen.used_ppm, seen.resets_at_epoch) == ("5h", share, 1_795_000_021)

    refusal = window.enter(protocol, NOW + 10)
    assert isinstance(refusal, ErrorAnswer)
    body = json.loads(refusal.body)["error"]
    error = classify(status=refusal.status, headers=refusal.headers, error=body, now_epoch=NOW + 10)
    assert error is not None
    assert (error.kind, error.resets_at_epoch) == (ErrorKind.USAGE_LIMIT, 1_795_000_021)
    assert isinstance(window.enter(protocol, NOW + 21), dict)


def test_gemini_says_nothing_of_its_window_until_it_is_used_up() -> None:
    window = QuotaWindow(Quota(window="24h", length=20.0, requests=1))
    assert window.enter("gemini", NOW) == {}

    refusal = window.enter("gemini", NOW + 10)
    assert isinstance(refusal, ErrorAnswer)
    body = json.loads(refusal.body)["error"]
    error = classify(status=refusal.status, headers=refusal.headers, error=body, now_epoch=NOW + 10)
    assert error is not None
    assert (error.kind, int(error.resets_at_epoch or 0)) == (ErrorKind.USAGE_LIMIT, 1_795_000_021)


def test_so_many_requests_are_answered_at_a_time() -> None:
    doors = Doors(2)
    with doors.open() as one, doors.open() as two:
        with doors.open() as three:
            assert (one, two, three) == (True, True, False)
        with doors.open() as four:
            assert not four
    with doors.open() as five, Doors(None).open() as any_number:
        assert five
        assert any_number
