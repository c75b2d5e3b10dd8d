"""Notices on their way: each form of webhook and mail, through deaths, hangs and refusals."""

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
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import utc_now
from orchestrator.delivery import Undelivered, deliver
from orchestrator.domain.channels import Channel
from orchestrator.domain.notices import NoticeKind
from orchestrator.postman import Postman
from orchestrator.storage import control, notices
from orchestrator.storage.engine import Database
from orchestrator.storage.notices import Message
from orchestrator.storage.tables import notice_deliveries
from tests.support.databases import SqliteDatabases
from tests.support.lab import Lab
from tests.support.processes import kill
from tests.support.receivers import Hook, Mailbox
from tests.support.tls import make_authority
from tests.support.waiting import until
from tests.support.world import NOW, A, add

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
    sqlite_databases: SqliteDatabases, hook: Hook
) -> None:
    with sqlite_databases.fresh() as database:
        _kill_it(database, hook)


def _kill_it(database: Database, hook: Hook) -> None:
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
