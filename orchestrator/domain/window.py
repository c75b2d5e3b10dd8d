"""How much of a quota window is used, how fast, and when that gets better. Unknown stays unknown.

A window is known from two sides: what the provider states (which includes what people use beside us), and what our
own ledger counts against a limit of the fleet file. The larger of the two is believed. Shares are whole parts per
million, so that 85 % is 85 %; moments are seconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

WHOLE = 1_000_000
_HOUR_SECONDS = 3600.0
# Younger than this share of the window, a burn rate is noise.
_YOUNG = 0.01

Kind = Literal["fixed", "rolling"]


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """A window as the fleet file describes it.

    A `fixed` one empties at once at its reset, a `rolling` one forgets each use after `length_seconds`. Limits that
    are not known are None; with none at all only the provider can say how much is used. `reserve_ppm` is the share
    kept for people. `model` narrows it to one model of the account.
    """

    name: str
    length_seconds: float
    kind: Kind = "fixed"
    tokens: int | None = None
    requests: int | None = None
    hours: float | None = None
    model: str | None = None
    reserve_ppm: int = 0


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a provider stated about a window. `window` is its short name (`5h`, `7d`), `source` where it was read."""

    window: str
    used_ppm: int | None
    resets_at: float | None
    stated_at: float
    length_seconds: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Some requests of the ledger, the last of them at `at`. `tokens` covers the requests that told theirs."""

    at: float
    requests: int
    tokens: int | None
    seconds: float
    requests_without_usage: int = 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A window now.

    `used_ppm` may exceed the whole. `at_least`: part of the use is unknown, so it may be more. `resets_at` is None
    for a rolling window, and when it is unknown. `exhausted_at` is when the fleet's share ends at this rate; `lasts`
    says that the reset comes first. Both are unknown (None, False) without a rate.
    """

    used_ppm: int | None
    at_least: bool = False
    resets_at: float | None = None
    burn_ppm_per_hour: int | None = None
    exhausted_at: float | None = None
    lasts: bool = False


def standing(spec: WindowSpec, statement: Statement | None, entries: Sequence[Entry], now: float) -> Standing:
    """The window's use, rate and projection. `entries` are in order of time; older ones do no harm.

    An entry from the future was used by a machine whose clock is ahead: it counts.
    """
    start, end = _bounds(spec, statement, now)
    stated = _stated(spec, statement, now)
    inside = [entry for entry in entries if entry.at > start]
    counted = used_of(spec, inside)
    used = _larger(stated, counted)
    since = start if spec.kind == "fixed" else min((entry.at for entry in inside), default=None)
    burn = _burn(spec, used, None if since is None else now - since)
    exhausted = _exhausted_at(spec, used, burn, now)
    return Standing(
        used_ppm=used,
        at_least=counted is not None and spec.tokens is not None and any(e.requests_without_usage for e in inside),
        # Without a statement and a limit of our own nobody knows where such a window begins.
        resets_at=end if counted is not None or (statement is not None and statement.resets_at is not None) else None,
        burn_ppm_per_hour=burn,
        exhausted_at=exhausted if exhausted is None or end is None or exhausted < end else None,
        lasts=burn is not None and (exhausted is None or (end is not None and exhausted >= end)),
    )


def falls_below(
    spec: WindowSpec, statement: Statement | None, entries: Sequence[Entry], now: float, share_ppm: int
) -> float | None:
    """When the use will be below `share_ppm` if nothing more is used; `now` when it is, None when it is unknown."""
    start, end = _bounds(spec, statement, now)
    stated = _stated(spec, statement, now)
    inside = [entry for entry in entries if entry.at > start]
    counted = used_of(spec, inside)
    if stated is None and counted is None:
        return None
    moments = [now]
    if stated is not None and statement is not None and stated >= share_ppm:
        moments.append(_ends_at(spec, statement))
    if counted is not None and counted >= share_ppm:
        moments.append(end if end is not None else _rolled_below(spec, inside, share_ppm, now))
    return max(moments)


def _bounds(spec: WindowSpec, statement: Statement | None, now: float) -> tuple[float, float | None]:
    """Start (exclusive) and end of the window. Fixed ones follow a reset that was stated, else the UTC clock."""
    if spec.kind == "rolling":
        return now - spec.length_seconds, None
    anchor = statement.resets_at if statement is not None and statement.resets_at is not None else 0.0
    if now < anchor <= now + spec.length_seconds:
        return anchor - spec.length_seconds, anchor
    past = (now - anchor) // spec.length_seconds
    start = anchor + past * spec.length_seconds
    return start, start + spec.length_seconds


def _stated(spec: WindowSpec, statement: Statement | None, now: float) -> int | None:
    """The stated share while it holds: until the reset, but no longer than the window's length."""
    if statement is None or statement.used_ppm is None:
        return None
    return statement.used_ppm if now < _ends_at(spec, statement) else None


def _ends_at(spec: WindowSpec, statement: Statement) -> float:
    """When a statement is over at the latest. A reset that is further away than the window is long is garbage."""
    latest = statement.stated_at + max(spec.length_seconds, statement.length_seconds or 0.0)
    return latest if statement.resets_at is None else min(statement.resets_at, latest)


def used_of(spec: WindowSpec, entries: Sequence[Entry]) -> int | None:
    """The share that these entries use of a window, by the limit that they come nearest to; None without a limit."""
    shares = []
    if spec.tokens is not None:
        shares.append(sum(entry.tokens or 0 for entry in entries) * WHOLE // spec.tokens)
    if spec.requests is not None:
        shares.append(sum(entry.requests for entry in entries) * WHOLE // spec.requests)
    if spec.hours is not None:
        shares.append(int(sum(entry.seconds for entry in entries) * WHOLE / (spec.hours * _HOUR_SECONDS)))
    return max(shares, default=None)


def _larger(one: int | None, other: int | None) -> int | None:
    known = [share for share in (one, other) if share is not None]
    return max(known, default=None)


def _burn(spec: WindowSpec, used: int | None, elapsed: float | None) -> int | None:
    """Mean use per hour since the window (or its first use) began."""
    if used is None or elapsed is None or elapsed < _YOUNG * spec.length_seconds:
        return None
    return int(used * _HOUR_SECONDS / elapsed)


def _exhausted_at(spec: WindowSpec, used: int | None, burn: int | None, now: float) -> float | None:
    """When the share that is not kept for people is used up; None when it never is at this rate, or unknown."""
    left = None if used is None else WHOLE - spec.reserve_ppm - used
    if left is None or burn is None:
        return None
    if left <= 0:
        return now
    return now + left / burn * _HOUR_SECONDS if burn else None


def _rolled_below(spec: WindowSpec, entries: Sequence[Entry], share_ppm: int, now: float) -> float:
    """When so many entries are forgotten that the rest is below the share."""
    low, high = 0, len(entries)  # how many of the oldest must go: none is not enough, all is
    while high - low > 1:
        middle = (low + high) // 2
        if (used_of(spec, entries[middle:]) or 0) < share_ppm:
            high = middle
        else:
            low = middle
    return entries[high - 1].at + spec.length_seconds if entries else now
