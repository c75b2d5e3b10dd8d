"""The night as a picture: what all jobs did at each moment, and below it every slot of every machine and account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.analysis.lanes import Held, Lanes, Night
from orchestrator.reports.plots.scales import Scale, Tick, moment_text, time_ticks, whole_steps
from orchestrator.reports.plots.svg import WIDE, both, hatches, joined, line, tag, text, titled
from orchestrator.reports.words import duration, one_line

_LANE, _GAP, _HEAD = 12.0, 2.0, 22.0
_FLOW = 96.0
_LEFT, _RIGHT = 34.0, 8.0
# Resources that are drawn; the rest is counted.
MAX_RESOURCES = 16


@dataclass(frozen=True, kw_only=True)
class JobMark:
    """How a job is shown: its label, the word of its end, and the tone of that."""

    label: str
    word: str
    tone: str


def night_picture(night: Night, marks: Mapping[int, JobMark]) -> Markup:
    """`marks` by job; a job without one is drawn as one that goes on."""
    shown = night.resources[:MAX_RESOURCES]
    more = len(night.resources) - len(shown)
    return both(
        "night",
        "What ran where and when",
        f"From {moment_text(night.began)} to {moment_text(night.ended)}: jobs waiting, parked and working, then one "
        f"line for each slot of {', '.join(_named(one.resource) for one in shown)}"
        f"{f' ({more} more are left out)' if more else ''}. "
        "The table below has the sums, the JSON report every attempt.",
        lambda width: _draw(night, shown, marks, width),
    )


def _draw(
    night: Night, resources: Sequence[Lanes], marks: Mapping[int, JobMark], width: float
) -> tuple[float, Markup]:
    kind = "wide" if width == WIDE else "narrow"
    scale = Scale(low=night.began, high=night.ended, start=_LEFT, end=width - _RIGHT)
    ticks = time_ticks(scale, 12 if width == WIDE else 4)
    top = 28.0
    parts = [hatches(f"night-{kind}"), text("jobs", 0, 12, class_="head"), _flow(night, scale, top)]
    top += _FLOW + 12
    for one in resources:
        parts.append(text(_heading(one), 0, top + 14, class_="head"))
        top += _HEAD
        body, height = _resource(one, scale, top, marks, f"night-{kind}")
        parts.append(body)
        top += height + 8
    grid = [line(tick.at, 28, tick.at, top, "axis") for tick in ticks]
    texts = [text(tick.text, tick.at, top + 16, text_anchor=_anchor(tick, width)) for tick in ticks]
    foot = text(f"UTC, from {moment_text(night.began)[:-4]}", width - _RIGHT, top + 34, text_anchor="end")
    return top + 42, joined(*grid, *parts, *texts, foot)


def _anchor(tick: Tick, width: float) -> str:
    return "end" if tick.at > width - 30 else "middle"


def _named(resource: str) -> str:
    return one_line(resource.replace(":", " ", 1), 60)


def _heading(one: Lanes) -> str:
    if one.busy:
        return f"{_named(one.resource)}: slots busy ({one.spans:,} spans)"
    return f"{_named(one.resource)} · {len(one.lanes)} slot{'s' * (len(one.lanes) != 1)}"


def _flow(night: Night, scale: Scale, top: float) -> Markup:
    """Working at the bottom, parked and waiting on top of it."""
    layers = (("working", night.flow.working), ("parked", night.flow.parked), ("waiting", night.flow.waiting))
    most = max(map(sum, zip(*(values for _, values in layers), strict=True)), default=0.0)
    steps = whole_steps(max(most, 1.0), 3)
    height = Scale(low=0.0, high=steps[-1], start=top + _FLOW, end=top)
    base = [0.0] * len(night.flow.working)
    areas = []
    for name, values in layers:
        upper = [one + more for one, more in zip(base, values, strict=True)]
        areas.append(titled("polygon", f"jobs {name}", points=_band(base, upper, scale, height), class_=f"a-{name}"))
        base = upper
    axis = [
        joined(
            line(scale.start, height(step), scale.end, height(step), "axis"),
            text(f"{step:,.0f}", scale.start - 6, height(step) + 4, text_anchor="end"),
        )
        for step in steps
    ]
    return joined(*axis, *areas)


def _band(lower: Sequence[float], upper: Sequence[float], scale: Scale, height: Scale) -> str:
    """A band of steps between two levels."""
    width = (scale.end - scale.start) / max(1, len(upper))
    edge = [round(scale.start + width * index, 1) for index in range(len(upper) + 1)]
    there = [f"{edge[at + side]},{height(value)}" for at, value in enumerate(upper) for side in (0, 1)]
    back = [f"{edge[at + side]},{height(value)}" for at, value in enumerate(lower) for side in (0, 1)]
    return " ".join([*there, *reversed(back)])


def _resource(one: Lanes, scale: Scale, top: float, marks: Mapping[int, JobMark], key: str) -> tuple[Markup, float]:
    if one.busy:
        steps = whole_steps(max(*one.busy, 1.0), 2)
        height = Scale(low=0.0, high=steps[-1], start=top + 40, end=top)
        zero = [0.0] * len(one.busy)
        area = tag("polygon", points=_band(zero, one.busy, scale, height), class_="a-working")
        most = text(f"{steps[-1]:,.0f}", scale.start - 6, top + 8, text_anchor="end")
        return joined(line(scale.start, top, scale.end, top, "axis"), area, most), 40
    drawn = [
        _span(span, scale, top + index * (_LANE + _GAP), marks.get(span.job_id), key)
        for index, lane in enumerate(one.lanes)
        for span in lane
    ]
    return joined(*drawn), len(one.lanes) * (_LANE + _GAP)


def _span(span: Held, scale: Scale, top: float, mark: JobMark | None, key: str) -> Markup:
    """The part that waited for a limit is drawn at the end: when exactly it waited is not kept."""
    start, end = scale(span.start), max(scale(span.end), scale(span.start) + 1)
    tone = mark.tone if mark else "busy"
    label = f"{one_line(mark.label)}, {mark.word}" if mark else f"job {span.job_id}"
    waits = f", {duration(span.waited)} of it waiting for a limit" if span.waited >= 1 else ""
    said = f"{label}: {one_line(span.what)}, {duration(span.end - span.start)}{waits}"
    fill = f"url(#{key}-{tone})" if tone in ("bad", "warn") else None
    body = titled(
        "rect",
        said,
        x=start,
        y=top,
        width=end - start,
        height=_LANE,
        class_="span" if fill else f"span f-{tone}",
        fill=fill,
    )
    waited = min(1.0, span.waited / (span.end - span.start)) * (end - start) if span.end > span.start else 0.0
    if waited < 1:
        return body
    wait = tag("rect", x=end - waited, y=top, width=waited, height=_LANE, class_="span", fill=f"url(#{key}-wait)")
    return joined(body, wait)
