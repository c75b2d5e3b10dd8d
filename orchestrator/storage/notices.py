"""Notices: what is known of each condition, and messages from the moment they are news until they have been sent.

A mark and the message that follows from it are written in one transaction, so a scheduler that dies between the two
neither forgets nor repeats. Sending comes later, by whoever has claimed the delivery, at least once.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.channels import Channel
from orchestrator.domain.notices import MOST_PER_HOUR, Mark, NoticeKind, retry_seconds, step
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import notice_channels, notice_deliveries, notice_marks, notices

# A try that has not told its end by now is taken for lost: several times what the slowest receiver is given.
_CLAIM = timedelta(seconds=120)
# Old messages are of no use to anybody.
_KEPT = timedelta(days=90)
# Of errors of receivers.
_ERROR_LENGTH = 300

_WAITING = notice_deliveries.c.state == sa.literal_column("'waiting'")

Key = tuple[NoticeKind, str]


class Sight(NamedTuple):
    """A condition as it is now. `bad` None: neither so nor over, such as a breaker that is being tried."""

    kind: NoticeKind
    subject: str
    bad: bool | None

    @property
    def key(self) -> Key:
        """What its mark is kept under."""
        return self.kind, self.subject


class Message(NamedTuple):
    """What is told. `times`: how often it has happened since the last notice of the same kind and subject."""

    id: str
    kind: NoticeKind
    subject: str
    at: datetime
    title: str
    text: str
    next_step: str
    times: int


class Words(NamedTuple):
    """A message before it has a name and a time."""

    title: str
    text: str
    next_step: str


class Parcel(NamedTuple):
    """A delivery that its holder may try now."""

    channel: str
    claim: str
    tries: int
    message: Message


class Backlog(NamedTuple):
    """A channel's messages: how many wait, how many were given up in the last week, and the newest error."""

    channel: str
    waiting: int
    given_up: int
    error: str | None


def store_channels(connection: sa.Connection, channels: Mapping[str, Channel]) -> None:
    """These and no others. What waits for a channel that is gone waits no more."""
    gone = sa.and_(_WAITING, notice_deliveries.c.channel.not_in(sorted(channels)))
    connection.execute(notice_deliveries.update().where(gone).values(state="given_up", claim=None))
    connection.execute(notice_channels.delete())
    for name, channel in channels.items():
        spec = channel.model_dump(mode="json", exclude_unset=True)
        connection.execute(notice_channels.insert().values(name=name, spec=spec))


def channels(database: Database) -> dict[str, Channel]:
    """Every channel by name."""
    with database.read() as connection:
        return _channels(connection)


def _channels(connection: sa.Connection) -> dict[str, Channel]:
    rows = connection.execute(sa.select(notice_channels).order_by(notice_channels.c.name))
    return {row.name: Channel.model_validate(row.spec) for row in rows}


def expect_end(connection: sa.Connection, experiment: str, now: datetime) -> None:
    """Work was submitted: its end will be news, however soon it comes."""
    one_at_a_time(connection, "notices")
    key = (NoticeKind.EXPERIMENT_ENDED, f"experiment:{experiment}")
    _save_marks(connection, {key: Mark(bad=False, since=now)})


def marks(database: Database) -> dict[Key, Mark]:
    """What is known of every condition."""
    with database.read() as connection:
        return _marks(connection)


def _marks(connection: sa.Connection) -> dict[Key, Mark]:
    return {
        (NoticeKind(row.kind), row.subject): Mark(
            bad=row.bad, since=row.since, unsaid=row.unsaid, told_at=row.told_at
        )
        for row in connection.execute(sa.select(notice_marks))
    }


def changed(sights: Sequence[Sight], known: Mapping[Key, Mark], now: datetime) -> dict[Key, tuple[Mark, int]]:
    """The marks that these sights change, and how often each condition is to be told to have begun (0: not told)."""
    found = {}
    for sight in sights:
        if sight.bad is None:
            continue
        mark = known.get(sight.key)
        after, tell = step(sight.kind, mark, sight.bad, now)
        if after is not None and after != mark:
            found[sight.key] = (after, tell)
    return found


def record(database: Database, sights: Sequence[Sight], words: Mapping[Key, Words], now: datetime) -> list[Message]:
    """Store what follows from these sights: marks, and a message with its deliveries for each one that is news.

    Judged again under a lock, so two schedulers that saw the same store one message. News without `words` wait for
    the next look. Returns the new messages.
    """
    made = []
    with database.write() as connection:
        one_at_a_time(connection, "notices")
        receivers = _channels(connection)
        saved = {}
        for key, (mark, tell) in changed(sights, _marks(connection), now).items():
            if tell and key not in words:
                continue
            saved[key] = mark
            if tell:
                made.append(Message(secrets.token_hex(16), *key, now, *words[key], tell))
        _save_marks(connection, saved)
        for message in made:
            _insert(connection, message, [name for name, one in receivers.items() if message.kind in one.events])
        if made:
            _forget_old(connection, now)
    return made


def _save_marks(connection: sa.Connection, saved: Mapping[Key, Mark]) -> None:
    for (kind, subject), mark in saved.items():
        same = notice_marks.update().where(notice_marks.c.kind == kind, notice_marks.c.subject == subject)
        values = vars(mark)
        if connection.execute(same.values(values)).rowcount == 0:
            connection.execute(notice_marks.insert().values(kind=kind, subject=subject, **values))


def _insert(connection: sa.Connection, message: Message, receivers: Sequence[str]) -> None:
    connection.execute(notices.insert().values(message._asdict()))
    for name in receivers:
        row = {"notice_id": message.id, "channel": name, "state": "waiting", "due_at": message.at}
        connection.execute(notice_deliveries.insert().values(row))


def _forget_old(connection: sa.Connection, now: datetime) -> None:
    old = sa.select(notices.c.id).where(notices.c.at < now - _KEPT)
    connection.execute(notice_deliveries.delete().where(notice_deliveries.c.notice_id.in_(old)))
    connection.execute(notices.delete().where(notices.c.at < now - _KEPT))


def due_channels(database: Database, now: datetime) -> list[str]:
    """The channels with something to send now, which have not had as much as they may have within the hour."""
    query = sa.select(notice_deliveries.c.channel).distinct().where(_WAITING, notice_deliveries.c.due_at <= now)
    with database.read() as connection:
        due = sorted(connection.execute(query).scalars())
        return [name for name in due if _sent_lately(connection, name, now) < MOST_PER_HOUR]


def _sent_lately(connection: sa.Connection, channel: str, now: datetime) -> int:
    lately = sa.and_(notice_deliveries.c.state == "sent", notice_deliveries.c.ended_at > now - timedelta(hours=1))
    query = sa.select(sa.func.count()).where(lately, notice_deliveries.c.channel == channel)
    return int(connection.execute(query).scalar_one())


def claim(database: Database, channel: str, now: datetime) -> Parcel | None:
    """Take the channel's oldest message that is due; None when there is none, another one was faster, or the channel
    has had as much as it may have within the hour."""
    due = sa.and_(_WAITING, notice_deliveries.c.channel == channel, notice_deliveries.c.due_at <= now)
    query = (
        sa.select(notices, notice_deliveries.c.tries, notice_deliveries.c.due_at)
        .join(notice_deliveries, notice_deliveries.c.notice_id == notices.c.id)
        .where(due)
        .order_by(notices.c.at, notices.c.id)
        .limit(1)
    )
    token = secrets.token_hex(16)
    with database.write() as connection:
        row = connection.execute(query).one_or_none()
        if row is None or _sent_lately(connection, channel, now) >= MOST_PER_HOUR:
            return None
        same = sa.and_(due, notice_deliveries.c.notice_id == row.id, notice_deliveries.c.tries == row.tries)
        taken = notice_deliveries.update().where(same).values(claim=token, due_at=now + _CLAIM, tries=row.tries + 1)
        if connection.execute(taken).rowcount == 0:
            return None
    values = {name: row._mapping[name] for name in Message._fields} | {"kind": NoticeKind(row.kind)}
    return Parcel(channel, token, row.tries + 1, Message(**values))


def sent(database: Database, parcel: Parcel, now: datetime) -> bool:
    """It has arrived. False when somebody else has taken the delivery over meanwhile."""
    return _settle(database, parcel, {"state": "sent", "error": None, "ended_at": now})


def failed(database: Database, parcel: Parcel, error: str, now: datetime, asked_seconds: float | None = None) -> bool:
    """It has not arrived: tried again later, or given up when it is too old. True when it was given up now."""
    again = retry_seconds(parcel.tries, now - parcel.message.at, asked_seconds)
    told = {"error": error[:_ERROR_LENGTH]}
    if again is None:
        return _settle(database, parcel, told | {"state": "given_up", "ended_at": now})
    _settle(database, parcel, told | {"due_at": now + timedelta(seconds=again)})
    return False


def _settle(database: Database, parcel: Parcel, values: Mapping[str, object]) -> bool:
    mine = sa.and_(
        notice_deliveries.c.notice_id == parcel.message.id,
        notice_deliveries.c.channel == parcel.channel,
        notice_deliveries.c.claim == parcel.claim,
        _WAITING,
    )
    with database.write() as connection:
        return connection.execute(notice_deliveries.update().where(mine).values(claim=None, **values)).rowcount == 1


def backlog(database: Database, now: datetime) -> list[Backlog]:
    """Every channel that is known, or still has messages, with what could not be sent."""
    given_up = sa.and_(
        notice_deliveries.c.state == "given_up", notice_deliveries.c.ended_at > now - timedelta(days=7)
    )
    query = sa.select(
        notice_deliveries.c.channel,
        sa.func.sum(sa.case((_WAITING, 1), else_=0)),
        sa.func.sum(sa.case((given_up, 1), else_=0)),
    ).group_by(notice_deliveries.c.channel)
    newest = (
        sa.select(notice_deliveries.c.channel, notice_deliveries.c.error)
        .join(notices, notices.c.id == notice_deliveries.c.notice_id)
        .where(notice_deliveries.c.error.is_not(None), sa.or_(_WAITING, given_up))
        .order_by(notices.c.at)
    )
    with database.read() as connection:
        counts = {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}
        errors = {row.channel: row.error for row in connection.execute(newest)}
        names = sorted({*_channels(connection), *(name for name, both in counts.items() if any(both))})
    return [Backlog(name, *counts.get(name, (0, 0)), errors.get(name)) for name in names]
