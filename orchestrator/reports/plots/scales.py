"""Axes: from values to pixels, and the round values that are worth a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 7, 14, 30, 90, 365, 730, 1826)),
)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis, in pixels, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Linear: `low` is drawn at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """In pixels, to a tenth; the start where there is no range."""
        span = self.high - self.low
        return round(self.start + (self.end - self.start) * ((value - self.low) / span if span else 0.0), 1)


def nice_steps(most: float, target: int = 4) -> list[float]:
    """Round values from 0 up to at least `most`, about `target` of them; [0, 1] where there is nothing."""
    if not most > 0:
        return [0.0, 1.0]
    rough = most / target
    size = 10 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [step * index for index in range(ceil(most / step - 1e-9) + 1)]


def whole_steps(most: float, target: int = 4) -> list[float]:
    """As `nice_steps`, for things that are counted."""
    steps = nice_steps(most, target)
    return steps if all(step == round(step) for step in steps) else [float(at) for at in range(ceil(most) + 1)]


def share_ticks(scale: Scale, shares: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> tuple[Tick, ...]:
    """Shares (0-1) as percentages."""
    return tuple(Tick(at=scale(share), text=f"{100 * share:.0f} %") for share in shares)


def time_ticks(scale: Scale, target: int) -> tuple[Tick, ...]:
    """Moments (seconds since 1970) at round times of the UTC clock, at most about `target` of them."""
    span = max(scale.high - scale.low, 1.0)
    step = next((one for one in _TIME_STEPS if span / one <= target), _TIME_STEPS[-1])
    first = ceil(scale.low / step) * step
    form = "%H:%M:%S" if step < _MINUTE else "%H:%M" if step < _DAY else "%b %d" if step < _YEAR else "%Y-%m"
    moments = [first + step * index for index in range(int((scale.high - first) // step) + 1)]
    return tuple(Tick(at=scale(at), text=datetime.fromtimestamp(at, UTC).strftime(form)) for at in moments)


def moment_text(at: float) -> str:
    """A moment in words: `2026-03-04 22:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
