"""What was foretold of a window is held against what came: by hand, and through judgements of real rows."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.domain.fleet import Account, Fleet, FleetModel, Window
from orchestrator.domain.projection import Accuracy, Projection, accuracy
from orchestrator.reports.quota_table import quota_json, quota_view
from orchestrator.storage import quota
from orchestrator.storage.engine import Database
from orchestrator.storage.ledger import StatementRecord
from orchestrator.storage.submit import store_fleet
from orchestrator.storage.tables import projections
from orchestrator.storage.telemetry import Records, ship
from tests.support.world import NOW

RESET = NOW + timedelta(hours=5)
HOUR = 3600.0


def made(came_at: float | None, came_ppm: int | None) -> Projection:
    """At 50 % after 2.5 of 5 hours: full at the reset."""
    return Projection(
        tenth=5,
        made_at=2.5 * HOUR,
        used_ppm=500_000,
        burn_ppm_per_hour=200_000,
        until=5 * HOUR,
        came_at=came_at,
        came_ppm=came_ppm,
    )


@pytest.mark.parametrize(
    ("came_at", "came_ppm", "error"),
    [
        (3.5 * HOUR, 700_000, 0.0),  # stopped at 70 %, just when that was foretold
        (4.0 * HOUR, 700_000, 0.5 * HOUR),
        (3.0 * HOUR, 700_000, -0.5 * HOUR),
        (4.0 * HOUR, 1_100_000, -1.0 * HOUR),  # was not to come before the reset
        (None, None, None),
    ],
)
def test_the_error_is_against_the_use_that_was_reached(
    came_at: float | None, came_ppm: int | None, error: float | None
) -> None:
    found = made(came_at, came_ppm).error_seconds
    assert found == (None if error is None else pytest.approx(error))


def test_without_any_that_came_the_error_is_unknown() -> None:
    assert accuracy([]) == accuracy([made(None, None)]) == Accuracy(error_seconds=None, came=0)
    two = [made(3.0 * HOUR, 700_000), made(4.5 * HOUR, 700_000), made(None, None)]
    assert accuracy(two) == Accuracy(error_seconds=0.75 * HOUR, came=2)


def set_up(database: Database) -> None:
    account = Account(base_url="http://max.test", windows=(Window(name="5h", length=18_000.0),))
    model = FleetModel(name="big", account="max", context_window=1000)
    store_fleet(database, Fleet(accounts={"max": account}, models={"opus": model}))


def used(database: Database, percent: int, at: datetime, resets: datetime = RESET) -> None:
    said = StatementRecord(
        account="max",
        name="5h",
        used_ppm=percent * 10_000,
        resets_at=resets,
        length_seconds=18_000.0,
        stated_at=at,
        source="headers",
    )
    ship(database, Records(statements=[said]), at)
    quota.judge(database, at)


def rows(database: Database) -> list[tuple[int, int | None]]:
    with database.read() as connection:
        query = sa.select(projections.c.tenth, projections.c.came_ppm).order_by(projections.c.id)
        return [(row[0], row[1]) for row in connection.execute(query)]


def test_a_projection_is_noted_at_each_tenth_and_judged_when_the_fleet_stops(database: Database) -> None:
    set_up(database)
    for minute, percent in ((30, 5), (60, 20), (61, 21), (120, 40), (150, 60)):
        used(database, percent, NOW + timedelta(minutes=minute))
    assert rows(database) == [(2, None), (4, None), (6, None)]
    (account,) = quota_json(quota.quotas(database, NOW + timedelta(minutes=150)))
    assert account["windows"][0]["projection_error_seconds"] is None
    used(database, 96, NOW + timedelta(minutes=240))
    used(database, 97, NOW + timedelta(minutes=241))
    assert rows(database) == [(2, 960_000), (4, 960_000), (6, 960_000)], "nothing more is foretold of it"
    (account,) = quota_json(quota.quotas(database, RESET))
    # Foretold for 96 %: at 288, 288 and 240 minutes. It came at 240.
    window = account["windows"][0]
    assert window["projections_judged"] == 3
    assert window["projection_error_seconds"] == pytest.approx(60 * (48 + 48 + 0) / 3)
    assert quota_view(quota.quotas(database, RESET), RESET).renderables

    later = RESET + timedelta(minutes=60)
    used(database, 20, later, RESET + timedelta(hours=5))
    assert rows(database)[-1] == (2, None), "the next window begins anew"


def test_a_window_that_lasted_says_nothing_about_the_time(database: Database) -> None:
    set_up(database)
    used(database, 50, NOW + timedelta(hours=2))
    used(database, 1, RESET + timedelta(minutes=10), RESET + timedelta(hours=5))
    used(database, 99, RESET + timedelta(hours=4), RESET + timedelta(hours=5))
    assert rows(database) == [(5, None)]
