"""Notices from the condition to the receiver: what is told, once, through deaths, hangs and refusals."""

import email
import email.policy
import hashlib
import hmac
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.clock import utc_now
from orchestrator.delivery import Undelivered, deliver
from orchestrator.domain.breaker import POLICIES
from orchestrator.domain.channels import Channel
from orchestrator.domain.notices import MOST_PER_HOUR, NoticeKind
from orchestrator.domain.outcome import Outcome
from orchestrator.postman import Postman
from orchestrator.scheduling.notices import look
from orchestrator.storage import attempts, breakers, control, drains, machines, notices
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.notices import Backlog, Message
from orchestrator.storage.tables import notice_deliveries
from tests.support.databases import SqliteDatabases
from tests.support.lab import Lab
from tests.support.processes import kill
from tests.support.receivers import Hook, Mailbox
from tests.support.tls import make_authority
from tests.support.waiting import until
from tests.support.world import COMPLETE, NOW, POOL, WORKER, A, add, parked, start

MINUTE = timedelta(minutes=1)
MESSAGE = Message(
    "0123abcd",
    NoticeKind.BREAKER_OPEN,
    "account:max",
    NOW,
    "account max is stopped",
    "key <refused> & @everyone",
    "bakeoff resume",
    1,
)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as one:
        yield one


def subscribe(database: Database, **channels: Mapping[str, Any]) -> None:
    with database.write() as connection:
        notices.store_channels(connection, {name: Channel.model_validate(one) for name, one in channels.items()})


def told(database: Database, now: Any = NOW) -> list[tuple[str, str]]:
    """What one look makes news of."""
    return [(message.kind.value, message.title) for message in look(database, now)]


# -- what is news --


def test_an_experiment_is_told_to_have_ended_once_and_again_after_more_work(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    add(database, [A, POOL], capacities={A: 1, POOL: 1})
    assert told(database) == []
    one, two = start(database)
    attempts.finish(database, one.attempt_id, COMPLETE, NOW)
    assert told(database) == []
    attempts.finish(database, two.attempt_id, AttemptResult(outcome=Outcome.WALL_TIMEOUT, detail=""), NOW)
    [message] = look(database, NOW)
    assert (message.kind, message.subject) == (NoticeKind.EXPERIMENT_ENDED, "experiment:demo")
    assert message.title == "demo has ended: 1 of 2 jobs done"
    assert (message.text, message.next_step) == ("Jobs: 1 done, 1 failed.", "bakeoff report demo")
    assert told(database) == []

    add(database, [POOL], after=2)
    [three] = start(database)
    # Nobody looked in between: submitting alone makes the next end news.
    attempts.finish(database, three.attempt_id, COMPLETE, NOW)
    assert told(database) == [("experiment_ended", "demo has ended: 2 of 3 jobs done")]


def test_an_experiment_that_waits_as_a_whole_says_for_what(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example", "events": ["experiment_waiting"]})
    add(database, [A, A, POOL], capacities={A: 1, POOL: 1})
    first, other = start(database)
    attempts.finish(database, first.attempt_id, parked(NOW + 60 * MINUTE), NOW)
    assert told(database, NOW + MINUTE) == [], "the pool's job still runs"
    attempts.finish(database, other.attempt_id, COMPLETE, NOW)
    assert told(database, NOW + MINUTE) == [], "it may be a moment between two jobs"
    [message] = look(database, NOW + 2 * MINUTE)
    assert message.title == "demo waits: none of its 2 open jobs can go on now"
    assert message.text.splitlines() == [
        "Jobs: 1 done, 1 parked, 1 ready.",
        "account a is parked until its limit resets at 2026-07-01 13:00:00 UTC: quota_parked: usage_limit",
        "the first parked job is ready again at 2026-07-01 13:00:00 UTC",
    ]
    assert told(database, NOW + 3 * MINUTE) == []

    # A drained pool and paused jobs are a person's to lift.
    add(database, [POOL], experiment="other")
    drains.drain(database, [POOL], "cleaning", NOW)
    assert told(database, NOW + 4 * MINUTE) == []
    [message] = look(database, NOW + 5 * MINUTE)
    assert message.text == "Jobs: 1 ready.\npool:p is drained: cleaning"
    drains.lift(database, [POOL])
    assert told(database, NOW + 6 * MINUTE) == []


def test_a_breaker_that_flaps_is_told_once_an_hour_with_how_often(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example", "events": ["breaker_open"]})
    add(database, [A] * 9, capacities={A: 1}, max_infra=99)
    refused = AttemptResult(outcome=Outcome.AUTH_ERROR, detail="the key sk-1 is refused", resource=A)
    now, said = NOW, []
    for _ in range(8):  # nobody repairs the key, and somebody tries it again and again
        for _ in range(POLICIES["account"].threshold):
            [claimed] = start(database, now)
            attempts.finish(database, claimed.attempt_id, refused, now)
        said += look(database, now)
        breakers.reset(database, [A], now)
        said += look(database, now)
        now += 10 * MINUTE
    assert [(message.title, message.times) for message in said] == [
        ("account a is stopped", 1),
        ("account a is stopped", 6),
    ]
    assert said[1].text.endswith("It was stopped 6 times since the last message.")
    assert "the key sk-1 is refused" in said[0].text
    assert said[0].next_step == "When the cause is gone: bakeoff resume --account a"


def test_machines_that_are_full_or_silent(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    machines.announce(database, WORKER, "w", {"resource": A}, NOW)
    machines.announce(database, WORKER, "old", {"resource": A}, NOW - 60 * MINUTE)
    assert told(database) == []
    machines.announce(database, WORKER, "w", {"resource": A, "closed_for": "3 MiB of disk are free"}, NOW + MINUTE)
    assert told(database, NOW + MINUTE) == []
    machines.announce(
        database, WORKER, "w", {"resource": A, "closed_for": "3 MiB of disk are free"}, NOW + 2 * MINUTE
    )
    [full] = look(database, NOW + 2 * MINUTE)
    assert (full.kind, full.title) == (NoticeKind.MACHINE_FULL, "worker w on box takes no new jobs")
    assert full.text == "3 MiB of disk are free. What runs there goes on."
    assert told(database, NOW + 4 * MINUTE) == []
    assert told(database, NOW + 6 * MINUTE) == [("machine_lost", "worker w on box is silent")]
    machines.withdraw(database, "box", "w")
    assert told(database, NOW + 600 * MINUTE) == []


def test_two_schedulers_that_see_the_same_make_one_message(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    add(database, [A], capacities={A: 1})
    [claimed] = start(database)
    attempts.finish(database, claimed.attempt_id, COMPLETE, NOW)
    barrier, made = threading.Barrier(4), []

    def one() -> None:
        barrier.wait()
        made.extend(look(database, NOW))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    claims = [notices.claim(database, "team", NOW) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]
    assert claims[0] is not None
    # Its holder died: another one may try after a while, and a late word of the first changes nothing.
    again = notices.claim(database, "team", NOW + 3 * MINUTE)
    assert again is not None
    assert (again.message.id, again.tries) == (made[0].id, 2)
    assert not notices.sent(database, claims[0], NOW)
    assert notices.sent(database, again, NOW)
    assert notices.claim(database, "team", NOW + 60 * MINUTE) is None


def test_what_cannot_be_sent_is_tried_again_and_given_up_in_the_end(sqlite_databases: SqliteDatabases) -> None:
    with sqlite_databases.fresh() as database:
        _try_for_a_day(database)


def _try_for_a_day(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    add(database, [A], capacities={A: 1})
    control.cancel(database, control.Selection(), "enough", NOW)
    [message] = look(database, NOW)
    now, tries = NOW, 0
    while (parcel := notices.claim(database, "team", now)) is not None:
        tries += 1
        over = notices.failed(database, parcel, "the receiver answers 500", now)
        with database.read() as connection:
            due = connection.execute(sa.select(notice_deliveries.c.due_at)).scalar_one()
        assert notices.claim(database, "team", max(now, due - timedelta(seconds=1))) is None
        now = due if not over else now + timedelta(days=1)
    assert 100 < tries < 200
    assert notices.backlog(database, now) == [Backlog("team", 0, 1, "the receiver answers 500")]
    assert message.title == "demo has ended: 0 of 1 jobs done"


def test_a_channel_gets_no_more_than_it_can_read(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    sights = [notices.Sight(NoticeKind.BREAKER_OPEN, f"profile:demo/{number}", True) for number in range(70)]
    notices.record(database, sights, {sight.key: notices.Words("stopped", "", "") for sight in sights}, NOW)

    def sent_at(now: datetime) -> int:
        count = 0
        while (parcel := notices.claim(database, "team", now)) is not None:
            assert notices.sent(database, parcel, now)
            count += 1
        return count

    assert (sent_at(NOW), notices.due_channels(database, NOW + MINUTE)) == (MOST_PER_HOUR, [])
    assert (sent_at(NOW + 59 * MINUTE), sent_at(NOW + 60 * MINUTE)) == (0, 10)


def test_what_waits_for_a_channel_that_is_gone_waits_no_more(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"}, me={"url": "https://me.example"})
    add(database, [A], capacities={A: 1})
    control.cancel(database, control.Selection(), "enough", NOW)
    look(database, NOW)
    assert notices.due_channels(database, NOW) == ["me", "team"]
    subscribe(database, me={"url": "https://me.example"})
    assert notices.due_channels(database, NOW) == ["me"]
    assert notices.backlog(database, NOW) == [Backlog("me", 1, 0, None)]


# -- how it arrives --


class Running:
    """A postman at work until the block ends."""

    def __init__(self, database: Database) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=Postman(database, lambda: True).run, args=(self._stop,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_receiver_that_hangs_delays_only_itself(
    database: Database, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with closing(Hook()) as stuck, closing(Hook(status=500)) as broken:
        stuck.open.clear()
        subscribe(database, a={"url": stuck.url}, b={"url": broken.url}, c={"url": hook.url})
        for name in ("one", "two"):
            add(database, [A], experiment=name, capacities={A: 1})
            control.cancel(database, control.Selection(experiment=name), "enough", NOW)
        with Running(database):
            assert sorted(one.json["title"] for one in hook.await_posts(2)) == [
                f"{name} has ended: 0 of 1 jobs done" for name in ("one", "two")
            ]
            broken.await_posts(2)
            until(lambda: notices.backlog(database, utc_now())[1].error, "the refusal to be on record")
            stuck.open.set()
            left = until(
                lambda: [] if (found := notices.backlog(database, utc_now()))[0].waiting else found,
                "the hanging one to be told",
            )
    assert [one.waiting for one in left] == [0, 2, 0]
    assert "notice_not_sent id=" in caplog.text
    assert stuck.url not in caplog.text


_DIES_BEFORE_IT_SENDS = """
import sys
from orchestrator import postman
from orchestrator.storage.engine import Database

def hang(*_):
    print("claimed", flush=True)
    sys.stdin.read()

postman.deliver = hang
postman.Postman(Database(sys.argv[1]), lambda: True).once()
sys.stdin.read()
"""


def test_a_scheduler_that_is_killed_between_the_record_and_the_post_loses_nothing(
    database: Database, hook: Hook
) -> None:
    subscribe(database, team={"url": hook.url})
    add(database, [A], capacities={A: 1})
    control.cancel(database, control.Selection(), "enough", NOW)
    url = database.url.render_as_string(hide_password=False)
    argv = [sys.executable, "-c", _DIES_BEFORE_IT_SENDS, url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        kill(first.pid)
    assert hook.posted == []
    with database.write() as connection:  # two minutes later
        connection.execute(notice_deliveries.update().values(due_at=utc_now()))
    with Running(database):
        [post] = hook.await_posts(1)
        until(lambda: notices.backlog(database, utc_now())[0].waiting == 0, "the delivery to be on record")
    assert post.json["kind"] == "experiment_ended"
    assert post.headers["x-bakeoff-id"] == post.headers["idempotency-key"] == post.json["id"]


def test_every_form_of_a_webhook(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.setenv("SECRET", "s3cret")
    words = "Bakeoff: account max is stopped\nkey <refused> & @everyone\nbakeoff resume\nhttps://live.example"
    link = "https://live.example"
    for form in ("json", "slack", "discord", "ntfy", "matrix"):
        spec = {"url": "env:HOOK", "format": form, "link": link, "secret": "env:SECRET", "token": "env:SECRET"}
        deliver(Channel.model_validate(spec), MESSAGE)
    plain, slack, discord, ntfy, matrix = hook.posted
    assert plain.json == {
        "version": 1,
        "id": "0123abcd",
        "kind": "breaker_open",
        "subject": "account:max",
        "at": "2026-07-01T12:00:00+00:00",
        "title": "account max is stopped",
        "text": "key <refused> & @everyone",
        "next_step": "bakeoff resume",
        "times": 1,
        "link": link,
    }
    assert slack.json == {"text": words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    assert discord.json == {"content": words, "allowed_mentions": {"parse": []}}
    assert (ntfy.body.decode(), ntfy.headers["content-type"]) == (words, "text/plain; charset=utf-8")
    assert (matrix.method, matrix.path) == ("PUT", "/hook/0123abcd")
    assert matrix.json == {"msgtype": "m.text", "body": words}
    for post in hook.posted:
        expected = hmac.new(b"s3cret", post.body, hashlib.sha256).hexdigest()
        assert post.headers["x-bakeoff-signature"] == f"sha256={expected}"
        assert post.headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("status", "headers", "asked"),
    [(429, {"Retry-After": "90"}, 90.0), (302, {"Location": "http://127.0.0.1:9/"}, None), (500, {}, None)],
)
def test_only_a_success_counts(hook: Hook, status: int, headers: dict[str, str], asked: float | None) -> None:
    hook.status, hook.headers = status, headers
    with pytest.raises(Undelivered, match=f"answers {status}") as refused:
        deliver(Channel.model_validate({"url": hook.url}), MESSAGE)
    assert refused.value.retry_after_seconds == asked
    assert len(hook.posted) == 1


MAIL = {"sender": "bakeoff@example.com", "to": ["me@example.com", "you@example.com"]}


def test_mail_over_both_kinds_of_tls_with_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path / "tls")
    monkeypatch.setenv("PASSWORD", "s3cret")
    for encryption in ("starttls", "tls"):
        with closing(Mailbox(authority, wrapped=encryption == "tls", password="s3cret")) as box:
            spec = {**MAIL, "smtp": box.server, "encryption": encryption, "user": "me", "password": "env:PASSWORD"}
            channel = Channel.model_validate(spec)
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            with pytest.raises(Undelivered, match="cannot be used"):
                deliver(channel, MESSAGE)  # signed by nobody whom this machine trusts
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
            deliver(channel, MESSAGE._replace(title="résumé\nBcc: all@example.com"))
            monkeypatch.setenv("PASSWORD", "wrong")
            with pytest.raises(Undelivered, match=r"refuses the login of me \(535\)") as refused:
                deliver(channel, MESSAGE)
            monkeypatch.setenv("PASSWORD", "s3cret")
            assert "wrong" not in str(refused.value)
            [mail] = box.mails
        assert (mail.login, mail.encrypted, mail.to) == ("me", True, MAIL["to"])
        parsed = email.message_from_string(mail.text, policy=email.policy.default)
        assert parsed["Subject"] == "Bakeoff: résumé Bcc: all@example.com"
        assert parsed["Bcc"] is None
        assert parsed["Message-ID"] == "<0123abcd@bakeoff.invalid>"
        assert parsed.get_content().splitlines()[-1] == "bakeoff resume"


def test_mail_that_some_refuse_is_sent_once_and_that_all_refuse_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Mailbox(refuses="you@example.com")) as box:
        deliver(Channel.model_validate({**MAIL, "smtp": box.server, "encryption": "none"}), MESSAGE)
        assert [mail.to for mail in box.mails] == [["me@example.com"]]
        assert "mail_partly_refused id=0123abcd address=you@example.com" in caplog.text
        only = Channel.model_validate({**MAIL, "to": ["you@example.com"], "smtp": box.server, "encryption": "none"})
        with pytest.raises(Undelivered, match="every receiver"):
            deliver(only, MESSAGE)


# -- as a user sees it --


def test_a_run_tells_its_end_before_it_is_over_and_a_test_message_says_what_is_wrong(lab: Lab, hook: Hook) -> None:
    lab.write()
    fleet = lab.root / "fleet.toml"
    channels = f'[notify.team]\nurl = "env:HOOK"\nformat = "ntfy"\n[notify.gone]\nurl = "{hook.url}"\n'
    fleet.write_text(fleet.read_text() + channels + 'secret = "env:NOT_SET"\n')

    tried = lab.bakeoff("notify", str(lab.file), "--test", env={"HOOK": hook.url})
    assert (tried.code, tried.out.splitlines()) == (
        4,
        [
            "ok   team: taken",
            "MISS gone: the secret env:NOT_SET is not set: export NOT_SET for the process that uses it",
        ],
    )
    done = lab.run(env={"HOOK": hook.url})
    assert done.code == 0, done.err
    assert [post.headers["x-bakeoff-kind"] for post in hook.posted] == ["test", "experiment_ended"]
    assert hook.posted[1].body.decode().splitlines() == [
        "Bakeoff: lab has ended: 1 of 1 jobs done",
        "Jobs: 1 done.",
        "bakeoff report lab",
    ]
    assert "note notices to gone: 1 wait; the secret env:NOT_SET is not set" in lab.bakeoff("doctor").out
    assert hook.url not in lab.logs()
