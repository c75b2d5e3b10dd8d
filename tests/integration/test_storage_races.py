"""Races in the database: the leader stops what cannot win, and what is stopped stays stopped."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console

from orchestrator.analysis.race import decide
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.order import race_draw
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.race import Race
from orchestrator.reports.live import count_text, render
from orchestrator.reports.live_rows import live_view
from orchestrator.scheduling.notices import look
from orchestrator.scheduling.races import RaceWatch
from orchestrator.storage import attempts, control, submit
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.attempts.values import CheckRecord
from orchestrator.storage.control import Selection
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.races import race_rows, racing, settle_race, stops_of
from orchestrator.storage.tables import cells, jobs
from orchestrator.web.board import Board
from orchestrator.web.fleet import read_fleet
from tests.support.world import COMPLETE, INFRA, NOW, WORKER, A, add_accounts, job, order, spec, start

RULES = Race(min_targets=5)
FAILED = AttemptResult(outcome=Outcome.NO_PROGRESS, detail="gave up")
# So many targets on which the one always wins are enough for two profiles.
ENOUGH = 8
LATER = NOW + timedelta(seconds=1)


def add_race(
    database: Database,
    profiles: str,
    targets: int,
    *,
    race: Race | None = RULES,
    repeats: int = 1,
    own_accounts: bool = False,
) -> None:
    """A matrix that races, or that one extended; a letter for each profile, every target with all before the next."""
    needs = {profile: f"account:{profile}" if own_accounts else A for profile in profiles}
    ensure_slots(database, dict.fromkeys(needs.values(), 1))
    add_accounts(database, dict.fromkeys(needs.values(), 1))
    drawn = sorted((f"t{target:02}" for target in range(targets)), key=lambda label: race_draw(0, label))
    matrix = [(label, profile) for label in drawn for profile in profiles]
    submit.store_experiment(
        database,
        name="demo",
        file_text="",
        spec={"race": race and race.model_dump(mode="json")},
        seed=0,
        new_targets=[
            submit.NewTarget(label=label, sha="0" * 40, content_hash=label, spec={})
            for label in sorted({label for label, _ in matrix})
        ],
        new_cells=[
            submit.NewCell(
                target_hash=label,
                profile=profile,
                key=f"{label}/{profile}",
                cell_hash=label + profile,
                profile_hash=f"hash-{profile}",
                params={},
                spec=spec(label, max_infra=1),
            )
            for label, profile in matrix
        ],
        new_jobs=[
            submit.NewJob(cell_hash="".join(cell), repeat=repeat, position=at, needs=needs[cell[1]], queue="cloud.a")
            for at, (cell, repeat) in enumerate(
                ((cell, repeat) for repeat in range(1, repeats + 1) for cell in matrix), start=1
            )
        ],
        now=NOW,
    )


def run(database: Database, results: Mapping[str, AttemptResult], ends: int) -> None:
    """Let so many attempts begin and end as told, by profile; each on a machine of its own."""
    while ends:
        for job_id, token in list(order(database).items())[:ends]:
            one = attempts.claim(database, job_id, token, replace(WORKER, machine=f"box{job_id}"), NOW)
            assert one is not None
            attempts.finish(database, one.attempt_id, results[profile_of(database, job_id)], NOW)
            ends -= 1


def profile_of(database: Database, job_id: int) -> str:
    query = sa.select(cells.c.profile).join(jobs, jobs.c.cell_id == cells.c.id).where(jobs.c.id == job_id)
    with database.read() as connection:
        return str(connection.execute(query).scalar_one())


def stand(database: Database) -> Counter[tuple[str, str, str | None]]:
    """Jobs by profile, state and outcome."""
    query = sa.select(cells.c.profile, jobs.c.state, jobs.c.outcome).join(cells, cells.c.id == jobs.c.cell_id)
    with database.read() as connection:
        return Counter((row[0], row[1], row[2]) for row in connection.execute(query))


def recorded(database: Database) -> list[tuple[str, str, int, int, int]]:
    with database.read() as connection:
        found = [one.stop for one in stops_of(connection, 1)]
    return [(one.arm, one.against, one.targets, one.better, one.worse) for one in found]


BEHIND = {"a": COMPLETE, "b": FAILED}
OUT = [("hash-b", "hash-a", ENOUGH, ENOUGH, 0)]
AFTER = Counter(
    {
        ("a", "done", "complete"): ENOUGH,
        ("a", "ready", None): 4,
        ("b", "failed", "no_progress"): ENOUGH,
        ("b", "cancelled", "raced_out"): 4,
    }
)


def test_a_profile_that_cannot_win_is_stopped_with_the_evidence_on_record(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4)
    watch = RaceWatch()

    run(database, BEHIND, 2 * ENOUGH - 1)
    assert watch.look(database, NOW) == []
    run(database, BEHIND, 1)
    told = watch.look(database, NOW)

    assert told == [f"experiment=demo stopped=1 jobs_ended=4 begun={2 * ENOUGH} of={2 * ENOUGH + 8}"]
    assert stand(database) == AFTER
    assert recorded(database) == OUT
    detail = f"out of the race: on {ENOUGH} common targets a was better on {ENOUGH} and worse on 0 (evidence 57"
    with database.read() as connection:
        [text] = set(connection.execute(sa.select(jobs.c.detail).where(jobs.c.outcome == "raced_out")).scalars())
    assert text.startswith(detail)


def test_people_are_told_which_jobs_the_race_has_ended(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 1)
    assert look(database, NOW) == []
    run(database, BEHIND, 2 * ENOUGH)
    assert look(database, NOW) == [], "the stop has not been looked for yet"
    RaceWatch().look(database, NOW)
    run(database, BEHIND, 1)

    [message] = look(database, NOW)

    assert message.title == f"demo has ended: {ENOUGH + 1} of {2 * ENOUGH + 2} jobs done, 1 out of the race"
    assert message.text == f"Jobs: {ENOUGH + 1} done, {ENOUGH} failed, 1 cancelled (1 by the race)."


def test_views_tell_what_the_race_ended_from_what_people_cancelled(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 2)
    run(database, BEHIND, 2 * ENOUGH)
    RaceWatch().look(database, NOW)
    [waiting, _] = [job_id for job_id in range(1, 2 * ENOUGH + 5) if job(database, job_id)["state"] == "ready"]
    control.cancel(database, Selection(job_ids=(waiting,)), "enough", NOW)

    view = live_view(database, "demo", NOW)
    assert count_text(view.jobs) == "8 done, 8 failed, 1 cancelled, 2 raced out, 1 ready"
    console = Console(width=120)
    with console.capture() as capture:
        console.print(render(view))
    legend = capture.get().splitlines()[-1]
    assert {"↓W raced out", "–X cancelled"} <= {part.strip() for part in legend.split("  ")}
    fleet = read_fleet(database, NOW)
    counts = Board("demo").look(database, fleet.slots, fleet.closed, NOW).counts
    assert (counts["raced_out"], counts["cancelled"], counts["ready"]) == (2, 1, 1)


def test_a_second_scheduler_and_a_restarted_one_change_nothing(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4)
    run(database, BEHIND, 2 * ENOUGH)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: RaceWatch().look(database, NOW), range(4)))

    assert sum("jobs_ended=4" in line for lines in told for line in lines) == 1
    assert RaceWatch().look(database, LATER) == []
    assert (stand(database), recorded(database)) == (AFTER, OUT)


def test_a_decision_that_was_not_written_is_made_again(database: Database) -> None:
    """A scheduler that dies after deciding leaves nothing half done; one that dies after writing, nothing to do."""
    add_race(database, "ab", ENOUGH + 4)
    run(database, BEHIND, 2 * ENOUGH)
    [race] = racing(database)
    stops = decide(race_rows(database, 1)[0], race.rules)

    def die(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE jobs"):
            raise KeyboardInterrupt

    sa.event.listen(database.engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        settle_race(database, race, stops, "", NOW)
    sa.event.remove(database.engine, "before_cursor_execute", die)

    assert recorded(database) == []
    assert settle_race(database, race, stops, "", NOW) == 4
    assert settle_race(database, race, stops, "", LATER) == 0
    assert (stand(database), recorded(database)) == (AFTER, OUT)


def test_what_is_out_comes_back_neither_by_requeue_nor_by_a_larger_file(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4)
    run(database, BEHIND, 2 * ENOUGH)
    RaceWatch().look(database, NOW)

    assert control.requeue(database, Selection(experiment="demo", profile="b")) == 0
    add_race(database, "ab", ENOUGH + 6, repeats=2)

    left = stand(database)
    assert {key: count for key, count in left.items() if key[0] == "b"} == {
        ("b", "failed", "no_progress"): ENOUGH,
        ("b", "cancelled", "raced_out"): ENOUGH + 6 + 6,
    }
    assert left["a", "ready", None] == 2 * (ENOUGH + 6) - ENOUGH


def test_without_race_in_the_file_requeue_brings_it_back(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4)
    run(database, BEHIND, 2 * ENOUGH)
    RaceWatch().look(database, NOW)

    add_race(database, "ab", ENOUGH + 4, race=None)

    assert control.requeue(database, Selection(experiment="demo", profile="b")) == ENOUGH + 4
    assert RaceWatch().look(database, LATER) == []
    assert stand(database)["b", "ready", None] == ENOUGH + 4


def test_what_runs_goes_on_to_its_result_and_does_not_begin_again(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4)
    run(database, BEHIND, 2 * ENOUGH)
    running: dict[str, Any] = {}
    ensure_slots(database, {A: 8})
    for one in start(database):
        running.setdefault(profile_of(database, one.job_id), []).append(one)
    watch = RaceWatch()
    watch.look(database, NOW)
    first, second, *_ = running["b"]

    attempts.finish(database, first.attempt_id, COMPLETE, NOW)
    attempts.finish(database, second.attempt_id, AttemptResult(outcome=Outcome.INTERRUPTED, detail=""), NOW)
    watch.look(database, LATER)

    found = {key: count for key, count in stand(database).items() if key[0] == "b"}
    assert found["b", "done", "complete"] == 1
    assert found["b", "cancelled", "raced_out"] == 1
    assert ("b", "ready", None) not in found


def test_infrastructure_quota_and_unjudged_results_stop_nobody(database: Database) -> None:
    add_race(database, "abcd", ENOUGH + 4, own_accounts=True)
    failed_to_run = CheckRecord(
        kind="final", name="tests", status=CheckStatus.ERROR, exit_code=None, seconds=None, reason="", log_sha256=None
    )
    unsure = replace(COMPLETE, checks=[failed_to_run])
    parked = AttemptResult(outcome=Outcome.QUOTA_PARKED, detail="used up", wake_at=LATER, resource="account:d")

    run(database, {"a": COMPLETE, "b": INFRA, "c": unsure, "d": parked}, 3 * (ENOUGH + 4) + 1)
    RaceWatch().look(database, NOW)

    assert recorded(database) == []
    assert stand(database) == Counter(
        {
            ("a", "done", "complete"): ENOUGH + 4,
            ("b", "failed", "infra_error"): ENOUGH + 4,
            ("c", "done", "complete"): ENOUGH + 4,
            ("d", "parked", None): 1,
            ("d", "ready", None): ENOUGH + 3,
        }
    )


def test_a_race_ends_with_its_runs(database: Database) -> None:
    add_race(database, "ab", 20, race=Race(min_targets=5, most_runs=0.2))
    even = {"a": COMPLETE, "b": COMPLETE}

    run(database, even, 7)
    assert RaceWatch().look(database, NOW) == []
    run(database, even, 1)
    RaceWatch().look(database, NOW)

    assert stand(database) == Counter(
        {
            ("a", "done", "complete"): 4,
            ("b", "done", "complete"): 4,
            ("a", "cancelled", "raced_out"): 16,
            ("b", "cancelled", "raced_out"): 16,
        }
    )
    assert recorded(database) == []
    with database.read() as connection:
        [text] = set(connection.execute(sa.select(jobs.c.detail).where(jobs.c.outcome == "raced_out")).scalars())
    assert text == "the race is over: 8 of 40 jobs were begun, and most_runs is 0.2"


def test_a_race_that_was_asked_for_later_waits_for_its_own_order(database: Database) -> None:
    """What ran first was not drawn for a race: only a beginning of the drawn order counts."""
    add_race(database, "abc", ENOUGH + 4, race=None)
    with database.write() as connection:
        connection.execute(jobs.update().values(position=100 - jobs.c.position))
    run(database, {**BEHIND, "c": COMPLETE}, 3 * (ENOUGH + 3))
    add_race(database, "abc", ENOUGH + 4)

    assert RaceWatch().look(database, NOW) == []
    run(database, {**BEHIND, "c": COMPLETE}, 2)  # all but a on the target that was drawn first
    RaceWatch().look(database, NOW)

    assert recorded(database) == [("hash-b", "hash-c", ENOUGH + 4, ENOUGH + 4, 0)]


def test_an_experiment_that_does_not_race_is_not_looked_at(database: Database) -> None:
    add_race(database, "ab", ENOUGH + 4, race=None)
    run(database, BEHIND, 2 * ENOUGH)

    assert racing(database) == []
    assert RaceWatch().look(database, NOW) == []
    assert stand(database)["b", "ready", None] == 4
