"""The view of a running experiment, as a function of values: a picture for terminals, lines for everything else.

Bounded: ten thousand jobs give a screenful and a few dozen lines, by counting what does not fit.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.domain.durations import format_duration
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.reports.eta import Eta, eta_text
from orchestrator.reports.gauges import Gauge, gauge_lines
from orchestrator.reports.symbols import Symbol, symbol
from orchestrator.reports.words import one_line, spaced, tokens

DEFAULT_HEIGHT = 40
MAX_COLUMNS = 8
MAX_REPEATS_SHOWN = 6
MAX_LINES = 40
_BAR_CELLS = 10

_STYLES = {"good": "green", "bad": "red", "warn": "yellow", "quiet": "dim", "busy": "bold cyan"}
_UNSOLVED = Symbol("≈", "U", "bad")


@dataclass(frozen=True, kw_only=True)
class LiveJob:
    """One job now. `profile` is its column's label; `tokens` None is unknown; `context_fill` is a share, 0-1.

    `solved` is known only when the job is final; `outcome` is the last attempt's.
    """

    job_id: int
    target: str
    profile: str
    repeat: int
    state: JobState
    stage: str = ""
    turns: int | None = None
    tokens: int | None = None
    context_fill: float | None = None
    elapsed_seconds: float | None = None
    waiting_reason: str = ""
    outcome: str = ""
    solved: bool | None = None
    tasks_accepted: int | None = None
    tasks_planned: int | None = None

    @property
    def place(self) -> str:
        """The stage, and how many tasks of how many are accepted: `build 2/5`."""
        plan = "" if self.tasks_planned is None else f" {self.tasks_accepted}/{self.tasks_planned}"
        return (one_line(self.stage, 40) or "starting") + plan

    @property
    def key(self) -> str:
        """`target/profile#repeat`."""
        return f"{self.target}/{self.profile}#{self.repeat}"


@dataclass(frozen=True, kw_only=True)
class LiveResource:
    """An account or a pool: slots in use, of how many (None = unknown), and a note such as its zone or reset time."""

    name: str
    in_use: int
    capacity: int | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LiveView:
    """Everything that is shown at one moment. `eta` is None where nobody asked for it, and when nothing is open."""

    experiment: str
    now: datetime
    jobs: tuple[LiveJob, ...]
    resources: tuple[LiveResource, ...] = ()
    eta: Eta | None = None
    gauges: tuple[Gauge, ...] = ()

    @property
    def eta_words(self) -> str:
        """The ETA, and of what."""
        return eta_text(self.eta, sum(job.state is JobState.BLOCKED for job in self.jobs))


def render(view: LiveView, height: int = DEFAULT_HEIGHT) -> RenderableType:
    """The whole picture for a terminal of `height` lines (as long as lines need not be folded)."""
    # What headline, headers, reasons, slots, windows and legend leave.
    room = max(6, height - 12 - min(len(view.gauges), 7))
    rows = max(3, room * 3 // 5)
    parts: list[RenderableType] = [_headline(view)]
    if view.jobs:
        parts.append(_grid(view, rows))
    running = [job for job in view.jobs if job.state is JobState.RUNNING]
    if running:
        parts.append(_running(running, room - rows))
    waiting = _waiting(view)
    if waiting:
        parts.append(waiting)
    if view.resources:
        parts.append(_resources(view))
    if (windows := gauge_lines(view.gauges, view.now)) is not None:
        parts.append(windows)
    parts.append(_legend(view))
    return Group(*parts)


def context_bar(fill: float | None) -> str:
    """`███████░░░ 67 %`; `unknown` for None. More than full is shown as full, with the true number."""
    if fill is None:
        return "unknown"
    cells = max(0, min(_BAR_CELLS, round(fill * _BAR_CELLS)))
    return f"{'█' * cells}{'░' * (_BAR_CELLS - cells)} {100 * fill:.0f} %"


def sign_of(job: LiveJob) -> Symbol:
    """The job's symbol: its state, or `≈U` where it ended well but a check did not pass, or out of the race."""
    if job.outcome == Outcome.RACED_OUT:
        return symbol(job.outcome)
    if job.state is JobState.DONE and job.solved is False:
        return _UNSOLVED
    return symbol(job.state)


def count_text(jobs: Sequence[LiveJob]) -> str:
    """`12 done, 3 running, 40 ready`, in the order of the states; `6 raced out` behind those that people
    cancelled."""
    counts = Counter(_word(job) for job in jobs)
    return ", ".join(f"{counts[word]} {spaced(word)}" for word in _ORDER if counts[word]) or "no jobs"


def _word(job: LiveJob) -> str:
    return job.outcome if job.outcome == Outcome.RACED_OUT else job.state.value


_ORDER = (
    JobState.DONE,
    JobState.FAILED,
    JobState.INVALID,
    JobState.CANCELLED,
    Outcome.RACED_OUT,
    JobState.RUNNING,
    JobState.PARKED,
    JobState.BLOCKED,
    JobState.PAUSED,
    JobState.QUEUED,
    JobState.READY,
)


def _headline(view: LiveView) -> Text:
    final = sum(job.state in FINAL_JOB_STATES for job in view.jobs)
    text = Text(one_line(view.experiment, 80), style="bold")
    text.append(f"  {final} of {len(view.jobs)} jobs ended", style="not bold")
    if final < len(view.jobs):
        text.append(f" · ETA {view.eta_words}", style="not bold")
    text.append(f" · {view.now:%H:%M:%S}", style="not bold dim")
    text.append(f"\n{count_text(view.jobs)}", style="not bold")
    return text


def _grid(view: LiveView, most: int) -> Table:
    by_target: dict[str, dict[str, list[LiveJob]]] = {}
    profiles = list(dict.fromkeys(job.profile for job in view.jobs))
    for job in view.jobs:
        by_target.setdefault(job.target, {}).setdefault(job.profile, []).append(job)
    if len(profiles) > MAX_COLUMNS:
        return _profile_list(view, profiles, most)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("target", no_wrap=True, max_width=28)
    for profile in profiles:
        table.add_column(Text(one_line(profile, 40)), no_wrap=True, max_width=22)
    shown = _most_active(by_target, most)
    for target in shown:
        row = by_target[target]
        table.add_row(Text(one_line(target, 60)), *(_cell(row.get(profile, [])) for profile in profiles))
    rest = [row for target, row in by_target.items() if target not in set(shown)]
    if rest:
        columns = [[job for row in rest for job in row.get(profile, [])] for profile in profiles]
        table.add_row(Text(f"… {len(rest)} more", style="dim"), *(_tally(jobs) for jobs in columns))
    return table


def _most_active(by_target: dict[str, dict[str, list[LiveJob]]], most: int) -> list[str]:
    """The targets that fit, those with running jobs first to be kept, shown in their own order."""
    targets = list(by_target)
    if len(targets) <= most:
        return targets
    active = {t for t in targets if any(j.state is JobState.RUNNING for jobs in by_target[t].values() for j in jobs)}
    kept = set(sorted(targets, key=lambda t: t not in active)[:most])
    return [target for target in targets if target in kept]


def _profile_list(view: LiveView, profiles: Sequence[str], most: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("profile", no_wrap=True, max_width=40)
    table.add_column("jobs")
    groups: dict[str, list[LiveJob]] = {}
    for job in view.jobs:
        groups.setdefault(job.profile, []).append(job)
    for profile in profiles[:most]:
        table.add_row(Text(one_line(profile, 60)), _tally(groups[profile]))
    if len(profiles) > most:
        rest = [job for profile in profiles[most:] for job in groups[profile]]
        table.add_row(Text(f"… {len(profiles) - most} more", style="dim"), _tally(rest))
    return table


def _cell(jobs: Sequence[LiveJob]) -> Text:
    if len(jobs) > MAX_REPEATS_SHOWN:
        return _tally(jobs)
    text = Text()
    for index, job in enumerate(sorted(jobs, key=lambda job: job.repeat)):
        found = sign_of(job)
        text.append(" " if index else "")
        text.append(f"{found.sign}{found.letter}", style=_STYLES[found.tone])
    return text or Text("–", style="dim")


def _tally(jobs: Sequence[LiveJob]) -> Text:
    text = Text()
    for found, count in sorted(Counter(sign_of(job) for job in jobs).items(), key=lambda item: -item[1]):
        text.append(" " if text else "")
        text.append(f"{found.sign}{found.letter}{count}", style=_STYLES[found.tone])
    return text or Text("–", style="dim")


def _running(jobs: Sequence[LiveJob], most: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.add_column("running", no_wrap=True, ratio=2, overflow="ellipsis")
    table.add_column("stage", no_wrap=True, max_width=18)
    for name in ("turns", "tokens", "context", "elapsed"):
        table.add_column(name, no_wrap=True, justify="left" if name == "context" else "right")
    ordered = sorted(jobs, key=lambda job: -(job.elapsed_seconds or 0.0))
    for job in ordered[:most]:
        table.add_row(
            Text(one_line(job.key, 120)),
            Text(job.place),
            "unknown" if job.turns is None else str(job.turns),
            tokens(job.tokens),
            Text(context_bar(job.context_fill), style=_fill_style(job.context_fill)),
            format_duration(job.elapsed_seconds),
        )
    if len(jobs) > most:
        table.add_row(Text(f"… {len(jobs) - most} more", style="dim"))
    return table


def _fill_style(fill: float | None) -> str:
    if fill is None or fill < 0.7:
        return ""
    return "yellow" if fill < 0.85 else "red"


def _waiting(view: LiveView) -> Text | None:
    """Why jobs wait, counted: one line per reason, the most frequent first."""
    reasons = Counter(one_line(job.waiting_reason, 120) for job in view.jobs if job.waiting_reason)
    if not reasons:
        return None
    lines = [f"waiting {count} × {reason}" for reason, count in reasons.most_common(4)]
    if len(reasons) > 4:
        lines.append(f"waiting for {len(reasons) - 4} other reasons")
    return Text("\n".join(lines), style="yellow")


def _resources(view: LiveView) -> Text:
    text = Text("slots in use  ", style="dim")
    for index, resource in enumerate(view.resources[:12]):
        capacity = "?" if resource.capacity is None else str(resource.capacity)
        note = f" ({one_line(resource.note, 60)})" if resource.note else ""
        text.append(" · " if index else "", style="dim")
        text.append(f"{resource.name} {resource.in_use}/{capacity}{note}", style="not dim")
    if len(view.resources) > 12:
        text.append(f" · {len(view.resources) - 12} more")
    return text


def _legend(view: LiveView) -> Text:
    text = Text(style="dim")
    seen = {sign_of(job): spaced(_word(job)) for job in view.jobs}
    if _UNSOLVED in seen:
        seen[_UNSOLVED] = "done, not solved"
    for index, (found, word) in enumerate(sorted(seen.items(), key=lambda item: item[1])):
        text.append("  " if index else "")
        text.append(f"{found.sign}{found.letter} {word}")
    return text
