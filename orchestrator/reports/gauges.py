"""Gauges of quota windows in the live view: how full, how fast, and what comes first, the end of it or the reset."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from orchestrator.domain.window import WHOLE
from orchestrator.domain.zones import WindowState, Zone
from orchestrator.reports.words import one_line
from orchestrator.storage.ledger import moment
from orchestrator.storage.quota import AccountQuota

_STYLES = {Zone.GREEN: "green", Zone.YELLOW: "yellow", Zone.ORANGE: "dark_orange", Zone.RED: "bold red"}
_CELLS, _MOST = 10, 6


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A window of an account. `used` is a share (more than 1 is possible), `burn_per_hour` too; None is unknown.

    `exhausted_at` is when the fleet's part ends at this rate, None when unknown; `lasts`: the reset comes first.
    `error_seconds` is how far off earlier projections of it were on average, None while none has come.
    """

    name: str
    used: float | None
    at_least: bool
    zone: Zone | None
    burn_per_hour: float | None
    exhausted_at: datetime | None
    lasts: bool
    resets_at: datetime | None
    error_seconds: float | None


def gauges(quotas: Sequence[AccountQuota]) -> tuple[Gauge, ...]:
    """Of every window, the fullest first; unknown ones last."""
    found = [_gauge(one, state) for one in quotas for state in one.windows]
    return tuple(sorted(found, key=lambda gauge: -1.0 if gauge.used is None else gauge.used, reverse=True))


def _gauge(one: AccountQuota, state: WindowState) -> Gauge:
    stands, accuracy = state.standing, one.accuracies.get(state.spec.name)
    return Gauge(
        name=f"{one.account} {state.spec.name}",
        used=None if stands.used_ppm is None else stands.used_ppm / WHOLE,
        at_least=stands.at_least,
        zone=state.zone,
        burn_per_hour=None if stands.burn_ppm_per_hour is None else stands.burn_ppm_per_hour / WHOLE,
        exhausted_at=moment(stands.exhausted_at),
        lasts=stands.lasts,
        resets_at=moment(stands.resets_at),
        error_seconds=accuracy.error_seconds if accuracy else None,
    )


def gauge_lines(found: Sequence[Gauge], now: datetime) -> Text | None:
    """`max 5h  ██████░░░░ 62 %  12 %/h, used up at 03:10 (±20 min), resets 05:00`; None without windows."""
    if not found:
        return None
    text = Text()
    for index, gauge in enumerate(found[:_MOST]):
        text.append("\n" if index else "").append(f"{one_line(gauge.name, 30)}  ", style="dim")
        text.append(_bar(gauge), style=_STYLES[gauge.zone] if gauge.zone else "")
        text.append(f"  {_rate(gauge, now)}{_reset(gauge, now)}")
    if len(found) > _MOST:
        text.append(f"\n… {len(found) - _MOST} more windows", style="dim")
    return text


def _bar(gauge: Gauge) -> str:
    if gauge.used is None:
        return "use unknown"
    cells = max(0, min(_CELLS, int(gauge.used * _CELLS)))
    least = "≥ " if gauge.at_least else ""
    return f"{'█' * cells}{'░' * (_CELLS - cells)} {least}{int(gauge.used * 100 + 1e-9)} %"


def _rate(gauge: Gauge, now: datetime) -> str:
    if gauge.burn_per_hour is None:
        return "rate unknown"
    rate = f"{100 * gauge.burn_per_hour:.0f} %/h"
    if gauge.lasts:
        return f"{rate}, lasts until its reset"
    if gauge.exhausted_at is None:
        return f"{rate}, end unknown"
    off = "error unknown" if gauge.error_seconds is None else f"±{gauge.error_seconds / 60:.0f} min"
    return f"{rate}, used up at {_at(gauge.exhausted_at, now)} ({off})"


def _reset(gauge: Gauge, now: datetime) -> str:
    return "" if gauge.resets_at is None else f", resets {_at(gauge.resets_at, now)}"


def _at(at: datetime, now: datetime) -> str:
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%m-%d %H:%M}"
