"""One job's page as values: where it stands, its attempts, stages, guards, checks, events and transcript."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from orchestrator.analysis.judge import end_word
from orchestrator.analysis.rows import CheckRow
from orchestrator.domain.experiment import show_limit
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.usage import TokenUsage
from orchestrator.reports.words import duration, money, tokens
from orchestrator.scheduling.next_step import next_step
from orchestrator.scheduling.why import waiting_reason
from orchestrator.settings import Settings
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.engine import Database
from orchestrator.storage.job_page import JobPage, Row, job_page
from orchestrator.storage.jobfacts import AttemptFacts, JobFacts, job_facts
from orchestrator.storage.machines import live_workers
from orchestrator.storage.tasks import TaskRecord, tasks_of
from orchestrator.web.fleet import FleetView
from orchestrator.web.told import Told, tell
from orchestrator.web.transcript import Transcript, transcript_of

# A running stage tells its figures every second; an idle timeout is judged by the worker, not from here.
_GUARDS = ("wall_timeout", "stage_timeout", "max_iterations", "max_turns", "max_tokens", "max_cost_usd")


class Guard(NamedTuple):
    """A limit with how much of it is used, in words, and as a share (0-1). None is unknown."""

    name: str
    used: str | None
    limit: str
    share: float | None


class StageLine(NamedTuple):
    """A stage with what its columns hold."""

    row: Row
    seconds: float | None
    total_tokens: int | None
    fill: float | None
    peak: float | None
    running: bool


class EventLine(NamedTuple):
    """An event as it is shown."""

    at: datetime
    attempt: int
    stage: int | None
    kind: str
    told: Told


@dataclass(frozen=True, kw_only=True)
class JobView:
    """Everything on the page at one moment. Agents wrote `final_text`, and parts of stages, events and transcript."""

    at: datetime
    facts: JobFacts
    profile: str
    word: str
    reason: str
    step: str
    attempts: tuple[AttemptFacts, ...]
    change: Row | None
    stages: tuple[StageLine, ...]
    stages_left_out: int
    guards: tuple[Guard, ...]
    other_limits: tuple[tuple[str, str], ...]
    notices: tuple[EventLine, ...]
    events: tuple[EventLine, ...]
    checks: tuple[CheckRow, ...]
    tasks: tuple[TaskRecord, ...]
    transcript: Transcript
    final_text: str


def read_job(
    database: Database, settings: Settings, job_id: int, fleet: FleetView, now: datetime, *, agent_text: bool
) -> JobView:
    """The page's values. Raises NotFound, StorageError."""
    facts, page = job_facts(database, job_id), job_page(database, job_id)
    stages = tuple(_stage(row, now) for row in page.stages)
    newest = page.attempts[0] if page.attempts else None
    mine = [line for line in stages if newest is not None and line.row["attempt"] == newest["number"]]
    limits = {**page.spec.get("limits", {}), **facts.retuned}
    store = ArtifactStore(settings.artifacts)
    events = tuple(_event(one.at, one.attempt, one.stage, one.kind, one.data, agent_text) for one in page.events)
    return JobView(
        at=now,
        facts=facts,
        profile=page.profile,
        word=end_word(_End(facts.state, _outcome(facts)), page.checks),
        reason=waiting_reason(facts.state, page.waiting_reason, facts.needs, fleet.slots, fleet.closed),
        step=next_step(facts, live_workers(database, now), {drain.scope for drain in fleet.drains}),
        attempts=facts.attempts[::-1],
        change=newest if newest is not None and newest["ended_at"] is not None else None,
        stages=stages,
        stages_left_out=page.stages_in_all - len(stages),
        guards=tuple(_guards(limits, facts, newest, mine, page, now)),
        other_limits=tuple(
            (name, show_limit(name, limits[name]))
            for name in sorted(limits)
            if name not in _GUARDS or limits[name] is None
        ),
        notices=tuple(line for line in events if line.kind == "GuardNotice"),
        events=events,
        checks=page.checks,
        tasks=tasks_of(database, job_id),
        transcript=transcript_of(store, page.attempts, page.artifacts, settings.machine, show=agent_text),
        final_text=(newest["final_text"] or "") if newest is not None else "",
    )


class _End(NamedTuple):
    state: JobState
    outcome: Outcome | None


def _outcome(facts: JobFacts) -> Outcome | None:
    found = facts.outcome or (facts.attempts[-1].outcome if facts.attempts else None)
    return Outcome(found) if found else None


def _event(
    at: datetime, attempt: int, stage: int | None, kind: str, data: Mapping[str, object], show: bool
) -> EventLine:
    return EventLine(at, attempt, stage, kind, tell(kind, data, show=show))


def _stage(row: Row, now: datetime) -> StageLine:
    kinds = ("input", "output", "cache_read", "cache_write", "reasoning")
    window = row["context_window"]

    def share(count: int | None) -> float | None:
        return count / window if count is not None and window else None

    return StageLine(
        row=row,
        seconds=((row["ended_at"] or now) - row["started_at"]).total_seconds(),
        total_tokens=TokenUsage(**{kind: row[f"{kind}_tokens"] for kind in kinds}).total,
        fill=share(row["context_tokens"]),
        peak=share(row["context_peak_tokens"]),
        running=row["ended_at"] is None,
    )


def _guards(
    limits: Row, facts: JobFacts, newest: Row | None, mine: Sequence[StageLine], page: JobPage, now: datetime
) -> list[Guard]:
    """The limits that fill up while an attempt runs. Sums are lower bounds when not every stage is at hand."""
    if newest is None:
        used: dict[str, float | None] = {}
    else:
        whole = len(mine) == facts.attempts[-1].stages
        used = {
            "wall_timeout": ((newest["ended_at"] or now) - newest["started_at"]).total_seconds(),
            "stage_timeout": mine[0].seconds if mine and mine[0].running else None,
            "max_iterations": facts.attempts[-1].stages,
            "max_turns": mine[0].row["turns"] if mine else None,
            "max_tokens": _sum([line.total_tokens for line in mine]) if whole else None,
            "max_cost_usd": _usd([line.row["cost_usd_micros"] for line in mine]) if whole else None,
        }
    return [_guard(name, used.get(name), limits[name]) for name in _GUARDS if limits.get(name) is not None]


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _usd(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / 1e6 if known and len(known) == len(values) else None


def _guard(name: str, used: float | None, limit: float) -> Guard:
    words = {"max_tokens": tokens, "max_cost_usd": _dollars}.get(name, duration if "timeout" in name else _count)
    if used is None:
        return Guard(name.removeprefix("max_"), None, words(limit), None)
    return Guard(name.removeprefix("max_"), words(used), words(limit), used / limit)


def _dollars(usd: float | None) -> str:
    return money(None if usd is None else usd * 1e6)


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
