"""Quota in the database: the ledger counts once, windows close accounts and open them, refusals slow them down."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier

import pytest
import sqlalchemy as sa
from rich.console import Console

from orchestrator.domain.fleet import Account, Fleet, FleetModel, Window, Zones
from orchestrator.domain.pace import HOLD_SECONDS, RAISE_SECONDS
from orchestrator.domain.states import JobState
from orchestrator.domain.window import WHOLE, Entry, WindowSpec
from orchestrator.domain.zones import Zone
from orchestrator.reports.quota_table import quota_json, quota_view
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import attempts, quota
from orchestrator.storage.dispatch import ensure_slots, slots
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import LedgerRecord, StatementRecord, entries_of
from orchestrator.storage.submit import store_fleet
from orchestrator.storage.tables import ledger, quota_events
from orchestrator.storage.telemetry import Records, Refused, ship
from tests.support.world import NOW, WORKER, add, claim, order

ACCOUNT = "account:max"
FIVE = Window(name="5h", length=18000.0)
SECOND = timedelta(seconds=1)


def fleet(*windows: Window, concurrency: int = 1, zones: Zones | None = None) -> Fleet:
    account = Account(base_url="http://max.test", concurrency=concurrency, windows=windows, zones=zones or Zones())
    model = FleetModel(name="big", account="max", context_window=1000)
    return Fleet(accounts={"max": account}, models={"opus": model})


def set_up(database: Database, jobs: int, *windows: Window, concurrency: int = 1, zones: Zones | None = None) -> None:
    store_fleet(database, fleet(*windows, concurrency=concurrency, zones=zones))
    ensure_slots(database, {ACCOUNT: concurrency})
    add(database, [ACCOUNT] * jobs)


def state(
    database: Database,
    percent: float,
    *,
    at: datetime = NOW,
    resets: datetime | None = None,
    name: str = "5h",
    now: datetime | None = None,
) -> None:
    said = StatementRecord(
        account="max",
        name=name,
        used_ppm=round(percent * 10_000),
        resets_at=resets,
        length_seconds=18_000.0,
        stated_at=at,
        source="headers",
    )
    ship(database, Records(statements=[said]), at if now is None else now)


def use(attempt_id: str, seq: int, *, at: datetime = NOW, requests: int = 1, tokens: int | None = 10) -> LedgerRecord:
    return LedgerRecord(
        attempt_id=attempt_id,
        stage_ordinal=1,
        minute=int(at.timestamp() // 60),
        seq=seq,
        account="max",
        model="opus",
        at=at,
        requests=requests,
        requests_without_usage=0 if tokens is not None else requests,
        seconds=2.0 * requests,
        input_tokens=tokens,
        output_tokens=tokens,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        refused_at=None,
    )


def one_attempt(database: Database) -> str:
    ((job, token),) = list(order(database).items())[:1]
    return claim(database, job, token).attempt_id


def events(database: Database) -> list[tuple[int | None, str]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(quota_events).order_by(quota_events.c.id))
        return [(row.sessions, row.reason) for row in rows]


# -- the ledger --


def test_shipping_use_again_or_late_counts_it_once(database: Database) -> None:
    set_up(database, 1)
    attempt = one_attempt(database)
    grown = use(attempt, 7, requests=3, tokens=30)
    for record in (use(attempt, 5), grown, grown, use(attempt, 5)):
        ship(database, Records(ledger=[record]), NOW)
    spec = WindowSpec(name="5h", length_seconds=18_000, tokens=1000)
    with database.read() as connection:
        assert entries_of(connection, "max", spec, NOW) == [
            Entry(at=NOW.timestamp(), requests=3, tokens=60, seconds=6.0)
        ]
        assert entries_of(connection, "other", spec, NOW) == []
        assert entries_of(connection, "max", replace(spec, model="sonnet"), NOW) == []
        assert entries_of(connection, "max", replace(spec, tokens=None), NOW) == []


def test_tokens_that_nobody_told_stay_unknown(database: Database) -> None:
    set_up(database, 1)
    attempt = one_attempt(database)
    ship(database, Records(ledger=[use(attempt, 1, tokens=None)]), NOW)
    spec = WindowSpec(name="5h", length_seconds=18_000, tokens=1000)
    with database.read() as connection:
        (entry,) = entries_of(connection, "max", spec, NOW)
        assert (entry.tokens, entry.requests_without_usage) == (None, 1)


def test_a_long_window_is_read_as_few_sums(database: Database) -> None:
    set_up(database, 1)
    attempt = one_attempt(database)
    minutes = [NOW - timedelta(minutes=10 * number) for number in range(1000)]
    ship(database, Records(ledger=[use(attempt, 1, at=at) for at in minutes]), NOW)
    spec = WindowSpec(name="7d", length_seconds=7 * 86400, kind="rolling", requests=5000)
    with database.read() as connection:
        found = entries_of(connection, "max", spec, NOW)
    assert sum(entry.requests for entry in found) == 1000
    assert len(found) <= 201


def test_use_of_an_unknown_attempt_is_refused(database: Database) -> None:
    with pytest.raises(Refused):
        ship(database, Records(ledger=[use("nobody", 1)]), NOW)


def test_an_older_statement_does_not_replace_a_newer_one(database: Database) -> None:
    set_up(database, 1, FIVE)
    state(database, 50, at=NOW)
    state(database, 90, at=NOW - SECOND, now=NOW)
    (found,) = quota.quotas(database, NOW)
    assert found.windows[0].standing.used_ppm == 500_000


# -- zones --


def test_a_machine_whose_clock_is_ahead_does_not_silence_the_others(database: Database) -> None:
    set_up(database, 1, FIVE)
    ahead = NOW + timedelta(hours=1)
    state(database, 20, at=ahead, now=ahead)
    state(database, 40, at=NOW)
    assert quota.quotas(database, NOW)[0].windows[0].standing.used_ppm == 400_000
    state(database, 60, at=ahead + SECOND)
    assert quota.quotas(database, NOW)[0].windows[0].standing.used_ppm == 600_000


def test_a_red_window_defers_new_work_until_its_reset(database: Database) -> None:
    set_up(database, 2, FIVE)
    resets = NOW + timedelta(hours=1)
    state(database, 96, resets=resets)
    said = quota.judge(database, NOW)
    reason = "5h window at 96 % (red), deferred until 2026-07-01 13:00:00 UTC"
    assert said == [f"account max: {reason}"]
    assert order(database) == {}
    assert quota.judge(database, NOW + SECOND) == []  # said once
    assert quota.judge(database, resets) == ["account max: all sessions are open again"]
    assert len(order(database, resets)) >= 1
    assert events(database) == [(0, reason), (None, "all sessions are open again")]


def test_a_hint_that_is_out_already_is_not_claimed_in_a_red_window(database: Database) -> None:
    set_up(database, 1, FIVE)
    ((job, token),) = order(database).items()
    state(database, 100, resets=NOW + timedelta(hours=1))
    quota.judge(database, NOW)
    with pytest.raises(attempts.NoFreeSlot, match=r"5h window at 100 % \(red\)"):
        attempts.claim(database, job, token, WORKER, NOW)
    quota.judge(database, NOW + timedelta(hours=1))
    claim(database, job, token, NOW + timedelta(hours=1))


def test_orange_starts_one_at_a_time(database: Database) -> None:
    set_up(database, 6, FIVE, concurrency=3)
    state(database, 85, resets=NOW + timedelta(hours=1))
    quota.judge(database, NOW)
    job, token = next(iter(order(database).items()))
    claim(database, job, token)
    for job, token in order(database).items():
        with pytest.raises(attempts.NoFreeSlot):
            attempts.claim(database, job, token, WORKER, NOW)


def test_claims_at_the_same_moment_stay_below_the_ceiling(database: Database) -> None:
    set_up(database, 4, FIVE, concurrency=4)
    hints = list(order(database).items())
    assert len(hints) == 4
    state(database, 85, resets=NOW + timedelta(hours=1))
    quota.judge(database, NOW)
    together = Barrier(4)

    def attempt(hint: tuple[int, str]) -> bool:
        together.wait()
        try:
            return attempts.claim(database, *hint, WORKER, NOW) is not None
        except attempts.NoFreeSlot:
            return False

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(attempt, hints)) == 1


def test_the_reserve_and_the_behaviour_are_the_files(database: Database) -> None:
    reserved = Window(name="5h", length=18000.0, reserve=0.2)
    set_up(database, 1, reserved, zones=Zones(red="run"))
    state(database, 76)
    quota.judge(database, NOW)
    (found,) = quota.quotas(database, NOW)
    assert (found.windows[0].zone, found.sessions) == (Zone.RED, None)
    store_fleet(database, fleet(reserved))
    quota.judge(database, NOW)
    (found,) = quota.quotas(database, NOW)
    assert found.sessions == 0


def test_our_own_count_closes_a_window_that_the_provider_does_not_speak_of(database: Database) -> None:
    rolling = Window(name="mine", length=3600.0, kind="rolling", requests=10)
    set_up(database, 2, rolling)
    attempt = one_attempt(database)
    ship(database, Records(ledger=[use(attempt, 1, requests=10)]), NOW)
    quota.judge(database, NOW + SECOND)
    (found,) = quota.quotas(database, NOW + SECOND)
    assert (found.sessions, found.until) == (0, NOW + timedelta(hours=1))
    assert found.windows[0].standing.used_ppm == WHOLE
    quota.judge(database, NOW + timedelta(hours=1))
    assert quota.quotas(database, NOW + timedelta(hours=1))[0].sessions is None


def test_a_window_with_a_name_of_its_own_is_found_by_its_length(database: Database) -> None:
    set_up(database, 1, Window(name="short", length=18000.0))
    state(database, 42)
    (found,) = quota.quotas(database, NOW)
    assert [(one.spec.name, one.standing.used_ppm) for one in found.windows] == [("short", 420_000)]


def test_windows_that_only_the_provider_speaks_of_are_shown_and_close_nothing(database: Database) -> None:
    set_up(database, 1)
    state(database, 100, name="requests")
    assert quota.judge(database, NOW) == []
    (found,) = quota.quotas(database, NOW)
    assert [(one.spec.name, one.zone) for one in found.windows] == [("requests", Zone.RED)]
    assert found.sessions is None


# -- refusals without a reset --


def test_refusals_lower_the_sessions_and_peace_raises_them(database: Database) -> None:
    set_up(database, 8, concurrency=8)
    attempt = one_attempt(database)
    ship(database, Records(ledger=[replace(use(attempt, 1), refused_at=NOW)]), NOW)
    moments = [NOW + SECOND, NOW + 2 * SECOND, NOW + timedelta(seconds=HOLD_SECONDS + 2)]
    seen = []
    for moment in moments:
        quota.judge(database, moment)
        seen.append(quota.quotas(database, moment)[0].sessions)
    assert seen == [4, 4, 4]
    again = moments[-1]
    ship(database, Records(ledger=[replace(use(attempt, 2, at=again), refused_at=again)]), NOW)
    quota.judge(database, again)
    for minute in range(7):
        quota.judge(database, again + timedelta(seconds=(RAISE_SECONDS + 1) * minute))
        seen.append(quota.quotas(database, again)[0].sessions)
    assert seen[3:] == [2, 3, 4, 5, 6, 7, None]
    assert events(database)[-1] == (None, "all sessions are open again")


def test_ledger_rows_are_a_minute_each(database: Database) -> None:
    set_up(database, 1)
    attempt = one_attempt(database)
    for seq in range(100):
        ship(database, Records(ledger=[use(attempt, seq, requests=seq, at=NOW + timedelta(milliseconds=seq))]), NOW)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ledger)).scalar() == 1


# -- what people see --


def test_status_tells_a_window_in_words_and_in_figures(database: Database) -> None:
    reserved = Window(name="5h", length=18_000.0, reserve=0.2)
    set_up(database, 1, reserved, Window(name="7d", length=7 * 86400.0))
    state(database, 78, resets=NOW + timedelta(hours=3))
    quota.judge(database, NOW)
    found = quota.quotas(database, NOW)
    console = Console(width=160, no_color=True, record=True, file=io.StringIO())
    console.print(quota_view(found, NOW))
    *rows, said = console.export_text().splitlines()
    assert said == "account max: 5h window at 78 % (red), deferred until 2026-07-01 15:00:00 UTC"
    assert [line.split() for line in rows] == [
        ["account", "window", "used", "zone", "reserve", "burn/h", "exhausted", "error", "resets"],
        ["max", "5h", "78", "%", "red", "20", "%", "39", "%", "12:03:04", "unknown", "15:00:00"],
        ["max", "7d", "unknown", "unknown", "0", "%", "unknown", "unknown", "unknown", "unknown"],
    ]
    (account,) = quota_json(found)
    assert account["sessions"] == 0
    assert [one["used_percent"] for one in account["windows"]] == [78.0, None]
    assert [one["zone"] for one in account["windows"]] == ["red", None]


def test_a_waiting_job_says_which_window_defers_it(database: Database) -> None:
    set_up(database, 1, FIVE)
    state(database, 96, resets=NOW + timedelta(hours=1))
    quota.judge(database, NOW)
    with database.read() as connection:
        found = slots(connection)
    assert (
        waiting_reason(JobState.READY, "", [ACCOUNT], found, {})
        == "account max: 5h window at 96 % (red), deferred until 2026-07-01 13:00:00 UTC"
    )
