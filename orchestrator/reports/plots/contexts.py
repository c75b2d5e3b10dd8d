"""How contexts filled, one small picture for each profile: a line for each stage, compactions marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.analysis.course import ContextCurve
from orchestrator.reports.plots.scales import Scale, share_ticks, whole_steps
from orchestrator.reports.plots.svg import WIDE, both, joined, line, text, titled
from orchestrator.reports.words import one_line, share

# Curves in one picture: more of them are a tangle.
MAX_CURVES = 6
_COLUMNS = 3
_HEIGHT = 132.0


@dataclass(frozen=True, kw_only=True)
class NamedCurve:
    """A curve with what it is of: the label of its variant, and the job with the stage."""

    label: str
    name: str
    curve: ContextCurve


def contexts_picture(curves: Sequence[NamedCurve]) -> Markup | None:
    """None without curves of two turns or more."""
    panels: dict[str, list[NamedCurve]] = {}
    for one in curves:
        if len(one.curve.turns) > 1 and len(panels.setdefault(one.label, [])) < MAX_CURVES:
            panels[one.label].append(one)
    shown = [(label, those) for label, those in panels.items() if those]
    if not shown:
        return None
    count = sum(len(those) for _, those in shown)
    return both(
        "contexts",
        "How contexts filled, turn by turn",
        f"{count} stages, the fullest of each profile; a diamond is a compaction. The JSON report has the readings.",
        lambda width: _draw(shown, width),
    )


def _draw(panels: Sequence[tuple[str, list[NamedCurve]]], width: float) -> tuple[float, Markup]:
    columns = min(_COLUMNS, len(panels)) if width == WIDE else 1
    across, down = (width + 16) / columns, _HEIGHT + 48
    most = max(one.curve.turns[-1][0] for _, those in panels for one in those)
    drawn = [
        _panel(label, those, most, (index % columns) * across, (index // columns) * down, across - 16)
        for index, (label, those) in enumerate(panels)
    ]
    return down * (-(-len(panels) // columns)), joined(*drawn)


def _panel(label: str, curves: Sequence[NamedCurve], most: int, left: float, top: float, width: float) -> Markup:
    steps = whole_steps(float(most), 3)
    x = Scale(low=0.0, high=steps[-1], start=left + 48, end=left + width)
    y = Scale(low=0.0, high=1.0, start=top + _HEIGHT, end=top + 24)
    axis = [
        joined(
            line(x.start, tick.at, x.end, tick.at, "axis"),
            text(tick.text, x.start - 6, tick.at + 4, text_anchor="end"),
        )
        for tick in share_ticks(y, (0, 0.5, 1))
    ]
    turns = [
        text(f"{step:.0f}", x(step), top + _HEIGHT + 16, text_anchor="end" if step == steps[-1] else "middle")
        for step in steps
    ]
    turns.append(text("turns", (x(0.0) + x(steps[1])) / 2, top + _HEIGHT + 16, text_anchor="middle"))
    head = text(one_line(label, 40), left, top + 12, class_="head")
    return joined(head, *axis, *turns, *(_curve(one, x, y) for one in curves))


def _curve(one: NamedCurve, x: Scale, y: Scale) -> Markup:
    window = one.curve.window_tokens
    peak = max(tokens for _, tokens in one.curve.turns) / window
    points = " ".join(f"{x(turn)},{y(min(1.0, tokens / window))}" for turn, tokens in one.curve.turns)
    path = titled(
        "polyline", f"{one_line(one.name)}: at most {share(peak)} of the window", points=points, class_="fill"
    )
    filled = dict(one.curve.turns)
    marks = []
    for turn in one.curve.compactions:
        at = max((known for known in filled if known <= turn), default=one.curve.turns[0][0])
        place = (x(at), y(min(1.0, filled[at] / window)))
        marks.append(titled("path", f"compacted after turn {turn}", d=_diamond(*place), class_="compacted"))
    return joined(path, *marks)


def _diamond(x: float, y: float) -> str:
    return f"M{x},{y - 5:.1f} l5,5 l-5,5 l-5,-5 z"
