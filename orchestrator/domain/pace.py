"""How many sessions an account bears that refuses without naming a reset: fewer at once, more again slowly.

Additive increase, multiplicative decrease: D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms
for congestion avoidance in computer networks", Computer Networks and ISDN Systems 17 (1989), 1-14.
"""

from dataclasses import dataclass

# Sessions that already run go on and may be refused again: one halving must have had time to show.
HOLD_SECONDS = 30.0
# Without a refusal for so long, one more session is tried.
RAISE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Sessions that an account gets at present, 1 or more, and since when (seconds since 1970).

    `sessions` is None for all of its concurrency.
    """

    sessions: int | None = None
    changed_at: float = 0.0


def next_pace(pace: Pace, concurrency: int, refused_at: float | None, now: float) -> Pace:
    """The pace after another look. `refused_at` is the newest refusal that named no reset, None without any."""
    present = concurrency if pace.sessions is None else min(pace.sessions, concurrency)
    fresh_from = pace.changed_at + (HOLD_SECONDS if pace.sessions is not None else 0.0)
    if refused_at is not None and refused_at > max(fresh_from, now - RAISE_SECONDS):
        return _at(max(1, present // 2), concurrency, now)
    if pace.sessions is not None and now >= max(pace.changed_at, refused_at or 0.0) + RAISE_SECONDS:
        return _at(present + 1, concurrency, now)
    return pace


def _at(sessions: int, concurrency: int, now: float) -> Pace:
    return Pace(sessions=sessions if sessions < concurrency else None, changed_at=now)
