"""Accounts and their quota windows, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.domain.projection import Accuracy
from orchestrator.domain.window import WHOLE
from orchestrator.domain.zones import WindowState, Zone
from orchestrator.storage.ledger import moment
from orchestrator.storage.quota import AccountQuota

_STYLES = {Zone.GREEN: "green", Zone.YELLOW: "yellow", Zone.ORANGE: "dark_orange", Zone.RED: "bold red"}
_UNKNOWN = "unknown"


def quota_json(quotas: Sequence[AccountQuota]) -> list[dict[str, Any]]:
    """Every account with its windows. What is unknown is null."""
    return [
        {
            "account": one.account,
            "concurrency": one.concurrency,
            "sessions": one.sessions,
            "reason": one.reason or None,
            "until": one.until,
            "pace_sessions": one.pace_sessions,
            "windows": [_window_json(state, one.accuracies.get(state.spec.name)) for state in one.windows],
            "models": [asdict(model) for model in one.models],
        }
        for one in quotas
    ]


def _window_json(state: WindowState, accuracy: Accuracy | None) -> dict[str, Any]:
    stands, statement = state.standing, state.statement
    return {
        "window": state.spec.name,
        "model": state.spec.model,
        "used_percent": _percent(stands.used_ppm),
        "at_least": stands.at_least,
        "zone": state.zone,
        "reserve_percent": _percent(state.spec.reserve_ppm),
        "burn_percent_per_hour": _percent(stands.burn_ppm_per_hour),
        "exhausted_at": moment(stands.exhausted_at),
        "lasts": stands.lasts,
        "projection_error_seconds": accuracy.error_seconds if accuracy else None,
        "projections_judged": accuracy.came if accuracy else 0,
        "resets_at": moment(stands.resets_at),
        "stated_at": moment(statement.stated_at) if statement else None,
        "source": statement.source if statement else None,
    }


def _percent(ppm: int | None) -> float | None:
    return None if ppm is None else 100 * ppm / WHOLE


def quota_view(quotas: Sequence[AccountQuota], now: datetime) -> Group:
    """A table of all windows, and a line for each account and model that is held back. Empty without any."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("account", "window", "used", "zone", "reserve", "burn/h", "exhausted", "error", "resets"):
        table.add_column(name)
    for one in quotas:
        for state in one.windows:
            table.add_row(Text(one.account), *_cells(state, one.accuracies.get(state.spec.name), now))
    held = [Text(f"account {one.account}: {one.reason}") for one in quotas if one.reason]
    held += [Text(f"model {one.account}/{model.model}: {model.reason}") for one in quotas for model in one.models]
    return Group(*([table] if table.row_count else []), *held)


def _cells(state: WindowState, accuracy: Accuracy | None, now: datetime) -> list[Text]:
    spec, stands = state.spec, state.standing
    used = _shown(stands.used_ppm)
    model = f" ({spec.model})" if spec.model else ""
    return [
        Text(spec.name + model),
        Text(f"≥ {used}" if stands.at_least else used),
        Text(state.zone or _UNKNOWN, style=_STYLES[state.zone] if state.zone else ""),
        Text(_shown(spec.reserve_ppm)),
        Text(_shown(stands.burn_ppm_per_hour)),
        Text("not before its reset" if stands.lasts else _when(moment(stands.exhausted_at), now)),
        Text(_error(accuracy)),
        Text("rolling" if spec.kind == "rolling" else _when(moment(stands.resets_at), now)),
    ]


def _error(accuracy: Accuracy | None) -> str:
    """How far off earlier projections were, and how many of them there are."""
    if accuracy is None or accuracy.error_seconds is None:
        return _UNKNOWN
    return f"{accuracy.error_seconds / 60:.0f} min ({accuracy.came})"


def _shown(ppm: int | None) -> str:
    """Rounded down, as zones are: what shows 85 % is orange."""
    return _UNKNOWN if ppm is None else f"{ppm * 100 // WHOLE} %"


def _when(at: datetime | None, now: datetime) -> str:
    if at is None:
        return _UNKNOWN
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
