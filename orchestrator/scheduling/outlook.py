"""When jobs will have ended, from what stands in the database: the fleet at hand, its windows, and all open jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf

from orchestrator.analysis.estimate import Estimate
from orchestrator.analysis.forecast import Forecast, OpenJob, forecast
from orchestrator.analysis.known import SECONDS, Known, Subject
from orchestrator.analysis.simulated_windows import SimulatedWindow
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.states import JobState
from orchestrator.scheduling.estimates import JobEstimates, PlanEstimates, share_of, windows_of
from orchestrator.scheduling.planned import Plan
from orchestrator.scheduling.pools import wanted_slots
from orchestrator.storage.drains import drained
from orchestrator.storage.engine import Database
from orchestrator.storage.history import known as read_history
from orchestrator.storage.machines import resources
from orchestrator.storage.marks import model_scope
from orchestrator.storage.outlook import OpenRow, ProfileFacts, WindowNow, open_rows, profile_facts
from orchestrator.storage.outlook import stored_windows as _stored_windows
from orchestrator.storage.outlook import windows_now as _windows_now
from orchestrator.storage.pools import all_pools


def fleet_windows(database: Database, fleet: Fleet, now: datetime) -> list[WindowNow]:
    """The windows of a fleet file, which need not be stored yet."""
    specs = {
        name: ([window.to_spec() for window in account.windows], account.zones.behaviour())
        for name, account in fleet.accounts.items()
    }
    return _windows_now(database, specs, now)


def stored_windows(database: Database, now: datetime) -> list[WindowNow]:
    """The windows of every account that is stored."""
    return _windows_now(database, _stored_windows(database), now)


def history_for(database: Database, windows: Sequence[WindowNow]) -> Known:
    """What earlier runs took, also of these windows."""
    by_account: dict[str, list[WindowNow]] = {}
    for window in windows:
        by_account.setdefault(window.account, []).append(window)
    specs = {account: [one.spec for one in those] for account, those in by_account.items()}
    return read_history(database, specs)


def plan_outlook(
    plan: Plan,
    estimates: PlanEstimates,
    windows: Sequence[WindowNow],
    database: Database,
    now: datetime,
    by: datetime | None = None,
) -> Forecast:
    """As if the plan were submitted now. Open jobs of other experiments take their slots and windows as well."""
    slots = _slots(database, now, plan.loaded.fleet.capacities())
    return _foretell(
        [*_stored(database, plan.loaded.experiment.experiment, plan.known, windows, now), *_new(estimates, windows)],
        _open_now(database, slots, now),
        windows,
        now,
        by,
    )


def live_outlook(database: Database, experiment: str, now: datetime, by: datetime | None = None) -> Forecast:
    """Of a stored experiment, with all that has ended so far as history. Made for views: fewer nights than a plan."""
    windows = stored_windows(database, now)
    known = history_for(database, windows)
    jobs = _stored(database, experiment, known, windows, now)
    nights = max(1, min(_LIVE_NIGHTS, _LIVE_JOBS // max(1, len(jobs))))
    return _foretell(jobs, _open_now(database, _slots(database, now, {}), now), windows, now, by, nights)


# Nights of a view that is made again and again, and jobs over all of them.
_LIVE_NIGHTS, _LIVE_JOBS = 50, 10_000

_Ordered = tuple[tuple[int, int, int], OpenJob]
_Shares = tuple[tuple[int, Estimate | None], ...]


def _foretell(
    jobs: Sequence[_Ordered],
    slots: Mapping[str, int],
    windows: Sequence[WindowNow],
    now: datetime,
    by: datetime | None,
    nights: int | None = None,
) -> Forecast:
    scopes = {
        model_scope(window.account, window.spec.model): slots.get(f"account:{window.account}", 0)
        for window in windows
        if window.spec.model is not None
    }
    return forecast(
        [job for _, job in sorted(jobs, key=lambda one: one[0])],
        {**slots, **scopes},
        [_simulated(window, now) for window in windows],
        nights=nights,
        by_seconds=None if by is None else (by - now).total_seconds(),
    )


def _simulated(window: WindowNow, now: datetime) -> SimulatedWindow:
    spec = window.spec
    resets = spec.length_seconds if window.resets_at is None else max(0.0, window.resets_at - now.timestamp())
    return SimulatedWindow(
        name=spec.name,
        gate=f"account:{window.account}" if spec.model is None else model_scope(window.account, spec.model),
        length_seconds=spec.length_seconds,
        kind=spec.kind,
        used_ppm=float(window.used_ppm or 0),
        resets_in_seconds=resets,
        reserve_ppm=spec.reserve_ppm,
        behaviour=window.behaviour,
    )


def _slots(database: Database, now: datetime, filed: Mapping[str, int]) -> dict[str, int]:
    """As stored, then as the fleet file says, then as many as a pool's server serves now."""
    pools = {f"pool:{view.server.name}": view.server.slots or 1 for view in all_pools(database)}
    serving = {name: count for name, count in wanted_slots(database, now).items() if count}
    return {**pools, **resources(database), **filed, **serving}


def _open_now(database: Database, slots: Mapping[str, int], now: datetime) -> dict[str, int]:
    """Without what is drained. Breakers that are open, and pools that do not answer, come back: nobody knows when."""
    closed = drained(database)
    return {name: 0 if name in closed else count for name, count in slots.items()}


def _stored(
    database: Database, experiment: str, known: Known, windows: Sequence[WindowNow], now: datetime
) -> list[_Ordered]:
    with database.read() as connection:
        facts = profile_facts(connection)
    return [
        ((-row.priority, row.position, place), _of_row(row, facts[row.profile_hash], known, windows, now, experiment))
        for place, row in enumerate(open_rows(database))
    ]


def _of_row(
    row: OpenRow,
    facts: ProfileFacts,
    known: Known,
    windows: Sequence[WindowNow],
    now: datetime,
    experiment: str,
) -> OpenJob:
    subject = Subject(row.cell_hash, row.target_hash, row.profile_hash, facts.kind)
    seconds, used = known.expect(subject, SECONDS), windows_of(facts.models, windows)
    running = row.state is JobState.RUNNING and row.started_at is not None
    return OpenJob(
        label=row.label if row.experiment == experiment else f"{row.experiment}: {row.label}",
        kin=row.target_hash,
        needs=row.needs + _scopes(used, windows),
        seconds=None if seconds is None else seconds.limited(row.wall_timeout_seconds or None),
        most_seconds=row.wall_timeout_seconds or inf,
        # What a running job has used already stands in its windows.
        shares=() if running else tuple((place, share_of(known, subject, windows[place])) for place in used),
        elapsed=(now - row.started_at).total_seconds() if running and row.started_at else None,
        not_before=max(0.0, (row.wake_at - now).total_seconds()) if row.wake_at else 0.0,
        ours=row.experiment == experiment,
    )


def _new(estimates: PlanEstimates, windows: Sequence[WindowNow]) -> list[_Ordered]:
    found = []
    for place, (job, took) in enumerate(estimates.jobs):
        if job.state is None:
            used = [index for index, one in enumerate(windows) if (one.account, one.spec.name) in took.shares]
            made = OpenJob(
                label=job.label,
                kin=job.cell.spec.target.label,
                needs=job.needs + _scopes(used, windows),
                seconds=took.seconds,
                most_seconds=took.most_seconds,
                shares=_shares(took, used, windows),
            )
            found.append(((-job.priority, job.position, place), made))
    return found


def _shares(took: JobEstimates, used: Sequence[int], windows: Sequence[WindowNow]) -> _Shares:
    return tuple((place, took.shares[windows[place].account, windows[place].spec.name]) for place in used)


def _scopes(used: Sequence[int], windows: Sequence[WindowNow]) -> tuple[str, ...]:
    models = {(windows[place].account, windows[place].spec.model) for place in used}
    return tuple(sorted(model_scope(account, model) for account, model in models if model is not None))
