"""Quota windows over the night, one picture for each: use, the line that is not to be crossed, and the resets."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from orchestrator.analysis.course import WindowCourse, WindowPoint
from orchestrator.reports.plots.scales import Scale, moment_text, share_ticks, time_ticks
from orchestrator.reports.plots.svg import WIDE, both, joined, line, tag, text, titled
from orchestrator.reports.words import one_line, share

MAX_WINDOWS = 12
_WHOLE = 1_000_000


def known(course: WindowCourse) -> tuple[WindowPoint, ...]:
    """The points at which the use is known."""
    return tuple(point for point in course.points if point.used_ppm is not None)


def window_sentence(course: WindowCourse) -> str:
    """The same in words: first, highest and last use, and the resets that came."""
    points = known(course)
    name = f"{one_line(course.account, 60)}, window {one_line(course.window, 60)}"
    if not points:
        return f"{name}: its use is unknown: no provider stated it and the fleet file gives no limit."
    values = [_share(point) for point in points]
    resets = f", {len(course.resets)} reset{'s' * (len(course.resets) != 1)}" if course.resets else ""
    gaps = (
        f"; unknown {100 * (1 - len(points) / len(course.points)):.0f} % of the time"
        if len(points) < len(course.points)
        else ""
    )
    return f"{name}: from {share(values[0])} to {share(values[-1])}, at most {share(max(values))}{resets}{gaps}."


def window_picture(course: WindowCourse, index: int) -> Markup | None:
    """None where fewer than two points are known: a line needs two."""
    if len(known(course)) < 2:
        return None
    name = f"Use of window {one_line(course.window, 60)} of account {one_line(course.account, 60)}"
    return both(f"window-{index}", name, window_sentence(course), lambda width: _draw(course, width))


def _share(point: WindowPoint) -> float:
    return (point.used_ppm or 0) / _WHOLE


def _draw(course: WindowCourse, width: float) -> tuple[float, Markup]:
    bottom = 150.0
    first, last = course.points[0].at.timestamp(), course.points[-1].at.timestamp()
    x = Scale(low=first, high=last, start=48, end=width - 10)
    ceiling = course.ceiling_ppm / _WHOLE
    most = max(1.0, *(_share(point) for point in known(course)))
    y = Scale(low=0.0, high=most, start=bottom, end=12)
    axis = [
        joined(line(x.start, tick.at, x.end, tick.at, "axis"), text(tick.text, 40, tick.at + 4, text_anchor="end"))
        for tick in share_ticks(y, (0, 0.5, 1))
    ]
    times = [
        text(tick.text, tick.at, bottom + 18, text_anchor="end" if tick.at > width - 30 else "middle")
        for tick in time_ticks(x, 12 if width == WIDE else 4)
    ]
    lines = [tag("polyline", points=points, class_="use") for points in _runs(course.points, x, y)]
    resets = [
        joined(
            titled(
                "line",
                f"reset at {moment_text(at.timestamp())}",
                x1=x(at.timestamp()),
                x2=x(at.timestamp()),
                y1=12,
                y2=bottom,
                class_="reset",
            ),
            text("reset", x(at.timestamp()) + 4, 22) if len(course.resets) <= 6 else "",
        )
        for at in course.resets
    ]
    limit = joined(
        line(x.start, y(ceiling), x.end, y(ceiling), "limit"),
        text(
            "limit" if ceiling == 1 else f"{100 * ceiling:.0f} %, the rest is for people",
            x.end,
            y(ceiling) + 14,
            text_anchor="end",
            class_="limit-text",
        ),
    )
    return bottom + 26, joined(*axis, *times, *resets, limit, *lines)


def _runs(points: Sequence[WindowPoint], x: Scale, y: Scale) -> Iterator[str]:
    """Lines between gaps: where the use is unknown nothing is drawn."""
    run: list[str] = []
    for point in [*points, None]:
        if point is None or point.used_ppm is None:
            if run:
                yield " ".join(run if len(run) > 1 else [*run, run[0]])
            run = []
        else:
            run.append(f"{x(point.at.timestamp())},{y(_share(point))}")
