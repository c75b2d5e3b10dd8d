"""What a forecast reads from rows, on both databases: history of windows, open jobs, slots; and gauges of a view."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from orchestrator.analysis.estimate import Source
from orchestrator.analysis.known import COST, SECONDS, TOKENS, Subject, window_share
from orchestrator.domain.fleet import Account, Fleet, FleetModel, Window
from orchestrator.domain.outcome import Outcome
from orchestrator.reports.eta import Eta, Foreteller
from orchestrator.reports.gauges import gauge_lines, gauges
from orchestrator.reports.live_rows import live_view
from orchestrator.scheduling.outlook import fleet_windows, history_for, live_outlook, stored_windows
from orchestrator.storage import attempts, drains, quota, tables
from orchestrator.storage.attempts import AttemptResult, Claim
from orchestrator.storage.control import Selection, hold
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import LedgerRecord, StatementRecord
from orchestrator.storage.submit import store_fleet
from orchestrator.storage.telemetry import Records, ship
from tests.support.world import NOW, POOL, A, add, order, start

WEEK = Window(name="7d", length=7 * 86400.0, tokens=1_000_000)
STATED = Window(name="5h", length=5 * 3600.0)


def fleet(*windows: Window) -> Fleet:
    model = FleetModel(name="m", account="a", context_window=1000)
    return Fleet(accounts={"a": Account(base_url="http://a.test", windows=windows)}, models={"m": model})


def stage(database: Database, attempt_id: str, seconds: float, tokens: int | None, cost: int | None) -> None:
    row = {
        "attempt_id": attempt_id,
        "ordinal": 1,
        "stage": "build",
        "role": "build",
        "agent": "reference",
        "model_asked": "m",
        "resource": A,
        "started_at": NOW,
        "ended_at": NOW + timedelta(seconds=seconds),
        "input_tokens": tokens,
        "cost_usd_micros": cost,
    }
    with database.write() as connection:
        connection.execute(tables.stages.insert().values(row))


def used(claim: Claim, tokens: int, at: datetime = NOW) -> LedgerRecord:
    return LedgerRecord(
        attempt_id=claim.attempt_id,
        stage_ordinal=1,
        minute=int(at.timestamp() // 60),
        seq=1,
        account="a",
        model="m",
        at=at,
        requests=1,
        requests_without_usage=0,
        seconds=1.0,
        input_tokens=tokens,
        output_tokens=0,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        refused_at=None,
    )


def ran(database: Database, seconds: Sequence[float], tokens: Sequence[int | None], cost: int | None = 5) -> None:
    """So many jobs of account a, each a cell of its own, of one profile in three, with one stage."""
    add(database, [A] * len(seconds), experiment="before", capacities={A: len(seconds)})
    claims = start(database)
    assert len(claims) == len(seconds)
    for claim, took, used_tokens in zip(claims, seconds, tokens, strict=True):
        stage(database, claim.attempt_id, took, used_tokens, cost)
        ship(database, Records(ledger=[used(claim, used_tokens or 0)]), NOW)
        result = AttemptResult(outcome=Outcome.COMPLETE, detail="", wall_seconds=took)
        attempts.finish(database, claim.attempt_id, result, NOW + timedelta(seconds=took))


def test_history_has_time_tokens_money_stages_and_shares(database: Database) -> None:
    store_fleet(database, fleet(WEEK))
    ran(database, [60.0, 60.0, 120.0], [1000, 2000, 3000])
    known = history_for(database, stored_windows(database, NOW))
    subject = Subject("new", "t", "new", "reference (single) with m")
    found = {name: known.expect(subject, name) for name in (SECONDS, TOKENS, COST, *known.stages())}
    assert {name: one and (one.source, one.mean) for name, one in found.items()} == {
        SECONDS: (Source.AGENT_ON_TARGET, 80.0),
        TOKENS: (Source.AGENT_ON_TARGET, 2000.0),
        COST: (Source.AGENT_ON_TARGET, 5.0),
        "stage:build:seconds": (Source.AGENT_ON_TARGET, pytest.approx(80.0, abs=0.01)),
        "stage:build:tokens": (Source.AGENT_ON_TARGET, 2000.0),
    }
    share = known.expect(subject, window_share("a", "7d"))
    assert share is not None
    assert share.mean == 2000.0, "parts per million of a million tokens"


def test_what_was_not_told_is_not_known(database: Database) -> None:
    ran(database, [60.0] * 3, [None] * 3, cost=None)
    known = history_for(database, [])
    subject = Subject("before-0", "t", "profile-0", "reference (single) with m")
    assert known.expect(subject, SECONDS) is not None
    assert known.expect(subject, TOKENS) is None
    assert known.expect(subject, COST) is None


def test_a_run_in_two_attempts_is_one(database: Database) -> None:
    [job_id] = add(database, [A], capacities={A: 1})
    [first] = start(database)
    attempts.finish(
        database, first.attempt_id, AttemptResult(outcome=Outcome.INTERRUPTED, detail="", wall_seconds=30.0), NOW
    )
    [second] = start(database)
    assert second.job_id == job_id
    went_on = tables.attempts.update().where(tables.attempts.c.id == second.attempt_id)
    with database.write() as connection:
        connection.execute(went_on.values(resumed_from=first.attempt_id))
    attempts.finish(
        database, second.attempt_id, AttemptResult(outcome=Outcome.COMPLETE, detail="", wall_seconds=12.0), NOW
    )
    assert [run.took[SECONDS] for run in history_for(database, []).runs] == [42.0]


def test_the_outlook_counts_what_is_open_and_what_runs(database: Database) -> None:
    ran(database, [100.0, 100.0, 100.0, 101.0], [1000] * 4)
    add(database, [A] * 6, capacities={A: 2})
    found = live_outlook(database, "demo", NOW)
    assert found.ends is not None
    assert (found.of, found.known) == (6, 6)
    assert found.ends.middle == pytest.approx(300.0, rel=0.03)
    later = NOW + timedelta(seconds=40)
    assert len(start(database, NOW)) == 2
    found = live_outlook(database, "demo", later)
    assert found.ends is not None
    assert found.ends.middle == pytest.approx(260.0, rel=0.03)
    last = max(order(database, later), default=0)
    assert last == 0
    held = tuple(row.job_id for row in live_view(database, "demo", later).jobs)[-2:]
    hold(database, Selection(job_ids=held), "a test")
    assert live_outlook(database, "demo", later).of == 4, "what people hold back is not waited for"


def test_other_experiments_and_drains_are_in_the_way(database: Database) -> None:
    ran(database, [100.0, 100.0, 100.0, 101.0], [1000] * 4)
    add(database, [A] * 4, experiment="other", capacities={A: 1})
    add(database, [A] * 2, experiment="demo", after=4)
    found = live_outlook(database, "demo", NOW)
    assert found.ends is not None
    assert found.of == 2
    assert found.ends.middle == pytest.approx(600.0, rel=0.03)
    drains.drain(database, [A], "a test", NOW)
    found = live_outlook(database, "demo", NOW)
    assert len(found.never) == 2


def test_nothing_known_is_an_unknown_eta_and_an_end_is_none(database: Database) -> None:
    add(database, [POOL], capacities={POOL: 1})
    eta = Foreteller(database, "demo").at(NOW)
    assert eta == Eta(middle=None, low=None, high=None, known=0, of=1)
    assert eta.text() == "unknown"
    [claim] = start(database)
    attempts.finish(database, claim.attempt_id, AttemptResult(outcome=Outcome.COMPLETE, detail=""), NOW)
    assert Foreteller(database, "demo").at(NOW) is None


def test_the_eta_of_a_view_counts_down_between_two_forecasts(database: Database) -> None:
    ran(database, [100.0, 100.0, 100.0, 101.0], [1000] * 4)
    add(database, [A] * 3, capacities={A: 1})
    foreteller = Foreteller(database, "demo")
    first, second = foreteller.at(NOW), foreteller.at(NOW + timedelta(seconds=5))
    assert first is not None
    assert second is not None
    assert first.middle is not None
    assert second.middle == pytest.approx(first.middle - 5)
    assert live_view(database, "demo", NOW, foreteller).eta == first


def test_windows_of_a_fleet_file_need_not_be_stored_to_be_counted(database: Database) -> None:
    ran(database, [100.0, 100.0, 100.0, 101.0], [200_000] * 4)
    assert stored_windows(database, NOW) == []
    windows = fleet_windows(database, fleet(WEEK), NOW)
    assert [(one.spec.name, one.used_ppm, one.implied) for one in windows] == [("7d", 800_000, False)]


def test_a_stated_percentage_implies_a_limit(database: Database) -> None:
    store_fleet(database, fleet(STATED))
    ran(database, [60.0] * 3, [10_000] * 3)
    said = StatementRecord(
        account="a",
        name="5h",
        used_ppm=300_000,
        resets_at=NOW + timedelta(hours=3),
        length_seconds=18_000.0,
        stated_at=NOW,
        source="headers",
    )
    ship(database, Records(statements=[said]), NOW)
    [window] = stored_windows(database, NOW + timedelta(minutes=1))
    assert (window.implied, window.spec.tokens, window.used_ppm) == (True, 100_000, 300_000)
    share = history_for(database, [window]).expect(
        Subject("new", "t", "new", "reference (single) with m"), window_share("a", "5h")
    )
    assert share is not None
    assert share.mean == 100_000.0, "each of three took a tenth"


def test_gauges_say_what_is_unknown(database: Database) -> None:
    store_fleet(database, fleet(WEEK, STATED))
    ran(database, [60.0] * 3, [100_000] * 3)
    week, stated = gauges(quota.quotas(database, NOW + timedelta(minutes=1)))
    assert (week.name, week.used, stated.name, stated.used) == ("a 7d", 0.3, "a 5h", None)
    text = gauge_lines((week, stated), NOW)
    assert text is not None
    first, second = text.plain.splitlines()
    assert first.startswith("a 7d  ███░░░░░░░ 30 %  ")
    assert second == "a 5h  use unknown  rate unknown"
    assert gauge_lines((), NOW) is None
