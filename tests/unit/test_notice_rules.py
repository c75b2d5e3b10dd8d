"""When something is told, and how a message looks to each receiver."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.domain.channels import Channel, Event
from orchestrator.domain.errors import Fault
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.notices import (
    CHOOSABLE,
    GIVE_UP_AFTER,
    POLICIES,
    Mark,
    NoticeKind,
    Step,
    retry_seconds,
    step,
)
from orchestrator.files.toml_tree import parse_toml
from orchestrator.files.tree import Tree
from orchestrator.files.words import note_validation

NOW = datetime(2026, 7, 1, 23, 0, tzinfo=UTC)
BREAKER, ENDED = NoticeKind.BREAKER_OPEN, NoticeKind.EXPERIMENT_ENDED


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_an_opening_is_told_at_once_and_a_second_one_within_the_hour_with_the_next_message() -> None:
    first = step(BREAKER, None, True, NOW)
    assert first == Step(Mark(bad=True, since=NOW, unsaid=0, told_at=NOW), 1)
    closed = step(BREAKER, first.mark, False, after(10))
    assert closed == Step(Mark(bad=False, since=after(10), unsaid=0, told_at=NOW), 0)
    again = step(BREAKER, closed.mark, True, after(20))
    assert again == Step(Mark(bad=True, since=after(20), unsaid=1, told_at=NOW), 0)
    third = step(BREAKER, step(BREAKER, again.mark, False, after(30)).mark, True, after(40))
    assert third.tell == 0
    assert step(BREAKER, third.mark, True, after(3600)) == Step(
        Mark(bad=True, since=after(40), unsaid=0, told_at=after(3600)), 2
    )


def test_what_has_ended_before_it_was_seen_is_no_news_and_its_next_end_is() -> None:
    old = step(ENDED, None, True, NOW)
    assert old == Step(Mark(bad=True, since=NOW), 0)
    more = step(ENDED, old.mark, False, after(1))
    assert step(ENDED, more.mark, True, after(2)).tell == 1


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    mark = Mark(bad=False, since=after(9000), told_at=after(9000))
    assert step(BREAKER, mark, True, NOW).tell == 1


looks = st.lists(st.tuples(st.integers(1, 4000), st.booleans()), min_size=1, max_size=60)


@given(st.sampled_from(CHOOSABLE), looks)
def test_only_what_is_so_is_told_never_too_often_and_what_lasts_always(
    kind: NoticeKind, looks: list[tuple[int, bool]]
) -> None:
    policy, mark, now, told, begun = POLICIES[kind], None, NOW, [], 0
    was = not policy.first
    for pause, bad in looks:
        now += timedelta(seconds=pause)
        begun += bad and not was and (mark is not None or policy.first)
        mark, tell = step(kind, mark, bad, now)
        if tell:
            assert bad
            assert mark is not None
            assert (now - mark.since).total_seconds() >= policy.settle_seconds
            told.append((now, tell))
        was = bad
    gaps = [(later - earlier).total_seconds() for (earlier, _), (later, _) in pairwise(told)]
    assert all(gap >= policy.quiet_seconds for gap in gaps)
    # Looked at again long after: a condition that has begun and lasts was told, once for each time it began.
    lasting = now + timedelta(days=1)
    last, tell = step(kind, mark, was, lasting)
    if was and begun:
        assert last is not None
        assert last.unsaid == 0
        assert sum(count for _, count in told) + tell == begun
    assert step(kind, last, was, lasting + timedelta(days=1)).tell == 0


@given(st.integers(1, 1000), st.floats(0, 48 * 3600), st.none() | st.floats(0, 1e9))
def test_tries_come_less_and_less_often_and_end(tries: int, age: float, asked: float | None) -> None:
    pause = retry_seconds(tries, timedelta(seconds=age), asked)
    assert (pause is None) is (timedelta(seconds=age) >= GIVE_UP_AFTER)
    if pause is not None:
        assert 5 <= pause <= 600
        assert pause >= min(asked or 0, 600)
        assert pause <= (retry_seconds(tries + 1, timedelta(seconds=age), asked) or 0)


MAIL = {"smtp": "mail.example.com", "sender": "bakeoff@example.com", "to": ["me@example.com"]}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "exactly one of"),
        ({"url": "https://a.example/x", **MAIL}, "exactly one of"),
        ({"url": "https://me:secret@a.example/x"}, "without user or password"),
        ({"url": "ftp://a.example"}, "http:// or https://"),
        ({"url": "https://hooks.example/T0/secret", "format": "slack"}, "is a secret"),
        ({"url": "https://discord.example/api", "format": "discord"}, "is a secret"),
        ({"url": "https://a.example", "secret": "hunter2"}, "a secret by name"),
        ({"url": "https://a.example", "to": ["me@example.com"]}, "only with 'smtp'"),
        ({**MAIL, "token": "env:T"}, "only with 'url'"),
        ({**MAIL, "smtp": "mail.example.com:0"}, "HOST:PORT"),
        ({**MAIL, "smtp": "smtp://mail.example.com"}, "HOST:PORT"),
        ({**MAIL, "to": []}, "'sender' and 'to'"),
        ({**MAIL, "to": ["me@example.com\nBcc: all@example.com"]}, "a mail address"),
        ({**MAIL, "user": "me"}, "go together"),
        ({**MAIL, "user": "me", "password": "env:P", "encryption": "none"}, "without encryption"),
        ({"url": "https://a.example", "events": []}, "at least 1"),
        ({"url": "https://a.example", "events": ["tea"]}, "experiment_ended"),
    ],
)
def test_channels_that_cannot_work_are_refused(spec: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Channel.model_validate(spec)


def test_every_kind_of_notice_can_be_chosen() -> None:
    assert tuple(get_args(Event)) == CHOOSABLE
    reference = (Path(__file__).parents[2] / "docs/reference/fleet-file.md").read_text()
    assert [name for name in (*Channel.model_fields, *CHOOSABLE) if f"`{name}`" not in reference] == []
    [fault] = _faults('[notify.me]\nsmtp = "a"\nsender = "a@b"\nto = ["c@d"]\npasword = "hunter2"\n')
    assert (fault.field, fault.message) == ("notify.me.pasword", "is not a known key")
    assert "did you mean 'password'" in (fault.accepted or "")
    [hidden] = _faults('[notify.me]\nurl = "https://a.example"\ntoken = "hunter2"\n')
    assert hidden.found is None


def _faults(channels: str) -> list[Fault]:
    """Faults of a fleet file with these channels."""
    tree = Tree("fleet.toml")
    parse_toml('[models.m]\nname = "m"\npool = "p"\ncontext_window = 1\n' + channels, tree)
    with pytest.raises(ValidationError) as refused:
        Fleet.model_validate(tree.data)
    note_validation(tree, refused.value, Fleet)
    return tree.faults


def test_a_mail_server_has_the_usual_port_of_its_encryption() -> None:
    servers = [Channel.model_validate({**MAIL, "encryption": one}).server for one in ("starttls", "tls", "none")]
    assert servers == [("mail.example.com", port) for port in (587, 465, 25)]
    assert Channel.model_validate({**MAIL, "smtp": "mail:2525"}).server == ("mail", 2525)


def test_a_link_that_needs_an_experiment_is_left_out_where_there_is_none() -> None:
    channel = Channel.model_validate({"url": "https://a.example", "link": "https://live.example/e/{experiment}"})
    assert channel.link_for("night") == "https://live.example/e/night"
    assert channel.link_for(None) is None
