"""Races on record: which jobs take part, who was stopped and why, and the end of the jobs of those who were.

A stop holds while the experiment's file has `race`: jobs of a stopped profile that are added later, or come back from
a run that broke, are ended too.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.analysis.judge import Standing, is_judged, is_solved, standing
from orchestrator.analysis.race import RaceRecord, RaceRow, RecordedStop, Stop, stop_words
from orchestrator.analysis.rows import CheckRow, JobRow, params_text
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.order import race_draw
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.race import Race
from orchestrator.domain.states import FINAL_JOB_STATES, JOB_MOVES, JobState, sources
from orchestrator.storage.bulk import insert_new
from orchestrator.storage.engine import Database, lock_in_order, one_at_a_time
from orchestrator.storage.tables import attempts, cells, checks, experiments, jobs, race_stops, targets
from orchestrator.storage.waiting import end_waiting

_RULE = experiments.c.spec["race"]["error_rate"].as_float()
_ENDS = sorted(sources(JOB_MOVES, "cancel") - {JobState.RUNNING})


class Racing(NamedTuple):
    """An experiment that races and has open jobs. `moved` changes whenever one of its jobs begins or ends."""

    experiment_id: int
    name: str
    rules: Race
    moved: tuple[tuple[str, int, int], ...]


class Runs(NamedTuple):
    """Jobs of an experiment, and those of them that were ever begun."""

    begun: int
    jobs: int


def racing(database: Database) -> list[Racing]:
    """Every race with open jobs. Costs by jobs of these experiments alone."""
    count, tries = sa.func.count(), sa.func.sum(jobs.c.attempts)
    is_open = sa.exists().where(jobs.c.experiment_id == experiments.c.id, jobs.c.state.not_in(FINAL_JOB_STATES))
    query = sa.select(experiments.c.id, experiments.c.name, experiments.c.spec).where(_RULE.is_not(None), is_open)
    by_state = sa.select(jobs.c.state, count, tries).group_by(jobs.c.state).order_by(jobs.c.state)
    with database.read() as connection:
        return [
            Racing(
                row.id,
                row.name,
                Race.model_validate(row.spec["race"]),
                tuple(
                    (found[0], int(found[1]), int(found[2]))
                    for found in connection.execute(by_state.where(jobs.c.experiment_id == row.id))
                ),
            )
            for row in connection.execute(query).all()
        ]


def race_rows(database: Database, experiment_id: int) -> tuple[list[RaceRow], Runs]:
    """The jobs of a race, arms by the hashes of profiles.

    Targets come in the drawn order, those of a later submit behind; also where the jobs lie in another one, because
    the file got its `race` later. A job whose limits people changed is of another profile, so to say: it counts for
    nobody.
    """
    told = (jobs.c[name] for name in ("id", "repeat", "state", "outcome", "retuned", "attempts", "created_at"))
    query = (
        sa.select(
            *told, cells.c.target_id, cells.c.profile, cells.c.profile_hash, targets.c.label, experiments.c.seed
        )
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(targets, targets.c.id == cells.c.target_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(jobs.c.experiment_id == experiment_id)
        .order_by(jobs.c.id)
    )
    with database.snapshot() as connection:
        found = connection.execute(query).all()
        checked = _checks(connection, experiment_id)
    key_of = {row.id: (row.created_at, race_draw(row.seed, row.label), row.target_id) for row in found}
    places = {key: place for place, key in enumerate(sorted(set(key_of.values())))}
    rows = [_race_row(row, checked.get(row.id, ()), places[key_of[row.id]]) for row in found]
    return rows, Runs(sum(row.attempts > 0 for row in found), len(found))


def _checks(connection: sa.Connection, experiment_id: int) -> dict[int, list[CheckRow]]:
    query = (
        sa.select(jobs.c.id, checks.c.name, checks.c.status)
        .join(attempts, sa.and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempts))
        .join(checks, sa.and_(checks.c.attempt_id == attempts.c.id, checks.c.kind == "final"))
        .where(jobs.c.experiment_id == experiment_id)
    )
    by_job: dict[int, list[CheckRow]] = defaultdict(list)
    for job_id, name, status in connection.execute(query):
        by_job[job_id].append(CheckRow(job_id=job_id, name=name, status=CheckStatus(status)))
    return by_job


def _race_row(row: Any, checked: Sequence[CheckRow], place: int) -> RaceRow:
    job = JobRow(
        job_id=row.id,
        experiment="",
        target=str(row.target_id),
        profile=row.profile,
        profile_hash=row.profile_hash,
        repeat=row.repeat,
        state=JobState(row.state),
        outcome=Outcome(row.outcome) if row.outcome else None,
    )
    tells = standing(job) is Standing.RESULT and is_judged(job, checked) and not row.retuned
    return RaceRow(
        arm=row.profile_hash,
        target=job.target,
        repeat=row.repeat,
        order=place,
        ended=job.state in FINAL_JOB_STATES,
        solved=is_solved(job, checked) if tells else None,
    )


def stops_of(connection: sa.Connection, experiment_id: int) -> list[RecordedStop]:
    """Every stop of an experiment, in the order in which they were made."""
    query = sa.select(race_stops).where(race_stops.c.experiment_id == experiment_id)
    return [
        RecordedStop(
            stop=Stop(
                arm=row.profile_hash,
                against=row.against,
                targets=row.targets,
                better=row.better,
                worse=row.worse,
                repeat=row.repeat,
                evidence=row.evidence,
                needed=row.needed,
                arms=row.arms,
            ),
            rules=Race.model_validate(row.rules),
            at=row.at,
        )
        for row in connection.execute(query.order_by(race_stops.c.at, race_stops.c.profile_hash))
    ]


def race_record(connection: sa.Connection, experiment_id: int, spec: Mapping[str, Any]) -> RaceRecord | None:
    """The race of an experiment whose file is `spec`; None where there never was one."""
    stops = tuple(stops_of(connection, experiment_id))
    rules = Race.model_validate(spec["race"]) if spec.get("race") else None
    return RaceRecord(rules=rules, stops=stops) if stops or rules else None


def settle_race(database: Database, race: Racing, stops: Sequence[Stop], over: str, now: datetime) -> int:
    """Record new stops and end the open jobs of all who are out, in one transaction; with `over`, which says why, all
    that wait. What runs goes on to its end. Safe to repeat. Returns how many jobs were ended."""
    with database.write() as connection:
        one_at_a_time(connection, f"experiment {race.name}")
        if stops:
            insert_new(connection, race_stops, [_record(race, stop, now) for stop in stops])
        ended = end_raced_out(connection, race.experiment_id, now)
        if over:
            everyone = jobs.c.experiment_id == race.experiment_id
            ended += _end(connection, everyone, over, now)
        return ended


def _record(race: Racing, stop: Stop, now: datetime) -> dict[str, Any]:
    told = asdict(stop)
    told["profile_hash"] = told.pop("arm")
    return {**told, "experiment_id": race.experiment_id, "at": now, "rules": race.rules.model_dump(mode="json")}


def end_raced_out(connection: sa.Connection, experiment_id: int, now: datetime) -> int:
    """End what waits of the profiles that are out of an experiment's race. Idempotent. Returns how many jobs."""
    if connection.execute(sa.select(_RULE).where(experiments.c.id == experiment_id)).scalar() is None:
        return 0
    ended = 0
    for one in stops_of(connection, experiment_id):
        mine = sa.select(cells.c.id).where(
            cells.c.experiment_id == experiment_id, cells.c.profile_hash == one.stop.arm
        )
        detail = f"out of the race: {stop_words(one.stop, _name(connection, experiment_id, one.stop.against))}"
        ended += _end(connection, jobs.c.cell_id.in_(mine), detail, now)
    return ended


def _name(connection: sa.Connection, experiment_id: int, profile_hash: str) -> str:
    mine = sa.and_(cells.c.experiment_id == experiment_id, cells.c.profile_hash == profile_hash)
    row = connection.execute(sa.select(cells.c.profile, cells.c.params).where(mine).limit(1)).one()
    return f"{row.profile} [{params_text(row.params)}]" if row.params else str(row.profile)


def _end(connection: sa.Connection, chosen: sa.ColumnElement[bool], detail: str, now: datetime) -> int:
    waiting = sa.and_(chosen, jobs.c.state.in_(_ENDS))
    lock_in_order(connection, jobs.c.id, waiting)
    return end_waiting(connection, waiting, Outcome.RACED_OUT, detail, now)


def cells_out() -> sa.Select[tuple[int]]:
    """The cells of profiles that are out of a race which their experiment's file still asks for."""
    same = sa.and_(
        cells.c.experiment_id == race_stops.c.experiment_id, cells.c.profile_hash == race_stops.c.profile_hash
    )
    query = sa.select(cells.c.id).join(race_stops, same)
    return query.join(experiments, experiments.c.id == cells.c.experiment_id).where(_RULE.is_not(None))
