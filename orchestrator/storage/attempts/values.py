"""What workers and the tables tell each other about attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain.breaker import Breaker, describe
from orchestrator.domain.cases import Cases
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.tampering import Change

# A worker that has not announced itself for this long is taken to be away. Leases alone decide what has expired.
SILENT_AFTER = timedelta(seconds=45)
# A limit whose reset nobody named is tried again after this.
UNKNOWN_RESET = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """Which process on which boot of which machine: enough to prove later that it is dead."""

    machine: str
    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that this worker now owns."""

    attempt_id: str
    job_id: int
    fence: int
    number: int
    repeat: int
    cell_id: int
    resources: tuple[str, ...]
    probes: tuple[str, ...] = ()  # scopes of the breakers that this attempt tries
    retuned: Mapping[str, float | int | None] | None = None  # limits that people changed after submit, by name


@dataclass(frozen=True, kw_only=True)
class CheckRunRecord:
    """One run of a check. `cases` is None when its output is in no known format."""

    status: CheckStatus
    exit_code: int | None = None
    seconds: float | None = None
    reason: str | None = None
    log_sha256: str | None = None
    case_format: str | None = None
    report_fault: str | None = None
    cases: Cases | None = None


@dataclass(frozen=True, kw_only=True)
class CheckRecord:
    """Result of one check. `kind` is `final` or `baseline`; the columns of a run are those of the last one."""

    kind: str
    name: str
    status: CheckStatus
    exit_code: int | None
    seconds: float | None
    reason: str | None
    log_sha256: str | None
    hidden: bool = False
    runs: int | None = None
    passed_runs: int | None = None
    replaced: Sequence[str] | None = None
    all_runs: Sequence[CheckRunRecord] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """A kept file. `full_bytes` is how large the original is of which only the first `size_bytes` were kept.

    None when all of it was kept, and when nobody could say: then the kind ends in `_cut`.
    """

    name: str
    kind: str
    sha256: str
    size_bytes: int
    full_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """Everything that an attempt leaves. What is not known is None."""

    outcome: Outcome
    detail: str
    wall_seconds: float | None = None
    lease_wait_seconds: float | None = None
    working_seconds: float | None = None
    rate_limit_wait_seconds: float | None = None
    base_sha: str | None = None
    baseline_sha: str | None = None
    final_sha: str | None = None
    branch: str | None = None
    files_changed: int | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    commits: int | None = None
    protected_changes: int | None = None
    protected_counted: int | None = None
    final_text: str | None = None
    # Said again at the end: the database may have been away when the attempt went to work.
    resumed_from: str | None = None
    resumed_stages: int | None = None
    wake_at: datetime | None = None
    # The account or pool of the last stage, and those that answered a model request: what the breakers go by.
    resource: str | None = None
    answered: Sequence[str] = field(default_factory=tuple)
    checks: Sequence[CheckRecord] = field(default_factory=tuple)
    artifacts: Sequence[ArtifactRecord] = field(default_factory=tuple)
    changes: Sequence[Change] = field(default_factory=tuple)


class NoFreeSlot(Conflict):
    """Every slot of a resource is taken."""


class Drained(Conflict):
    """A resource or the worker's machine takes no new work."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"{scope} is drained")


class Parked(Conflict):
    """A breaker lets nothing through: open until `until`, or half open (None) while its one probe is out."""

    def __init__(self, scope: str, breaker: Breaker) -> None:
        self.scope, self.until = scope, breaker.until
        super().__init__(describe(scope, breaker))


class Elsewhere(Conflict):
    """The job has just broken on this machine, or its work is kept on another one, which can take it."""

    def __init__(self, machine: str) -> None:
        super().__init__(f"another machine than {machine} may take it first")


# Why a job cannot be claimed now. Its hint may be tried again.
Refusal = NoFreeSlot | Drained | Parked | Elsewhere
