"""When something is told: conditions that last are told once, those that come and go at most once in a while."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class NoticeKind(StrEnum):
    """What people can be told of."""

    EXPERIMENT_ENDED = "experiment_ended"
    EXPERIMENT_WAITING = "experiment_waiting"  # open jobs, and none of them can go on by itself now
    BREAKER_OPEN = "breaker_open"  # an account, pool, machine or profile is stopped
    MACHINE_FULL = "machine_full"  # a worker takes no new jobs for want of disk, memory or processor
    MACHINE_LOST = "machine_lost"  # a worker is silent and has not said good-bye
    TEST = "test"


class Policy(NamedTuple):
    """`settle_seconds`: it must last so long before it is told. `quiet_seconds`: the pause between two notices of
    the same subject. `first`: whether what is so when it is first seen is news."""

    settle_seconds: float
    quiet_seconds: float
    first: bool


# Between two jobs, or while one probe tries an account, an experiment stands still without waiting for anybody.
_STANDS_STILL_SECONDS = 20.0
# A worker that is restarted is silent for a moment, and a disk that is nearly full crosses the line often.
_SILENT_SECONDS, _FULL_SECONDS = 60.0, 30.0
# A breaker that opens and closes all night is told eight times, with how often it opened in between.
_QUIET_SECONDS = 3600.0

POLICIES: Mapping[NoticeKind, Policy] = {
    # Imported results have ended long ago, and every end of work that was submitted is news.
    NoticeKind.EXPERIMENT_ENDED: Policy(0.0, 0.0, first=False),
    NoticeKind.EXPERIMENT_WAITING: Policy(_STANDS_STILL_SECONDS, _QUIET_SECONDS, first=True),
    NoticeKind.BREAKER_OPEN: Policy(0.0, _QUIET_SECONDS, first=True),
    NoticeKind.MACHINE_FULL: Policy(_FULL_SECONDS, _QUIET_SECONDS, first=True),
    # A row of a worker that died last week is no news.
    NoticeKind.MACHINE_LOST: Policy(_SILENT_SECONDS, _QUIET_SECONDS, first=False),
}
CHOOSABLE = tuple(kind for kind in NoticeKind if kind is not NoticeKind.TEST)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is remembered of a condition. `since`: of the present state. `unsaid`: how often it has begun and was not
    told yet; `told_at`: of the last notice, whatever the state is now."""

    bad: bool
    since: datetime
    unsaid: int = 0
    told_at: datetime | None = None


class Step(NamedTuple):
    """What follows from a look: the mark to keep, and how often the condition has begun since the last notice when it
    is to be told now (else 0)."""

    mark: Mark | None
    tell: int


def step(kind: NoticeKind, mark: Mark | None, bad: bool, now: datetime) -> Step:
    """Judge one look at a condition; `mark` is None when it was never seen."""
    policy = POLICIES[kind]
    if not bad:
        if mark is None:
            return Step(None if policy.first else Mark(bad=False, since=now), 0)
        return Step(mark if not mark.bad else replace(mark, bad=False, since=now), 0)
    if mark is None:
        mark = Mark(bad=True, since=now, unsaid=int(policy.first))
    elif not mark.bad:
        mark = replace(mark, bad=True, since=now, unsaid=mark.unsaid + 1)
    if not mark.unsaid or not _due(policy, mark, now):
        return Step(mark, 0)
    return Step(replace(mark, unsaid=0, told_at=now), mark.unsaid)


def _due(policy: Policy, mark: Mark, now: datetime) -> bool:
    if now - mark.since < timedelta(seconds=policy.settle_seconds):
        return False
    # A clock that was set back must not silence it until it has caught up.
    quiet = timedelta(seconds=policy.quiet_seconds)
    return mark.told_at is None or not timedelta(0) <= now - mark.told_at < quiet


# To one channel: when five hundred profiles break at once, nobody reads more.
MOST_PER_HOUR = 60

# Between two tries of a message, doubled each time.
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 5.0, 600.0
GIVE_UP_AFTER = timedelta(hours=24)


def retry_seconds(tries: int, age: timedelta, asked_seconds: float | None = None) -> float | None:
    """Seconds until the next try after so many failed ones; None when the message is too old to be tried again.

    `asked_seconds`: what the receiver asked for, which is heeded up to the longest pause.
    """
    if age >= GIVE_UP_AFTER:
        return None
    usual = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 16))
    return max(usual, min(asked_seconds or 0.0, _LAST_RETRY_SECONDS))
