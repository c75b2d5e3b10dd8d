"""When a window was foretold to be used up, against when that came: what the projections of `window` are worth.

A window that defers new work never gets full, so a projection is held against the moment at which the fleet had to
stop, and against the use that it had then. Moments are seconds since 1970, shares whole parts per million.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.window import WHOLE
from orchestrator.domain.zones import WindowState

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What a fixed window was like when its use passed another tenth of what is not kept for people.

    `tenth` is 1 to 9, `until` the reset. `came_at` and `came_ppm` are when the fleet had to stop and the use at that
    moment; both None when that has not come, or did not before the reset.
    """

    tenth: int
    made_at: float
    used_ppm: int
    burn_ppm_per_hour: int
    until: float
    came_at: float | None = None
    came_ppm: int | None = None

    @property
    def error_seconds(self) -> float | None:
        """How much later than foretold it came (negative: earlier); None when it has not come.

        One that was not foretold before the reset counts as foretold for the reset.
        """
        if self.came_at is None or self.came_ppm is None:
            return None
        foretold = self.made_at + (self.came_ppm - self.used_ppm) / self.burn_ppm_per_hour * _HOUR_SECONDS
        return self.came_at - min(foretold, self.until)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How far off projections were: the mean of their errors without signs, and how many came true at some time.

    `error_seconds` is None while none has.
    """

    error_seconds: float | None
    came: int


def projection_of(state: WindowState, before: Sequence[Projection], now: float) -> Projection | None:
    """The projection to note now; None when there is none, or this tenth has its own.

    `before` are those of the same window that its reset has not ended yet. A window that was met is foretold no more.
    """
    stands, ours = state.standing, WHOLE - state.spec.reserve_ppm
    if state.spec.kind != "fixed" or stands.resets_at is None or not stands.burn_ppm_per_hour:
        return None
    used = stands.used_ppm or 0
    tenth = used * 10 // ours
    if not 1 <= tenth <= 9 or any(one.came_at is not None or one.tenth >= tenth for one in before):
        return None
    return Projection(
        tenth=tenth,
        made_at=now,
        used_ppm=used,
        burn_ppm_per_hour=stands.burn_ppm_per_hour,
        until=stands.resets_at,
    )


def accuracy(projections: Sequence[Projection]) -> Accuracy:
    """The accuracy of these; those that have not come say nothing about time."""
    errors = [abs(one.error_seconds) for one in projections if one.error_seconds is not None]
    return Accuracy(error_seconds=sum(errors) / len(errors) if errors else None, came=len(errors))
