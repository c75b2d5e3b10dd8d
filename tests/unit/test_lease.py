"""The observer expires what was silent while it looked, and nothing else; the holder always ends before that."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.lease import Beat, Observer, holder_deadline

TTL, GAP = 10.0, 4.0


def observer() -> Observer:
    return Observer(ttl_seconds=TTL, max_gap_seconds=GAP)


def expired(looks: Sequence[tuple[float, int]], watcher: Observer | None = None) -> list[float]:
    """The moments at which attempt `a` was called expired, looking at (moment, heartbeat) in turn."""
    watcher = watcher or observer()
    return [at for at, beat in looks if watcher.look([Beat("a", beat)], asked_at=at, read_at=at)]


def test_silence_for_the_whole_ttl_expires() -> None:
    assert expired([(t, 1) for t in (0, 3, 6, 9, 9.99, 10, 12)]) == [10, 12]


def test_a_heartbeat_that_moves_starts_the_count_again() -> None:
    assert expired([(0, 1), (3, 1), (6, 2), (9, 2), (12, 2), (15, 2), (15.9, 2), (16, 2)]) == [16]


def test_a_blind_gap_starts_every_count_again() -> None:
    assert expired([(0, 1), (4, 1), (8, 1), (12.1, 1), (16, 1), (20, 1), (22.2, 1)]) == [22.2]


def test_the_count_begins_after_the_read_and_ends_before_it() -> None:
    watcher = observer()
    assert watcher.look([Beat("a", 1)], asked_at=0, read_at=3) == []
    for at in (5, 8, 11, 12.9):
        assert watcher.look([Beat("a", 1)], asked_at=at, read_at=at + 1) == []
    assert watcher.look([Beat("a", 1)], asked_at=13, read_at=14) == [Beat("a", 1)]


def test_an_attempt_that_went_and_came_back_is_new() -> None:
    watcher = observer()
    watcher.look([Beat("a", 1)], asked_at=0, read_at=0)
    watcher.look([], asked_at=4, read_at=4)
    for at in (8, 12):
        assert watcher.look([Beat("a", 1)], asked_at=at, read_at=at) == []


def test_attempts_are_judged_one_by_one() -> None:
    watcher = observer()
    for at in range(10):
        watcher.look([Beat("a", 0), Beat("b", at), Beat("c", 7)][: 2 + (at > 5)], asked_at=at, read_at=at)
    assert watcher.look([Beat("a", 0), Beat("b", 10), Beat("c", 7)], asked_at=10, read_at=10) == [Beat("a", 0)]


@given(st.lists(st.tuples(st.floats(0.01, 2 * GAP), st.floats(0, 2), st.booleans()), max_size=60))
def test_only_a_ttl_of_watched_silence_expires(steps: list[tuple[float, float, bool]]) -> None:
    """Against a plain reading of the rule: pauses, slow reads and beats in any order."""
    watcher, now, beat = observer(), 0.0, 0
    silent_since, last_read = None, None
    for pause, reading, moved in steps:
        now += pause
        asked, read = now, now + reading
        beat += moved
        if moved or last_read is None or asked - last_read > GAP:
            silent_since = read
        assert silent_since is not None
        got = watcher.look([Beat("a", beat)], asked_at=asked, read_at=read)
        assert got == ([Beat("a", beat)] if asked - silent_since >= TTL else [])
        now, last_read = read, read


@given(
    sent=st.floats(0, 1e6),
    commit_after=st.floats(0, 30),
    seen_after=st.floats(0, 30),
    margin=st.floats(0.1, 5),
)
def test_the_holder_ends_before_anybody_may_expire_it(
    sent: float, commit_after: float, seen_after: float, margin: float
) -> None:
    """A renewal reaches the database after it was sent, and is seen after it got there."""
    watcher, read = observer(), sent + commit_after + seen_after
    deadline = holder_deadline(renewed_at=sent, ttl_seconds=TTL, margin_seconds=margin)
    watcher.look([Beat("a", 1)], asked_at=read, read_at=read)
    at = read
    while not watcher.look([Beat("a", 1)], asked_at=at, read_at=at):
        at += GAP / 2
    assert deadline <= at - margin + 1e-6


def test_a_deadline_counts_from_before_the_renewal() -> None:
    assert holder_deadline(renewed_at=100.0, ttl_seconds=120.0, margin_seconds=10.0) == pytest.approx(210.0)
