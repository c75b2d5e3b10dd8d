"""From values to HTML: every text from the database is escaped and made harmless on its way."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment

from orchestrator.domain.order import is_resource
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.domain.window import WHOLE
from orchestrator.domain.zones import Zone
from orchestrator.reports import words
from orchestrator.reports.eta import Eta, eta_text
from orchestrator.reports.symbols import Symbol, symbol
from orchestrator.reports.templating import page_environment
from orchestrator.storage.grid import Listed
from orchestrator.storage.ledger import moment
from orchestrator.web.board import GridJob, View
from orchestrator.web.fleet import FleetView
from orchestrator.web.job import JobView

MOST_RUNNING, MOST_REASONS, MOST_WAITING = 30, 8, 12
# A browser lays so many cells out without a pause; more of them come in pages of whole targets.
MOST_CELLS = 12_000
# Cells side by side from which the matrix gets the whole width.
_WIDE_CELLS = 14
# Longer than the end of a transcript that is read.
_TAIL_CHARS = 20_000
_TONES = ("good", "bad", "warn", "busy", "quiet")
_ZONES = {Zone.GREEN: "good", Zone.YELLOW: "warn", Zone.ORANGE: "warn", Zone.RED: "bad"}


@cache
def environment() -> Environment:
    """The templates with their filters."""
    made = page_environment("orchestrator.web")
    made.filters |= {
        "tail": lambda text: words.foreign_text(text, _TAIL_CHARS),
        "count": lambda number: f"{number:,}",
        "clock": lambda at: f"{at:%H:%M:%S}",
        "moment": lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
    }
    return made


def page(name: str, **values: object) -> str:
    """A whole document."""
    return environment().get_template(f"{name}.html.j2").render(values)


def _part(name: str, *values: object) -> str:
    return str(getattr(environment().get_template("sections.html.j2").module, name)(*values)).strip()


class _Group(NamedTuple):
    """Jobs that wait for the same reason."""

    id: str
    reason: str
    size: int
    jobs: Sequence[GridJob]


class _Gauge(NamedTuple):
    """A quota window; `share` 0-1 or more, None is unknown."""

    account: str
    window: str
    share: float | None
    at_least: bool
    zone: str
    tone: str
    resets: str


class Grid(NamedTuple):
    """The part of a matrix that one page shows: by target, the jobs of each column."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Sequence[GridJob]]]]
    page: int
    pages: int
    wide: bool


def experiment_sections(view: View, fleet: FleetView, eta: Eta | None) -> dict[str, str]:
    """Everything around the matrix."""
    counts = view.counts
    run = [(one, view.jobs[one.job_id]) for one in view.running if one.job_id in view.jobs]
    rows = [
        (one, job, (view.at - one.started_at).total_seconds(), _share(one.context_tokens, one.context_window))
        for one, job in run[:MOST_RUNNING]
    ]
    groups, others = _waiting(view)
    to_go = eta_text(eta, counts[JobState.BLOCKED]) if eta else ""
    return {
        "summary": _part("summary", view, counted(counts), tones(counts), to_go),
        "running": _part("running", rows, len(run) - len(rows)),
        "waiting": _part("waiting", groups, others),
        "fleet": fleet_section(fleet, view.at),
    }


def spoken(view: View) -> str:
    """The summary in one sentence, for those who listen."""
    counts = ", ".join(f"{count} {words.spaced(word)}" for word, count, _ in counted(view.counts))
    return f"{view.final} of {len(view.jobs)} jobs ended: {counts}"


def list_sections(rows: Iterable[Listed], fleet: FleetView, now: datetime) -> dict[str, str]:
    """The list of experiments, and the fleet."""
    shown = []
    for row in rows:
        counts = Counter({state.value: count for state, count in row.counts.items()})
        final = sum(count for state, count in row.counts.items() if state in FINAL_JOB_STATES)
        shown.append(
            {"name": row.name, "submitted_at": row.submitted_at, "total": counts.total(), "final": final}
            | {"counts": counted(counts), "tones": tones(counts)}
        )
    return {"experiments": _part("experiments", shown), "fleet": fleet_section(fleet, now)}


def job_sections(view: JobView, *, shown: bool) -> dict[str, str]:
    """One job's page. `shown`: with what agents wrote."""
    path = f"/jobs/{view.facts.job_id}"
    toggle = path if shown else f"{path}?agent-text=shown"
    return {
        "head": _part("job_head", view, symbol(view.word)),
        "stages": _part("job_stages", view, shown),
        "guards": _part("job_guards", view),
        "checks": _part("job_checks", view),
        "attempts": _part("job_attempts", view),
        "transcript": _part("job_transcript", view, shown, toggle),
        "events": _part("job_events", view, shown, toggle),
    }


def fleet_section(fleet: FleetView, now: datetime) -> str:
    """Quota, slots, what is stopped, and workers."""
    resources = [(name, slot) for name, slot in sorted(fleet.slots.items()) if is_resource(name)]
    return _part("fleet", fleet, list(_gauges(fleet, now)), resources)


def matrix(view: View, number: int) -> Grid:
    """The page of the matrix with this number, from 1; a number that is not there is the nearest that is."""
    columns = list(dict.fromkeys(job.profile for job in view.jobs.values()))
    by_target: dict[str, dict[str, list[GridJob]]] = {}
    for job in view.jobs.values():
        by_target.setdefault(job.target, {}).setdefault(job.profile, []).append(job)
    side_by_side = max(1, -(-len(view.jobs) // max(1, len(by_target))))
    most = max(1, MOST_CELLS // side_by_side)
    pages = max(1, -(-len(by_target) // most))
    number = min(max(1, number), pages)
    rows = [
        (target, [sorted(row.get(column, ()), key=lambda job: job.repeat) for column in columns])
        for target, row in list(by_target.items())[(number - 1) * most : number * most]
    ]
    return Grid(columns, rows, number, pages, side_by_side > _WIDE_CELLS)


def signs(view: View) -> dict[str, Symbol]:
    """The symbol of every word on the page."""
    return {word: symbol(word) for word in view.counts}


def counted(counts: Mapping[str, int]) -> list[tuple[str, int, Symbol]]:
    """Words with their counts, ends first, good ones before bad ones."""
    known = [(word, count, symbol(word)) for word, count in counts.items() if count]
    return sorted(known, key=lambda one: (_TONES.index(one[2].tone), -one[1], one[0]))


def tones(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """How many jobs have which tone, in the order of the bar."""
    found: Counter[str] = Counter()
    for word, count in counts.items():
        found[symbol(word).tone] += count
    return [(tone, found[tone]) for tone in _TONES if found[tone]]


def _waiting(view: View) -> tuple[list[_Group], int]:
    by_reason: dict[str, list[GridJob]] = {}
    for job_id, reason in view.waits.items():
        by_reason.setdefault(reason, []).append(view.jobs[job_id])
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    groups = [
        _Group(f"{index}", reason, len(found), found[:MOST_WAITING])
        for index, (reason, found) in enumerate(ordered[:MOST_REASONS])
    ]
    return groups, sum(len(found) for _, found in ordered[MOST_REASONS:])


def _gauges(fleet: FleetView, now: datetime) -> Iterable[_Gauge]:
    for account in fleet.quotas:
        for state in account.windows:
            stands = state.standing
            yield _Gauge(
                account=account.account,
                window=state.spec.name + (f" ({state.spec.model})" if state.spec.model else ""),
                share=None if stands.used_ppm is None else stands.used_ppm / WHOLE,
                at_least=stands.at_least,
                zone=state.zone or "",
                tone=_ZONES[state.zone] if state.zone else "busy",
                resets=_resets(state.spec.kind == "rolling", stands, now),
            )


def _resets(rolling: bool, stands: Any, now: datetime) -> str:
    at = moment(stands.resets_at)
    if at is None:
        told = "rolling" if rolling else "reset unknown"
    else:
        told = f"resets {at:%H:%M}" if at.date() == now.date() else f"resets {at:%Y-%m-%d %H:%M}"
    if stands.lasts:
        return f"{told}, lasts until then"
    gone = moment(stands.exhausted_at)
    # What is used up already needs no foretelling.
    return told if gone is None or gone <= now else f"{told}, at this rate used up at {gone:%H:%M}"


def _share(count: int | None, whole: int | None) -> float | None:
    return count / whole if count is not None and whole else None
