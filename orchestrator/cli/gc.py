"""gc: trees of ended jobs whose work is archived go; everything else is listed with the reason for which it stays."""

from collections.abc import Sequence

import click

from orchestrator.cli.common import as_json, emit, open_database
from orchestrator.domain.durations import format_duration, parse_duration_seconds
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.garbage import DEFAULT_RETENTION, GarbageItem, GarbageQuestion
from orchestrator.reports.words import one_line
from orchestrator.settings import load_settings


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration_seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--older-than", type=_Duration(), help="Keep what ended later; default: 7d, or the setting.")
@click.option("--mirrors", is_flag=True, help="Let mirrors go too that nothing here needs any more.")
@as_json
def gc_command(dry_run: bool, older_than: float | None, mirrors: bool, as_json: bool) -> int:
    """Remove the working trees of ended jobs from this machine.

    A tree goes when its job has ended for good, that was long enough ago, and its work is in the artifact store, read
    back byte by byte. Trees of running, waiting, paused and parked jobs stay, and so does what no artifact holds.
    """
    from orchestrator.scheduling.garbage import collect

    settings = load_settings()
    open_database(settings).close()
    retention = older_than if older_than is not None else retention_seconds(settings.gc_after_hours)
    question = GarbageQuestion(remove=not dry_run, retention_seconds=retention, mirrors=mirrors)
    items = collect(question)
    if as_json:
        emit([item.model_dump() for item in items])
        return ExitCode.OK
    for line in _lines(items, dry_run=dry_run):
        click.echo(line)
    return ExitCode.OK


def retention_seconds(gc_after_hours: float) -> float:
    """How long trees are kept: as the setting says, or a week."""
    return gc_after_hours * 3600 or DEFAULT_RETENTION.total_seconds()


def size(count: int) -> str:
    """Bytes for people: `12 MiB`."""
    for unit, step in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"


def _lines(items: Sequence[GarbageItem], *, dry_run: bool) -> list[str]:
    word = "would go" if dry_run else "removed"
    lines = []
    for item in sorted(items, key=lambda one: (not one.goes, -one.disk_bytes)):
        age = "" if item.age_seconds is None else f", {format_duration(item.age_seconds)} old"
        name = f"{item.kind} of {item.label} (job {item.job_id})" if item.label else f"{item.kind} {item.path}"
        fate = word if item.goes else "stays"
        lines.append(f"{fate:8} {size(item.disk_bytes):>10}{age}: {one_line(name)}: {one_line(item.reason)}")
    went = [item for item in items if item.goes]
    total = size(sum(item.disk_bytes for item in went))
    stays = size(sum(item.disk_bytes for item in items if not item.goes))
    return [*lines, f"{len(went)} of {len(items)} {word}: {total}; {stays} stays"]
