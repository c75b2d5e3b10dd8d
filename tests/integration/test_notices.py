"""What is news, how often it is told, and what becomes of messages that cannot be sent."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.breaker import POLICIES
from orchestrator.domain.channels import Channel
from orchestrator.domain.notices import GIVE_UP_AFTER, MOST_PER_HOUR, NoticeKind
from orchestrator.domain.outcome import Outcome
from orchestrator.scheduling.notices import look
from orchestrator.storage import attempts, breakers, control, drains, machines, notices
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.notices import Backlog
from tests.support.world import COMPLETE, NOW, POOL, WORKER, A, add, parked, start

MINUTE = timedelta(minutes=1)


def subscribe(database: Database, **channels: Mapping[str, Any]) -> None:
    with database.write() as connection:
        notices.store_channels(connection, {name: Channel.model_validate(one) for name, one in channels.items()})


def told(database: Database, now: Any = NOW) -> list[tuple[str, str]]:
    """What one look makes news of."""
    return [(message.kind.value, message.title) for message in look(database, now)]


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
    for _ in range(7):  # nobody repairs the key, and somebody tries it again and again
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


def test_what_cannot_be_sent_is_tried_again_and_given_up_in_the_end(database: Database) -> None:
    subscribe(database, team={"url": "https://team.example"})
    add(database, [A], capacities={A: 1})
    control.cancel(database, control.Selection(), "enough", NOW)
    look(database, NOW)
    first = notices.claim(database, "team", NOW)
    assert first is not None
    assert not notices.failed(database, first, "the receiver answers 500", NOW)
    assert notices.claim(database, "team", NOW + timedelta(seconds=4)) is None
    second = notices.claim(database, "team", NOW + timedelta(seconds=5))
    assert second is not None
    assert second.tries == 2
    assert notices.backlog(database, NOW) == [Backlog("team", 1, 0, "the receiver answers 500")]
    later = NOW + GIVE_UP_AFTER
    assert notices.failed(database, second, "no answer within 10 s", later)
    assert notices.claim(database, "team", later + GIVE_UP_AFTER) is None
    assert notices.backlog(database, later) == [Backlog("team", 0, 1, "no answer within 10 s")]
    assert notices.backlog(database, later + timedelta(days=8)) == [Backlog("team", 0, 0, None)]


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
