"""Campaigns of two parts: the second waits, gets its targets when the first has ended, and once only."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.notices import NoticeKind
from orchestrator.domain.outcome import Outcome
from orchestrator.reports.eta import Foreteller
from orchestrator.reports.live_rows import live_view
from orchestrator.scheduling.campaigns import settle_campaigns
from orchestrator.scheduling.notices import look
from orchestrator.storage import attempts, breakers, control, submit
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.control import Selection
from orchestrator.storage.dispatch import ensure_slots, wake_parked
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import cells, jobs
from orchestrator.web.board import Board
from orchestrator.web.fleet import read_fleet
from orchestrator.web.render import experiment_sections
from tests.support.lab import Lab
from tests.support.waiting import until
from tests.support.world import COMPLETE, LATER, NOW, A, add_accounts, parked, spec, start

FAILED = AttemptResult(outcome=Outcome.NO_PROGRESS, detail="gave up")
THEN = {"profiles": ["big"], "rank_by": "solved", "first": "lowest", "top": 1}


def add_campaign(database: Database, targets: int, then: dict[str, Any] | None = THEN) -> None:
    """A matrix of `small` and, in the second part, `big`; or that one with more targets, or another second part."""
    ensure_slots(database, {A: 1})
    add_accounts(database, {A: 1})
    matrix = [(f"t{at}", profile) for at in range(targets) for profile in ("small", "big")]
    submit.store_experiment(
        database,
        name="demo",
        file_text="",
        spec={"then": then},
        seed=0,
        new_targets=[
            submit.NewTarget(label=f"t{at}", sha="0" * 40, content_hash=f"t{at}", spec={}) for at in range(targets)
        ],
        new_cells=[
            submit.NewCell(
                target_hash=label,
                profile=profile,
                key=f"{label}/{profile}",
                cell_hash=label + profile,
                profile_hash=profile,
                params={},
                spec=spec(label),
            )
            for label, profile in matrix
        ],
        new_jobs=[
            submit.NewJob(
                cell_hash=label + profile,
                repeat=1,
                position=at,
                needs=A,
                queue="cloud.a",
                second_part=then is not None and profile == "big",
            )
            for at, (label, profile) in enumerate(matrix, start=1)
        ],
        now=NOW,
    )


def run(database: Database, *results: AttemptResult) -> None:
    for result in results:
        [one] = start(database)
        attempts.finish(database, one.attempt_id, result, NOW)


def stand(database: Database) -> dict[str, str]:
    query = sa.select(cells.c.key, jobs.c.state).join(cells, cells.c.id == jobs.c.cell_id)
    with database.read() as connection:
        return {row.key: row.state for row in connection.execute(query)}


def test_the_second_part_waits_until_the_first_has_ended_and_gets_its_targets(database: Database) -> None:
    add_campaign(database, 3)

    run(database, COMPLETE, FAILED)
    assert settle_campaigns(database, NOW) == []
    assert {state for key, state in stand(database).items() if "big" in key} == {"blocked"}
    run(database, COMPLETE)
    with ThreadPoolExecutor(3) as pool:
        told = [line for lines in pool.map(lambda _: settle_campaigns(database, NOW), range(3)) for line in lines]

    assert told == ["experiment=demo targets=t1 ready=1 ended=2"]
    assert settle_campaigns(database, NOW) == []
    assert {key: state for key, state in stand(database).items() if "big" in key} == {
        "t0/big": "cancelled",
        "t1/big": "ready",
        "t2/big": "cancelled",
    }
    with database.read() as connection:
        details = connection.execute(sa.select(jobs.c.detail).where(jobs.c.state == "cancelled")).scalars().all()
    assert sorted(details) == [
        f"not among the first 1 targets: target {place} of 3 by solved, lowest first (1)" for place in (2, 3)
    ]


def test_a_second_part_that_waits_is_no_alarm_and_waits_for_no_person(database: Database) -> None:
    add_campaign(database, 2)
    [one] = start(database)
    assert [look(database, NOW + timedelta(minutes=minute)) for minute in range(3)] == [[], [], []]
    attempts.finish(database, one.attempt_id, parked(NOW + timedelta(hours=1)), NOW)
    look(database, NOW + timedelta(minutes=4))
    [message] = look(database, NOW + timedelta(minutes=5))
    assert message.kind is NoticeKind.EXPERIMENT_WAITING
    assert message.text.splitlines()[-1] == "blocked jobs wait for the first part of their experiment to end"

    breakers.reset(database, [A], LATER)
    wake_parked(database, LATER)
    for result in (COMPLETE, COMPLETE, FAILED):
        [one] = start(database, LATER)
        attempts.finish(database, one.attempt_id, result, LATER)
        settle_campaigns(database, LATER)
    [message] = look(database, LATER)
    assert message.title == "demo has ended: 2 of 4 jobs done"
    assert message.text == "Jobs: 2 done, 1 failed, 1 cancelled (1 in the second part)."


def test_views_say_that_the_end_they_foretell_is_that_of_the_first_part(database: Database) -> None:
    add_campaign(database, 3)
    run(database, COMPLETE)

    view = live_view(database, "demo", NOW, Foreteller(database, "demo"))
    assert view.eta is not None
    assert view.eta.of == 2
    assert view.eta_words == "unknown for the first part"
    fleet = read_fleet(database, NOW)
    board = Board("demo")
    page = experiment_sections(board.look(database, fleet.slots, fleet.closed, NOW), fleet, view.eta)
    assert "to go: <b>unknown for the first part</b>" in page["summary"]
    assert "<b>3</b> waits for the first part of its experiment to end" in page["waiting"]

    run(database, COMPLETE, FAILED)
    settle_campaigns(database, NOW)
    assert live_view(database, "demo", NOW, Foreteller(database, "demo")).eta_words == "unknown"


def test_a_larger_file_ranks_anew_and_leaves_what_was_decided(database: Database) -> None:
    add_campaign(database, 2)
    run(database, COMPLETE, FAILED)
    settle_campaigns(database, NOW)

    add_campaign(database, 3, {**THEN, "top": 2})
    run(database, COMPLETE)  # t1/big, which was chosen
    assert settle_campaigns(database, NOW) == []
    run(database, FAILED)
    settle_campaigns(database, NOW)

    assert {key: state for key, state in stand(database).items() if "big" in key} == {
        "t0/big": "cancelled",
        "t1/big": "done",
        "t2/big": "ready",
    }


def test_people_may_cancel_the_second_part_or_take_it_out_of_the_file(database: Database) -> None:
    add_campaign(database, 2)
    assert control.resume(database, Selection(experiment="demo"), NOW) == 0
    assert control.cancel(database, Selection(job_ids=[2]), "not that", NOW) == (1, 0)

    add_campaign(database, 2, None)

    assert stand(database) == {"t0/small": "ready", "t0/big": "cancelled", "t1/small": "ready", "t1/big": "ready"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


def test_a_campaign_runs_by_itself_and_over_the_death_of_its_first_run(lab: Lab) -> None:
    target = {"repo": "target", "base": "main", "task": "TASK.md"}
    lab.write(
        targets=[
            {**target, "name": "solved", "checks": {"works": "true"}},
            {**target, "name": "open", "checks": {"works": "false"}},
        ],
        profiles={"small": "model", "big": {"model": "model", "env": {"SIZE": "big"}}},
        then=THEN,
    )
    plan = lab.bakeoff("plan", str(lab.file)).out
    assert "second part: big on the 1 targets with the lowest solved in the first, once that has ended" in plan
    first = lab.start("run", str(lab.file))
    until(lambda: [row for row in lab.results.jobs() if row["state"] == "done"], "the first job")
    first.kill()
    first.wait()
    waits = [row["id"] for row in lab.results.jobs() if row["state"] == "blocked"]

    done = lab.run()

    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert {(row["target"], row["profile"]): row["outcome"] for row in lab.results.jobs()} == {
        ("solved", "small"): "complete",
        ("open", "small"): "complete",
        ("solved", "big"): "cancelled",
        ("open", "big"): "complete",
    }
    assert waits == [] or len(waits) == 2
    assert "The second part, big, had the 1 of 2 targets with the lowest solved" in " ".join(done.out.split())
    passed = next(row for row in lab.results.jobs() if row["outcome"] == "cancelled")
    assert "not among the first 1 targets" in lab.bakeoff("why", str(passed["id"])).out
    told = json.loads(lab.bakeoff("report", "--json").out)
    assert (told["second_part"]["labels"], told["second_part"]["targets"]) == (["big"], ["open"])
    lab.assert_clean()


def test_a_second_part_needs_a_first_one_and_no_race(lab: Lab) -> None:
    lab.write(
        profiles={"one": "model", "two": "model"}, race={}, then={**THEN, "profiles": ["one", "two", "tree", ["x"]]}
    )

    found = lab.bakeoff("validate", str(lab.file))

    assert found.code == ExitCode.INVALID_INPUT
    assert "is no profile of this file" in found.err
    assert "leaves no profile for the first part" in found.err
    assert "cannot be combined with 'race'" in found.err
