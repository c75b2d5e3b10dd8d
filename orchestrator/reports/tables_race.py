"""The table of a race: who was stopped, when, and on what evidence."""

from orchestrator.analysis.race_story import StopShown
from orchestrator.analysis.study import Study
from orchestrator.reports.table import Table


def race(study: Study) -> Table:
    """One row per stopped variant, in the order of the stops. Empty without any."""
    stops = study.race.stops if study.race else ()
    return Table(
        key="race",
        title="Stopped by the race",
        columns=("profile", "behind", "common targets", "better : worse", "evidence", "needed", "error rate", "at"),
        rows=tuple(_stop(one) for one in stops),
        numeric=frozenset(range(2, 7)),
        note="Better and worse: targets on which the one in front had the higher solved share, or the lower. Were "
        "the stopped profile as good, evidence of x would have a chance of at most 1/x, however often one looks; "
        "what is needed allows for all profiles and all looks.",
    )


def _stop(one: StopShown) -> tuple[str, ...]:
    return (
        one.label,
        one.against,
        str(one.stop.targets),
        f"{one.stop.better} : {one.stop.worse}",
        f"{one.stop.evidence:,.0f}",
        f"{one.stop.needed:,.0f}",
        f"{100 * one.rules.error_rate:g} %",
        f"{one.at:%Y-%m-%d %H:%M:%S} UTC",
    )
