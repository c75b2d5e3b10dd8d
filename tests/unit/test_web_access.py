"""Who may look: logins, sessions, the brake on guessing, hosts and paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.web.access import SESSION_SECONDS, Brake, Login, is_known_host, safe_path

LOGIN = Login("bakeoff", "pass:wörd")
NOW = 1_800_000_000.0


def test_only_this_user_with_this_password_is_known() -> None:
    assert LOGIN.knows("bakeoff", "pass:wörd")
    for user, password in (("bakeoff", "pass"), ("Bakeoff", "pass:wörd"), ("", ""), ("bakeoff\0pass", ":wörd")):
        assert not LOGIN.knows(user, password), (user, password)


def test_a_session_lasts_its_time_survives_a_restart_and_ends_with_the_password() -> None:
    token = LOGIN.session(NOW)

    assert LOGIN.admits(token, NOW)
    assert Login("bakeoff", "pass:wörd").admits(token, NOW + SESSION_SECONDS - 1)
    assert not LOGIN.admits(token, NOW + SESSION_SECONDS)
    assert not Login("bakeoff", "other").admits(token, NOW)
    assert not Login("other", "pass:wörd").admits(token, NOW)


@settings(max_examples=50)
@given(
    st.text(max_size=80) | st.builds("{}.{}".format, st.integers(), st.text(alphabet="0123456789abcdef", max_size=64))
)
def test_nobody_makes_up_a_session(token: str) -> None:
    assert not LOGIN.admits(token, NOW)


@given(st.integers(1, 10**6))
def test_a_session_cannot_be_prolonged(more: int) -> None:
    until, _, signature = LOGIN.session(NOW).partition(".")

    assert not LOGIN.admits(f"{int(until) + more}.{signature}", NOW)


def test_guessing_gets_slower_and_slower_for_the_one_who_guesses() -> None:
    brake, waits = Brake(), []
    for _ in range(13):
        waits.append(brake.wait_seconds("mallory", NOW))
        brake.failed("mallory", NOW)

    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert brake.wait_seconds("alice", NOW) == 0
    assert brake.wait_seconds("mallory", NOW + 59) == 1
    assert brake.wait_seconds("mallory", NOW + 3600) == 0
    brake.succeeded("mallory")
    assert brake.wait_seconds("mallory", NOW) == 0


def test_guessing_from_many_addresses_is_slow_too_and_costs_no_memory() -> None:
    brake = Brake()
    for number in range(5000):
        brake.failed(f"10.0.{number // 256}.{number % 256}", NOW)

    assert brake.wait_seconds("10.9.9.9", NOW) == 60
    assert len(brake._failures) <= 1000


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8765", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8765", True),
        ("192.168.1.7:8765", True),
        ("bakeoff.example.org", True),
        ("evil.example.org", False),
        ("localhost.evil.org:8765", False),
        ("127.0.0.1.evil.org", False),
        ("", False),
        ("[::1", False),
        ("user@evil.org", False),
    ],
)
def test_a_host_counts_when_nobody_else_can_point_it_here(host: str, known: bool) -> None:
    assert is_known_host(host, {"Bakeoff.example.org"}) is known


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/experiments/a%20b?page=2", "/experiments/a%20b?page=2"),
        ("//evil.org", "/"),
        ("https://evil.org", "/"),
        ("/\\evil.org", "/"),
        ("/a\r\nSet-Cookie: b", "/"),
        ("", "/"),
    ],
)
def test_after_the_login_it_goes_on_here_and_nowhere_else(given: str, path: str) -> None:
    assert safe_path(given) == path
