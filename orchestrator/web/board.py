"""An experiment's matrix in memory, brought up to date by what moved, so that everybody who looks costs one reading.

Every look makes a new, unchanging `View`. A job's number in `moved` is the version in which its cell changed last:
who holds version 7 needs the cells above 7 and nothing else.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from orchestrator.analysis.judge import end_word
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.reports.words import one_line, spaced
from orchestrator.scheduling.why import waiting_reason
from orchestrator.storage import grid
from orchestrator.storage.dispatch import Slots, split_needs
from orchestrator.storage.engine import Database

_TITLE_CHARS = 200
_TAKE_TURNS = (JobState.READY, JobState.QUEUED)


@dataclass(frozen=True, kw_only=True)
class GridJob:
    """One job as its cell shows it. `profile` is its column's label; `word` is of `judge.end_word`.

    `outcome` is the last attempt's. `held` is why it waits, where that is not for its turn. `stage` is empty unless
    it runs, and `started_at` unknown.
    """

    job_id: int
    target: str
    profile: str
    repeat: int
    state: JobState
    outcome: Outcome | None
    word: str
    held: str = ""
    stage: str = ""
    started_at: datetime | None = None
    wall_seconds: float | None = None

    @property
    def key(self) -> str:
        """`target/profile#repeat`."""
        return f"{self.target}/{self.profile}#{self.repeat}"

    @property
    def title(self) -> str:
        """What a pointer over the cell is told."""
        more = self.stage or self.held
        return one_line(f"#{self.repeat} {spaced(self.word)}" + (f": {more}" if more else ""), _TITLE_CHARS)


@dataclass(frozen=True, kw_only=True)
class View:
    """The matrix at one moment. `layout` names which jobs there are and where: it changes when some are added.

    `waits` has the reason of every job that waits. It is in no cell: it changes for thousands with every slot.
    """

    experiment: str
    at: datetime
    version: int
    layout: str
    jobs: Mapping[int, GridJob]
    moved: Mapping[int, int]
    waits: Mapping[int, str]
    running: tuple[grid.Running, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many jobs go under which word."""
        return Counter(job.word for job in self.jobs.values())

    @property
    def final(self) -> int:
        """Jobs that have ended for good."""
        return sum(job.state in FINAL_JOB_STATES for job in self.jobs.values())

    def moved_since(self, version: int) -> list[GridJob]:
        """The jobs whose cells changed after this version, in their order."""
        return [self.jobs[job_id] for job_id, moved in self.moved.items() if moved > version]


class _Seen(NamedTuple):
    """All of which a cell is made, but for the end, which goes with the row."""

    row: grid.Stand
    held: str
    stage: str
    started_at: datetime | None


class Board:
    """Reads one experiment again and again. Not for two threads at a time."""

    def __init__(self, experiment: str) -> None:
        self.experiment = experiment
        self._stands: dict[int, grid.Stand] = {}
        self._seen: dict[int, _Seen] = {}
        self._ends: dict[int, grid.End] = {}
        self._view: View | None = None

    def look(self, database: Database, slots: Mapping[str, Slots], closed: Mapping[str, str], now: datetime) -> View:
        """The matrix as it is now. Raises NotFound, StorageError."""
        with database.snapshot() as connection:
            found = grid.experiment_id(connection, self.experiment)
            stands = {row.job_id: row for row in grid.stands(connection, found)}
            running = tuple(grid.running(connection, found))
            fresh = [
                job_id
                for job_id, row in stands.items()
                if row.state in FINAL_JOB_STATES and self._stands.get(job_id) != row
            ]
            everything = self._view is None
            ended = grid.ends(connection, found, None if everything else fresh)
            known = self._view
            places = grid.places(connection, found) if known is None or stands.keys() != known.jobs.keys() else None
        self._ends |= ended
        if places is not None:
            known = self._laid_out(places, known)
        assert known is not None  # the first look lays out
        view = self._moved(known, stands, running, slots, closed, now)
        self._stands, self._view = stands, view
        return view

    def _laid_out(self, places: Iterable[grid.Place], known: View | None) -> View:
        """A view with exactly these jobs, as far as known with their states."""
        before = known.jobs if known else {}
        jobs = {place.job_id: before.get(place.job_id) or _placed(place) for place in places}
        names = "\n".join(f"{job.job_id} {job.key}" for job in jobs.values())
        version = known.version + 1 if known else 0
        return View(
            experiment=self.experiment,
            at=known.at if known else datetime.min,  # noqa: DTZ901 - replaced before anybody sees it
            version=version,
            layout=hashlib.sha256(names.encode("utf-8", "replace")).hexdigest()[:16],
            jobs=jobs,
            moved={job_id: known.moved.get(job_id, version) if known else version for job_id in jobs},
            waits={},
            running=(),
        )

    def _moved(
        self,
        known: View,
        stands: Mapping[int, grid.Stand],
        running: tuple[grid.Running, ...],
        slots: Mapping[str, Slots],
        closed: Mapping[str, str],
        now: datetime,
    ) -> View:
        reasons: dict[tuple[str, str, str], str] = {}
        active = {one.job_id: one for one in running}
        changed: dict[int, GridJob] = {}
        waits: dict[int, str] = {}
        for job_id, job in known.jobs.items():
            row = stands[job_id]
            key = (row.state, row.waiting_reason or "", row.needs)
            if key not in reasons:
                reasons[key] = waiting_reason(JobState(row.state), key[1], split_needs(row.needs), slots, closed)
            run = active.get(job_id)
            if reasons[key] and row.state not in FINAL_JOB_STATES:
                waits[job_id] = reasons[key]
            held = "" if row.state in _TAKE_TURNS else reasons[key]
            seen = _Seen(row, held, stage_word(run) if run else "", run.started_at if run else None)
            # Nearly all jobs stand as they stood: what is costly is only done for the others.
            if seen != self._seen.get(job_id):
                self._seen[job_id] = seen
                changed[job_id] = _stood(job, seen, self._ends.get(job_id))
        version = known.version + 1 if changed or known.version == 0 else known.version
        jobs = {**known.jobs, **changed}
        return replace(
            known,
            at=now,
            version=version,
            jobs=jobs,
            moved={**known.moved, **dict.fromkeys(changed, version)},
            waits=waits,
            running=running,
        )


def _placed(place: grid.Place) -> GridJob:
    """A job of which nothing but its place is known yet."""
    label = place.profile + "".join(f" {name}={value}" for name, value in sorted(place.params.items()))
    return GridJob(
        job_id=place.job_id,
        target=place.target,
        profile=label,
        repeat=place.repeat,
        state=JobState.READY,
        outcome=None,
        word=JobState.READY,
    )


def _stood(job: GridJob, seen: _Seen, end: grid.End | None) -> GridJob:
    """The job by what was read of it."""
    row = seen.row
    final = row.state in FINAL_JOB_STATES
    outcome = row.outcome or (end.outcome if final and end else None)
    fresh = replace(
        job,
        state=JobState(row.state),
        outcome=Outcome(outcome) if outcome else None,
        held=seen.held,
        stage=seen.stage,
        started_at=seen.started_at,
        wall_seconds=end.wall_seconds if final and end else None,
    )
    return replace(fresh, word=end_word(fresh, end.checks if final and end else ()))


def stage_word(run: grid.Running) -> str:
    """What a running job does, in the words of the terminal."""
    if run.checking:
        return "checks"
    if run.stage is None:
        return "starting"
    # Behind the end of a stage the next one may have to wait for a slot of its own.
    return "next stage" if run.stage_ended else one_line(run.stage, 40)
