"""What a plan is expected to take and when it would end, in words and as JSON values."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.analysis.bottleneck import Bottleneck
from orchestrator.analysis.estimate import LEAST_RUNS, Estimate
from orchestrator.analysis.forecast import Deadline, Forecast, Span, WindowOutlook
from orchestrator.analysis.totals import Total
from orchestrator.domain.window import WHOLE
from orchestrator.reports.words import UNKNOWN, duration, money, share, tokens
from orchestrator.scheduling.estimates import JobEstimates, PlanEstimates
from orchestrator.storage.outlook import WindowNow

Form = Callable[[float | None], str]
# Cells, and jobs that are not done in time; --json has all of them.
_MOST_ROWS, _MOST_LATE = 60, 10
# Beyond this nothing is a date any more.
_LONGEST_SECONDS = 10 * 365 * 86400.0


def _ppm(value: float | None) -> str:
    return UNKNOWN if value is None else share(value / WHOLE)


def estimate_table(found: PlanEstimates) -> Table:
    """One row per cell: what one job of it is expected to take, and by which runs."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    cells: dict[str, tuple[int, JobEstimates]] = {}
    for job, one in found.jobs:
        cells[job.cell.key] = cells.get(job.cell.key, (0, one))[0] + 1, one
    rows = [(key, str(count), *_cells(one)) for key, (count, one) in list(cells.items())[:_MOST_ROWS]]
    for name in ("cell", "jobs", "time", "tokens", "money", "quota", "from"):
        table.add_column(name, overflow="fold")  # nothing is cut: half a number is a wrong one
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _cells(one: JobEstimates) -> tuple[str, ...]:
    quota = [f"{name} {_one(found, _ppm, None)}" for (_, name), found in one.shares.items()]
    return (
        _one(one.seconds, duration, one.most_seconds),
        _one(one.tokens, tokens, one.most_tokens),
        _one(one.cost_usd_micros, money, one.most_usd_micros),
        "\n".join(quota) or "–",
        "no history" if one.seconds is None else f"{one.seconds.runs} × {one.seconds.source.value}",
    )


def _one(found: Estimate | None, form: Form, most: float | None) -> str:
    if found is None:
        return UNKNOWN if most is None else f"{UNKNOWN} (≤ {form(most)})"
    if found.low is None or found.high is None:
        return f"{form(found.mean)} [spread unknown]"
    return f"{form(found.mean)} [{form(found.low)}–{form(found.high)}]"


def sum_lines(found: PlanEstimates) -> Iterator[str]:
    """The sums over all jobs that are still to run."""
    if not found.jobs:
        return
    if not found.runs:
        yield (
            f"expected of {len(found.jobs)} jobs: time, tokens and list price are unknown; no run has ended with a "
            f"result yet, and estimates need {LEAST_RUNS} like it"
        )
        return
    yield (
        f"expected of {len(found.jobs)} jobs: {_sum(found.seconds, duration)} of work, "
        f"{_sum(found.tokens, tokens)} tokens, {_sum(found.cost_usd_micros, money)} at list price"
    )
    for (account, window), whole in found.shares.items():
        yield f"of window {window} of account {account}: {_sum(whole, _ppm)}"


def _sum(whole: Total, form: Form) -> str:
    if whole.mean is None:
        return UNKNOWN
    if not whole.complete:
        return f"≥ {form(whole.mean)} ({whole.known}/{whole.of})"
    if whole.low is None:
        return f"{form(whole.mean)} [spread unknown]"
    return f"{form(whole.mean)} [{form(whole.low)}–{form(whole.high)}]"


def outlook_lines(found: Forecast, windows: Sequence[WindowNow], now: datetime) -> Iterator[str]:
    """When it ends, whether that is in time, what it waits for, and what is not foretold."""
    if not found.of:
        return
    yield f"begun now, {_ends(found, now)}"
    if found.deadline is not None:
        yield from _deadline(found, found.deadline, now)
    if found.bottleneck is not None and found.known:
        yield f"bottleneck: {_bottleneck(found.bottleneck)}"
    for outlook in found.windows:
        yield f"window {outlook.name} of {outlook.gate}: {_window(outlook)}"
    for window in windows:
        if window.implied:
            yield (
                f"note: nobody told the limit of window {window.spec.name} of account {window.account}; it is taken "
                f"as {tokens(window.spec.tokens)} tokens, from what was used and the percentage that was stated"
            )
    if found.never:
        yield f"note: {len(found.never)} jobs never start: what they need has no slot, or a window never lets them in"


def _window(outlook: WindowOutlook) -> str:
    if not outlook.known:
        return "what jobs take of it is unknown"
    waits = f", jobs wait {duration(outlook.held_seconds)} for it" if outlook.held_seconds >= 1 else ""
    low, middle, high = (share(part) for part in outlook.peak)
    return f"{middle} full at the most [{low}–{high}]{waits}"


def _ends(found: Forecast, now: datetime) -> str:
    if found.ends is None:
        latest = found.latest.high if found.latest else None
        return f"the end is unknown: nothing is known of how long jobs take; {_at_latest(latest, now)}"
    if not found.complete:
        missing = f"{found.of - found.known} of {found.of} durations are unknown"
        latest = found.latest.high if found.latest else None
        return f"this ends at {_at(found.ends.middle, now)} UTC or later: {missing}; {_at_latest(latest, now)}"
    if not found.ranged:
        why = (
            "how far that may be off is unknown"
            if found.sure < found.of
            else "too many jobs for a range, --by makes one"
        )
        return f"this ends at about {_at(found.ends.middle, now)} UTC; {why}"
    span = f"between {_at(found.ends.low, now)} and {_at(found.ends.high, now)} UTC"
    return f"this ends at {_at(found.ends.middle, now)}, in 8 of 10 simulated nights {span}"


def _at_latest(seconds: float | None, now: datetime) -> str:
    if seconds is None or seconds > _LONGEST_SECONDS:
        return "no limit says when at the latest"
    return f"by the jobs' own limits at {_at(seconds, now)} UTC at the latest"


def _at(seconds: float, now: datetime) -> str:
    if seconds > _LONGEST_SECONDS:
        return "a moment more than ten years away"
    moment = now + timedelta(seconds=seconds)
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def _deadline(found: Forecast, deadline: Deadline, now: datetime) -> Iterator[str]:
    moment = f"{now + timedelta(seconds=deadline.seconds):%Y-%m-%d %H:%M} UTC"
    yield f"by {moment}: {verdict(found, deadline)}"
    if deadline.late and found.known:
        names = ", ".join(label for label, _ in deadline.late[:_MOST_LATE])
        more = f" and {len(deadline.late) - _MOST_LATE} more" if len(deadline.late) > _MOST_LATE else ""
        jobs = "1 job" if len(deadline.late) == 1 else f"{len(deadline.late)} jobs"
        yield f"not done by then in most nights: {jobs}: {names}{more}"


def verdict(found: Forecast, deadline: Deadline) -> str:
    """`yes`, `no`, `perhaps`, each with its chance, or why it cannot be told."""
    chance = deadline.chance
    if chance is None:
        return f"cannot be told: {_why_not(found, deadline.most)}"
    if not found.known and chance == 1 and found.latest and found.latest.high <= deadline.seconds:
        return "yes, because the jobs' own limits end them by then"
    if chance > 0.95:
        return f"yes, in {share(min(chance, 0.999))} of {found.nights} simulated nights"
    if chance < 0.05:
        return f"no, in {share(max(chance, 0.001))} of {found.nights} simulated nights"
    return f"perhaps, in {share(chance)} of {found.nights} simulated nights"


def _why_not(found: Forecast, most: float) -> str:
    if found.known < found.of:
        return f"nothing is known of how long {found.of - found.known} of {found.of} jobs take"
    if found.sure < found.of:
        return f"of {found.of - found.sure} of {found.of} jobs too few others were seen to know how much they differ"
    blind = [f"{one.name} of {one.gate}" for one in found.windows if not one.known]
    nights = f"if that suffices, in {share(min(most, 0.999))} of {found.nights} simulated nights"
    return f"nobody knows what jobs take of window {', '.join(blind)}; {nights}"


def _bottleneck(found: Bottleneck) -> str:
    if found.kind == "window":
        return f"window {found.name} of {found.gate}, for which jobs wait {share(found.share)} of the time"
    if found.kind == "job":
        return f"the job {found.name} alone, which runs {share(found.share)} of the time"
    return f"{found.name}, whose slots are busy {share(found.share)} of the time"


def estimate_json(one: Estimate | None) -> dict[str, Any] | None:
    """Null when nothing is known."""
    if one is None:
        return None
    return {
        "mean": one.mean,
        "median": one.middle,
        "low": one.low,
        "high": one.high,
        "source": one.source.name.lower(),
        "runs": one.runs,
    }


def job_json(one: JobEstimates) -> dict[str, Any]:
    """What one job is expected to take."""
    return {
        "seconds": estimate_json(one.seconds),
        "tokens": estimate_json(one.tokens),
        "cost_usd_micros": estimate_json(one.cost_usd_micros),
        "window_share_ppm": {
            f"{account}/{name}": estimate_json(found) for (account, name), found in one.shares.items()
        },
        "at_most": {"seconds": one.most_seconds, "tokens": one.most_tokens, "cost_usd_micros": one.most_usd_micros},
    }


def sums_json(found: PlanEstimates) -> dict[str, Any]:
    """The sums; each is a lower bound where fewer are known than there are."""
    return {
        "jobs": len(found.jobs),
        "history_runs": found.runs,
        "seconds": vars(found.seconds),
        "tokens": vars(found.tokens),
        "cost_usd_micros": vars(found.cost_usd_micros),
        "window_share_ppm": {f"{account}/{name}": vars(whole) for (account, name), whole in found.shares.items()},
    }


def outlook_json(found: Forecast, windows: Sequence[WindowNow], now: datetime) -> dict[str, Any]:
    """The forecast, with moments in place of seconds."""
    deadline = found.deadline
    return {
        "simulated_nights": found.nights,
        "jobs": found.of,
        "known_durations": found.known,
        "known_spreads": found.sure,
        "ends_at": _moments(found.ends, now),
        "ends_at_is_lower_bound": not found.complete,
        "ends_at_if_unknown_take_their_limit": _moments(found.latest, now),
        "bottleneck": vars(found.bottleneck) if found.bottleneck and found.known else None,
        "windows": [vars(one) | {"peak": one.peak._asdict()} for one in found.windows],
        "implied_token_limits": {f"{one.account}/{one.spec.name}": one.spec.tokens for one in windows if one.implied},
        "never_start": list(found.never),
        "deadline": None
        if deadline is None
        else {
            "at": now + timedelta(seconds=deadline.seconds),
            "chance": deadline.chance,
            "chance_at_least": deadline.least,
            "chance_at_most": deadline.most,
            "answer": verdict(found, deadline),
            "not_done": [{"job": label, "chance_late": late} for label, late in deadline.late]
            if found.known
            else None,
        },
    }


def _moments(span: Span | None, now: datetime) -> dict[str, datetime | None] | None:
    if span is None:
        return None
    # A job without any limit may take for ever, which is no date.
    return {
        name: now + timedelta(seconds=seconds) if seconds < _LONGEST_SECONDS else None
        for name, seconds in span._asdict().items()
    }
