"""The evidence of an experiment as values: the only input of analysis and reports. Knows no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from orchestrator.analysis.race import RaceRecord
from orchestrator.domain.campaign import Then
from orchestrator.domain.cases import CaseChange, CaseStatus
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.tampering import ChangeKind, ChangeStatus
from orchestrator.domain.usage import TokenUsage

ParamValue = float | int | str


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One job. Sums cover the attempt that gave its result and those that it went on from; None is unknown.

    `wall_seconds` is from claim to result, waiting in place for a limit included; `working_seconds` is without that.
    Waiting for a slot between stages and being parked until a limit resets are in neither.

    `hidden_tokens` are those that the gateway counted beyond what the agents told: of sub-agents, titles and retries.
    `cost_usd_micros` is the list price, `stated_cost_usd_micros` what the agents said. `outcome` and `detail`
    are of the last attempt. `context_peak_fill` is a share, 0-1. `final_text` is written by the agent.

    `tasks_planned` are those of the plan, parts and repairs apart: the denominator of completion never changes. Both
    counts are of the last attempt; None where a loop has no plan. `tasks_at_once` were accepted without a refusal.
    `protected_changes` are the agent's changes to what judges it, `protected_counted` those of them that count.

    `retuned` are limits that people changed after submit, by name; None is unlimited.
    """

    job_id: int
    experiment: str
    target: str
    profile: str
    profile_hash: str
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    retuned: Mapping[str, float | int | None] = field(default_factory=dict)
    repeat: int = 1
    state: JobState
    waiting_reason: str = ""
    attempts: int = 0
    outcome: Outcome | None = None
    detail: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    wall_seconds: float | None = None
    working_seconds: float | None = None
    rate_limit_wait_seconds: float | None = None
    slot_wait_seconds: float | None = None
    parked_seconds: float | None = None
    tokens: TokenUsage = field(default_factory=TokenUsage)
    hidden_tokens: int | None = None
    cost_usd_micros: int | None = None
    stated_cost_usd_micros: int | None = None
    remote_calls: int | None = None
    local_calls: int | None = None
    context_peak_fill: float | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    files_changed: int | None = None
    commits: int | None = None
    infra_attempts: int = 0
    tasks_accepted: int | None = None
    tasks_planned: int | None = None
    tasks_at_once: int | None = None
    protected_changes: int | None = None
    protected_counted: int | None = None
    final_text: str = ""

    @property
    def label(self) -> str:
        """`target/profile#repeat`, with the swept values where there are any."""
        swept = f"[{params_text(self.params)}]" if self.params else ""
        return f"{self.target}/{self.profile}{swept}#{self.repeat}"


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One supervised agent call. `outcome` is set when the guard or the agent ended it before its normal end.

    `resource` is `account:<name>` or `pool:<name>`, `requests` counts model requests at the gateway.
    `stream_tokens` are all that the agent told, `gateway_tokens` all that the gateway counted.
    `error_text` comes from the agent or the provider. `precheck_accepted` tells of a build by another program whether
    a quick check accepted it, so that nothing had to verify it.
    """

    job_id: int
    attempt: int
    order: int
    stage: str
    role: str
    model_asked: str
    model_served: str | None = None
    resource: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    turns: int | None = None
    requests: int | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    stream_tokens: int | None = None
    gateway_tokens: int | None = None
    cost_usd_micros: int | None = None
    stated_cost_usd_micros: int | None = None
    context_tokens: int | None = None
    context_peak_tokens: int | None = None
    context_window: int | None = None
    exit_code: int | None = None
    outcome: Outcome | None = None
    kill_reason: str = ""
    error_kind: str = ""
    error_text: str = ""
    prompt_bytes: int | None = None
    precheck_accepted: bool | None = None

    @property
    def seconds(self) -> float | None:
        """Duration, waits included; None while it runs."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def hidden_tokens(self) -> int | None:
        """Tokens of which the agent told nothing; None where the gateway could not count."""
        return None if self.gateway_tokens is None else max(0, self.gateway_tokens - (self.stream_tokens or 0))

    @property
    def failed(self) -> bool:
        """Whether it ended other than normally."""
        return self.outcome not in (None, Outcome.COMPLETE) or bool(self.kill_reason)


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One check of one job's final commit, and how the same check ended on the untouched base.

    `runs` counts the runs that gave an answer, `passed_runs` those of them that passed; None where nobody counted.
    `replaced` are files of the agent's in whose place hidden ones came. `cases` counts the cases of the last run by
    their end, None without any; `cases_complete` tells whether that is all of them. `report_fault` says why a report
    could not be read.
    """

    job_id: int
    name: str
    status: CheckStatus
    seconds: float | None = None
    reason: str = ""
    baseline: CheckStatus | None = None
    hidden: bool = False
    runs: int | None = None
    passed_runs: int | None = None
    baseline_flaky: bool = False
    replaced: tuple[str, ...] = ()
    cases: Mapping[CaseStatus, int] | None = None
    cases_complete: bool | None = None
    report_fault: str = ""

    @property
    def flaky(self) -> bool:
        """It failed and passed on the same commit; `status` is what its policy makes of that."""
        return is_flaky(self.runs, self.passed_runs)


def is_flaky(runs: int | None, passed_runs: int | None) -> bool:
    """Whether some runs passed and some did not."""
    return runs is not None and passed_runs is not None and 0 < passed_runs < runs


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """A test case of one job that is worth a word beside the same case on the untouched base.

    `before` and `after` are None where the case is not there. The name comes from the agent's code.
    """

    job_id: int
    check: str
    case: str
    before: CaseStatus | None
    after: CaseStatus | None
    change: CaseChange


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """A change of the agent to what judges it. The path is the agent's."""

    job_id: int
    path: str
    kind: ChangeKind
    status: ChangeStatus
    counts: bool
    lines_added: int | None = None
    lines_removed: int | None = None
    tests_removed: int | None = None
    skips_added: int | None = None
    asserts_removed: int | None = None


class EstimateRow(NamedTuple):
    """What was expected of one quantity at submit. `low` and `high` are None where the spread was unknown."""

    mean: float
    middle: float
    low: float | None
    high: float | None
    source: str
    runs: int


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """What a profile is made of, for the reader of a report."""

    profile: str
    profile_hash: str
    agent: str
    agent_version: str | None
    reasoning_model: str
    build_model: str
    loop: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineNote:
    """Something about a machine that a reader must know (quarantine, restart, other hardware)."""

    machine: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All rows of one experiment as they stood at `generated_at`. `cases` may be cut, which `cases_cut` tells.

    `estimates` are by job and quantity; jobs of which nothing was expected are not there.
    `tasks_unnamed`: the results of a target are of different tasks, of which nobody tells which is which. They are no
    repeats, and those of two profiles cannot be paired.
    """

    experiment: str
    generated_at: datetime
    jobs: tuple[JobRow, ...]
    stages: tuple[StageRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    cases: tuple[CaseRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    profiles: tuple[ProfileRow, ...] = ()
    notes: tuple[MachineNote, ...] = ()
    cases_cut: bool = False
    race: RaceRecord | None = None
    then: Then | None = None
    estimates: Mapping[int, Mapping[str, EstimateRow]] = field(default_factory=dict)
    tasks_unnamed: bool = False


class OfJob(Protocol):
    """A row that belongs to a job."""

    @property
    def job_id(self) -> int:
        """The job."""
        ...


R = TypeVar("R", bound=OfJob)


def by_job(rows: Sequence[R]) -> dict[int, list[R]]:
    """The rows of each job, in their order."""
    grouped: dict[int, list[R]] = {}
    for row in rows:
        grouped.setdefault(row.job_id, []).append(row)
    return grouped


def params_text(params: Mapping[str, ParamValue]) -> str:
    """Swept values in a fixed order: `a=1, b=2`."""
    return ", ".join(f"{name}={params[name]}" for name in sorted(params))
