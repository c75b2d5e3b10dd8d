"""Paired differences with their intervals, one row for each pair: filled where the data tell the two apart."""

from collections.abc import Sequence

from markupsafe import Markup

from orchestrator.analysis.paired import Pair
from orchestrator.reports.plots.scales import Scale
from orchestrator.reports.plots.svg import WIDE, both, joined, line, text, titled
from orchestrator.reports.words import one_line

# More rows nobody reads; the table and the JSON report have all of them.
MAX_PAIRS = 40
_ROW, _TOP = 30.0, 26.0
_NAME_WIDTH = 250.0
_CHARACTERS = 34


def shown_pairs(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs that were judged, in their order, those that are told apart first where not all have room."""
    judged = [pair for pair in pairs if pair.difference is not None]
    if len(judged) > MAX_PAIRS:
        judged = sorted(judged, key=lambda pair: not pair.apart)[:MAX_PAIRS]
    return tuple(judged)


def forest(pairs: Sequence[Pair]) -> Markup | None:
    """None when no pair could be judged."""
    shown = shown_pairs(pairs)
    if not shown:
        return None
    apart = sum(pair.apart for pair in shown)
    return both(
        "forest",
        "Differences between profiles, two by two",
        f"{len(shown)} pairs with the 95 % interval of their difference; {apart} are told apart after Holm's "
        "correction. The table below has every number.",
        lambda width: _draw(shown, width),
    )


def _draw(pairs: Sequence[Pair], width: float) -> tuple[float, Markup]:
    wide = width == WIDE
    # On a phone each name has a line of its own above its interval.
    row = _ROW if wide else _ROW + 18
    left = _NAME_WIDTH + 20 if wide else 8.0
    bottom = _TOP + row * len(pairs)
    reach = _reach(pairs)
    scale = Scale(low=-reach, high=reach, start=left, end=width - 14)
    ticks = (-reach, -reach / 2, 0.0, reach / 2, reach)
    axis = [
        joined(
            line(scale(at), _TOP - 8, scale(at), bottom, "zero" if at == 0 else "axis"),
            text(_points(at), scale(at), bottom + 17, text_anchor=_anchor(at, reach)),
        )
        for at in ticks
    ]
    heads = joined(text("← second is better", left, 12), text("first is better →", width - 14, 12, text_anchor="end"))
    rows = [_row(pair, scale, _TOP + row * index, row, wide) for index, pair in enumerate(pairs)]
    foot = text("difference in solved share, percentage points", width - 14, bottom + 36, text_anchor="end")
    return bottom + 44, joined(heads, *axis, *rows, foot)


def _row(pair: Pair, scale: Scale, top: float, row: float, wide: bool) -> Markup:
    assert pair.difference is not None
    middle = top + row - _ROW / 2 if not wide else top + row / 2
    name = f"{_short(pair.first)} – {_short(pair.second)}"
    label = text(
        name,
        _NAME_WIDTH if wide else scale.start,
        middle + 4.5 if wide else middle - 13,
        text_anchor="end" if wide else "start",
        class_="label" if pair.apart else None,
    )
    low, high = pair.interval or (pair.difference, pair.difference)
    at = scale(pair.difference)
    mark = titled("circle", _said(pair), cx=at, cy=middle, r=5.5, class_="dot on" if pair.apart else "dot")
    ends = [line(scale(end), middle - 4, scale(end), middle + 4, "whisker") for end in (low, high)]
    return joined(label, line(scale(low), middle, scale(high), middle, "whisker"), *ends, mark)


def _short(name: str) -> str:
    return one_line(name, _CHARACTERS // 2 - 1) if len(name) <= _CHARACTERS // 2 else f"{one_line(name)[:15]}…"


def _said(pair: Pair) -> str:
    low, high = pair.interval or (0.0, 0.0)
    verdict = "told apart" if pair.apart else "not told apart"
    chance = f", corrected p = {pair.p_corrected:.3g}" if pair.p_corrected is not None else ""
    return (
        f"{one_line(pair.first)} – {one_line(pair.second)}: {_points(pair.difference or 0.0)} points "
        f"({_points(low)} to {_points(high)}) on {pair.targets} targets{chance}: {verdict}"
    )


def _reach(pairs: Sequence[Pair]) -> float:
    most = max(max(abs(end) for end in (pair.interval or (pair.difference or 0.0,))) for pair in pairs)
    return next((step for step in (0.1, 0.2, 0.4, 0.6, 0.8) if most <= step), 1.0)


def _points(share: float) -> str:
    value = round(100 * share)
    return f"+{value}" if value > 0 else f"−{-value}" if value < 0 else "0"


def _anchor(at: float, reach: float) -> str:
    return "start" if at == -reach else "end" if at == reach else "middle"
