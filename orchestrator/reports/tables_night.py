"""The tables behind the pictures of the night: slots and how busy they were, windows and how far they were used."""

from orchestrator.analysis.lanes import Lanes, Night
from orchestrator.analysis.study import Study
from orchestrator.reports.plots.windows import known
from orchestrator.reports.table import Table
from orchestrator.reports.words import UNKNOWN, duration, share

_WHOLE = 1_000_000


def slots(study: Study) -> Table:
    """One row per machine, account and pool."""
    night = study.night
    return Table(
        key="slots",
        title="Machines, accounts and pools",
        columns=("resource", "most at once", "spans", "time held", "busy on average", "waiting for limits"),
        rows=tuple(_slots(one, night) for one in night.resources) if night else (),
        numeric=frozenset(range(1, 6)),
        note="A span is an attempt on a machine, a stage on an account or pool. Limit waits are part of it.",
    )


def _slots(one: Lanes, night: Night) -> tuple[str, ...]:
    whole = night.ended - night.began
    most = f"{max(one.busy):.0f}" if one.busy else str(len(one.lanes))
    machine = one.resource.startswith("machine:")
    return (
        one.resource.replace(":", " ", 1),
        most,
        f"{one.spans:,}",
        duration(one.held_seconds),
        f"{one.held_seconds / whole:.2f}",
        "–" if machine else duration(one.limit_wait_seconds),
    )


def windows(study: Study) -> Table:
    """One row per quota window of the accounts in use."""
    rows = []
    for course in study.evidence.course.windows:
        values = [(point.used_ppm or 0) / _WHOLE for point in known(course)]
        rows.append(
            (
                course.account,
                course.window,
                share(values[0]) if values else UNKNOWN,
                share(values[-1]) if values else UNKNOWN,
                share(max(values)) if values else UNKNOWN,
                share(course.ceiling_ppm / _WHOLE),
                str(len(course.resets)),
                share(len(values) / len(course.points)) if course.points else UNKNOWN,
            )
        )
    return Table(
        key="windows",
        title="Quota windows over the night",
        columns=("account", "window", "at first", "at last", "most", "ours to use", "resets", "time known"),
        rows=tuple(rows),
        numeric=frozenset(range(2, 8)),
        note="Use is what the provider stated or our ledger counted, whichever is more; unknown where neither does.",
    )
