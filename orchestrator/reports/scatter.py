"""Geometry of the cost-quality picture: axes, points with intervals, the frontier, labels that do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.analysis.pareto import Point
from orchestrator.reports.plots.scales import Scale, Tick, nice_steps, share_ticks
from orchestrator.reports.words import money, one_line

_CHARACTER = 8.2  # mean advance of a digit or letter at 13 px, on the safe side
_LINE = 16.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point in pixels, the ends of its intervals (`low` to `high`, `cheap` to `dear`), and where its label is."""

    point: Point
    x: float
    y: float
    low: float
    high: float
    cheap: float
    dear: float
    label: str
    label_x: float
    label_y: float
    anchor: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Everything to draw. `steps` is the frontier as `x,y` pairs."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    steps: str


@dataclass(frozen=True)
class _Box:
    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: "_Box") -> float:
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height if width > 0 and height > 0 else 0.0


def scatter(points: Sequence[Point], width: float, height: float, names: Sequence[str]) -> Scatter:
    """Lay the points out in `width` x `height` pixels. `names` are the labels to draw, one per point.

    The cost axis is linear from 0, so that free and cheap stay comparable; the quality axis is always 0 to 100 %.
    """
    left, right, top, bottom = 54.0, width - 16, 14.0, height - 46
    dearest = max((_costs(point)[1] for point in points), default=0.0)
    steps = nice_steps(dearest) if dearest >= 1 else [0.0, 1e6]
    x_of = Scale(low=0.0, high=steps[-1], start=left, end=right)
    y_of = Scale(low=0.0, high=1.0, start=bottom, end=top)
    places = [(x_of(point.cost_usd_micros), y_of(point.rate)) for point in points]
    bars = [(y_of(point.interval.high), y_of(point.interval.low)) for point in points]
    spreads = [(x_of(low), x_of(high)) for low, high in map(_costs, points)]
    stairs = _stairs([place for place, point in zip(places, points, strict=True) if point.on_frontier], right)
    boxes = _place_labels(
        places, bars, spreads, stairs, [len(name) * _CHARACTER for name in names], (left, top, right, bottom)
    )
    marks = tuple(
        Mark(
            point=point,
            x=x,
            y=y,
            low=bar[1],
            high=bar[0],
            cheap=spread[0],
            dear=spread[1],
            label=name,
            label_x=box[0],
            label_y=box[1],
            anchor=box[2],
            title=_title(point),
        )
        for point, name, (x, y), bar, spread, box in zip(points, names, places, bars, spreads, boxes, strict=True)
    )
    return Scatter(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(Tick(at=x_of(step), text=money(step)) for step in steps),
        y_ticks=share_ticks(y_of),
        marks=marks,
        steps=" ".join(f"{x},{y}" for x, y in stairs),
    )


def _title(point: Point) -> str:
    low, high = point.interval
    rate = f"{100 * point.rate:.0f} % solved (95 % interval {100 * low:.0f} to {100 * high:.0f} %, n = {point.n})"
    cost = f"{money(point.cost_usd_micros)} a job"
    if point.cost_interval is not None:
        cost += f" ({money(point.cost_interval.low)} to {money(point.cost_interval.high)})"
    return f"{one_line(point.label)}: {rate}, {cost}"


def _costs(point: Point) -> tuple[float, float]:
    found = point.cost_interval
    return (found.low, found.high) if found is not None else (point.cost_usd_micros, point.cost_usd_micros)


def _stairs(corners: Sequence[tuple[float, float]], right: float) -> list[tuple[float, float]]:
    """The frontier as a staircase: each level holds until the next point, the last one to the right edge."""
    made: list[tuple[float, float]] = []
    for x, y in corners:
        if made:
            made.append((x, made[-1][1]))
        made.append((x, y))
    return [*made, (right, made[-1][1])] if made else []


def _place_labels(
    places: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
    spreads: Sequence[tuple[float, float]],
    stairs: Sequence[tuple[float, float]],
    widths: Sequence[float],
    frame: tuple[float, float, float, float],
) -> list[tuple[float, float, str]]:
    """Text positions (x, baseline, anchor): for each point the candidate that covers the least of what is drawn."""
    taken = [_Box(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    taken += [_Box(x - 2, high, x + 2, low) for (x, _), (high, low) in zip(places, bars, strict=True)]
    taken += [_Box(cheap, y - 2, dear, y + 2) for (_, y), (cheap, dear) in zip(places, spreads, strict=True)]
    for (x0, y0), (x1, y1) in pairwise(stairs):
        taken.append(_Box(min(x0, x1) - 2, min(y0, y1) - 2, max(x0, x1) + 2, max(y0, y1) + 2))
    made = []
    for (x, y), width in zip(places, widths, strict=True):
        best = min(_candidates(x, y, width), key=lambda found: _cost(found[3], taken, frame))
        taken.append(best[3])
        made.append((round(best[0], 1), round(best[1], 1), best[2]))
    return made


def _candidates(x: float, y: float, width: float) -> list[tuple[float, float, str, _Box]]:
    found = []
    for shift in (0, -13, 15, -22, 24, -36, 38, -52, 54):
        base = y + 4.5 + shift
        found.append((x + 11, base, "start", _Box(x + 9, base - 12, x + 11 + width, base + _LINE - 12)))
        found.append((x - 11, base, "end", _Box(x - 11 - width, base - 12, x - 9, base + _LINE - 12)))
    return found


def _cost(box: _Box, taken: Sequence[_Box], frame: tuple[float, float, float, float]) -> float:
    outside = max(0.0, frame[0] - box.x0) + max(0.0, box.x1 - frame[2])
    outside += max(0.0, frame[1] - box.y0) + max(0.0, box.y1 - frame[3])
    return 1000 * outside + sum(box.overlap(other) for other in taken)
