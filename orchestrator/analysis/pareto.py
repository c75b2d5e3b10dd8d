"""Cost against quality: which variants no other one beats on both. Unknown cost takes no part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.summary import VariantSummary


@dataclass(frozen=True, kw_only=True)
class Point:
    """A variant by mean list price of a result and solved rate (0-1), each with its interval where there is one."""

    label: str
    cost_usd_micros: float
    rate: float
    interval: Interval
    n: int
    on_frontier: bool
    cost_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Points in order of cost, and the labels of variants that cannot be placed, with the reason."""

    points: tuple[Point, ...]
    apart: tuple[tuple[str, str], ...]


def frontier(summaries: Sequence[VariantSummary], costs: Mapping[str, Interval] | None = None) -> Frontier:
    """Place every variant whose cost is fully known. On the frontier is one that solves something and that no other
    beats: nobody else is at most as expensive and at least as good, and better in one of the two. `costs` are the
    intervals of their means, by label."""
    placed = [entry for entry in summaries if _reason(entry) is None]
    pairs = [(_cost(entry), entry.rate or 0.0) for entry in placed]
    points = [
        Point(
            label=entry.label,
            cost_usd_micros=cost,
            rate=rate,
            interval=entry.interval,
            n=entry.results,
            on_frontier=rate > 0 and not any(_beats(other, (cost, rate)) for other in pairs),
            cost_interval=(costs or {}).get(entry.label),
        )
        for entry, (cost, rate) in zip(placed, pairs, strict=True)
    ]
    apart = [(entry.label, reason) for entry in summaries if (reason := _reason(entry))]
    return Frontier(
        points=tuple(sorted(points, key=lambda p: (p.cost_usd_micros, -p.rate, p.label))), apart=tuple(apart)
    )


def _reason(entry: VariantSummary) -> str | None:
    if not entry.results:
        return "no results yet"
    if not entry.cost_usd_micros.complete:
        return f"cost {entry.cost_usd_micros.coverage}"
    return None


def _cost(entry: VariantSummary) -> float:
    return entry.cost_usd_micros.mean or 0.0


def _beats(other: tuple[float, float], own: tuple[float, float]) -> bool:
    return other[0] <= own[0] and other[1] >= own[1] and other != own
