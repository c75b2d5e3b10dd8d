"""reprice: what past runs would cost at other list prices."""

from pathlib import Path
from typing import Any

import click

from orchestrator.analysis.measure import Measure
from orchestrator.analysis.reprice import Repriced, reprice, unpriced
from orchestrator.cli.common import as_json, chosen_experiment, emit, experiment_name, open_database
from orchestrator.domain.errors import ExitCode, Fault, InvalidInput


@click.command("reprice")
@experiment_name
@click.option("--prices", type=click.Path(path_type=Path), required=True, help="TOML file with prices by model.")
@as_json
def reprice_command(experiment: str | None, prices: Path, as_json: bool) -> int:
    """Price what EXPERIMENT (default: the newest) used with the table of another day. Nothing stored is changed.

    A model that the table does not have is refused: it is not free.
    """
    from orchestrator.clock import utc_now
    from orchestrator.files import load_prices
    from orchestrator.storage.evidence import load_evidence

    file = load_prices(prices)
    table = {name: model.to_prices() for name, model in file.models.items()}
    database = open_database()
    evidence = load_evidence(database, chosen_experiment(database, experiment), utc_now(), with_cases=False)
    if missing := unpriced(evidence.stages, table):
        raise InvalidInput(
            [
                Fault(file=str(prices), field=f"models.{name!r}", message=f"is missing, and {count} stages used it")
                for name, count in missing.items()
            ]
        )
    rows = reprice(evidence.jobs, evidence.stages, table)
    dates = sorted({model.dated for model in file.models.values()})
    if as_json:
        emit({"experiment": evidence.experiment, "dated": dates, "profiles": [_row(row) for row in rows]})
        return ExitCode.OK
    click.echo(f"{evidence.experiment}, with prices of {' and '.join(dict.fromkeys((dates[0], dates[-1])))}")
    for row in rows:
        click.echo(_line(row))
    return ExitCode.OK


def _row(row: Repriced) -> dict[str, Any]:
    return {
        "label": row.label,
        "stages": row.stages,
        "before_usd_micros": row.before.total,
        "before_known": row.before.known,
        "after_usd_micros": row.after.total,
        "after_known": row.after.known,
        "compared": row.compared,
        "difference_usd_micros": row.difference_usd_micros,
        "undivided": row.undivided,
    }


def _line(row: Repriced) -> str:
    parts = [f"  {row.label}: {_usd(row.before)} before, {_usd(row.after)} now"]
    if row.difference_usd_micros is None:
        parts.append("difference unknown")
    else:
        over = "" if row.compared == row.stages else f" over the {row.compared} stages known in both"
        parts.append(f"{row.difference_usd_micros / 1e6:+.4f} USD{over}")
    if row.undivided:
        parts.append(f"{row.undivided} stages do not tell cached tokens: an upper bound where input has them in it")
    return "; ".join(parts)


def _usd(found: Measure) -> str:
    if found.total is None:
        return "unknown"
    return f"{found.total / 1e6:.4f} USD" + ("" if found.complete else f" ({found.coverage})")
