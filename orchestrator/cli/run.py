"""run: an experiment from file to verdict on this machine, with nothing to set up."""

import signal
from pathlib import Path
from types import FrameType

import click

from orchestrator.cli.common import as_json, emit, experiment_file, open_database
from orchestrator.domain.errors import ExitCode, StorageError
from orchestrator.files import load_experiment


@click.command("run")
@experiment_file
@as_json
@click.option("--html", type=click.Path(path_type=Path), help="Where to write the HTML report.")
def run_command(file: Path, as_json: bool, html: Path | None) -> int:
    """Run FILE here and end with the verdict: broker, scheduler, workers and gateway are started and taken down.

    What an earlier run finished is not run again. Ctrl-C ends the agents and keeps the rest of the matrix for the
    next `bakeoff run` of the same file.
    """
    from orchestrator.cli.report import write_report
    from orchestrator.cli.watching import follow
    from orchestrator.clock import utc_now
    from orchestrator.local import LocalFleet
    from orchestrator.scheduling.submit import plan, require_agents, submit
    from orchestrator.settings import load_settings

    settings = load_settings()
    _log_to(settings.home / "logs" / "scheduler.log", as_json=settings.log_json)
    interrupt = Interrupt()
    database = open_database(settings, upgrade=True)
    planned, answer = plan(load_experiment(file), database)
    require_agents(answer)
    name = planned.loaded.experiment.experiment
    added, forgotten = submit(planned, database, utc_now())
    click.echo(f"{name}: {len(planned.jobs)} jobs, {added} new; state in {settings.home}", err=True)
    for resource in forgotten:
        click.echo(f"{resource} is gone from the fleet file and no open job needs it: forgotten.", err=True)
    resources = {need for job in planned.jobs for need in job.needs}
    try:
        with LocalFleet(settings, database, resources) as fleet:

            def look() -> None:
                interrupt.heed()
                fleet.keep_alive()

            follow(database, name, as_json=as_json, on_look=look)
    except KeyboardInterrupt:
        click.echo("stopped: agents are ended, unfinished jobs wait for the next run of this file", err=True)
        raise
    page = html or settings.home / "reports" / f"{name}.html"
    study = write_report(database, name, page)
    if as_json:
        from orchestrator.reports import as_json as document
        from orchestrator.reports.options import ReportOptions

        emit(document.document(study, ReportOptions()))
    else:
        from rich.console import Console

        from orchestrator.reports import terminal

        console = Console()
        console.print()
        console.print(terminal.render_short(study, width=console.width))
    click.echo(f"report: {page.resolve()}", err=True)
    return ExitCode.OK


def _log_to(path: Path, *, as_json: bool) -> None:
    """The scheduler's log goes to a file: the terminal belongs to the live view."""
    from orchestrator.logs import log_to

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log_to(path, as_json=as_json)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}: set BAKEOFF_HOME to a folder that can be written") from None


class Interrupt:
    """INT, TERM and HUP end a run cleanly.

    The interpreter swallows what is raised while it calls back for an object that goes away: an interrupt that was
    lost so is heeded at the next look.
    """

    def __init__(self) -> None:
        self._asked = False
        # INT too: a shell starts background jobs with it ignored, and `run` is to be stoppable there.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def heed(self) -> None:
        """Raises KeyboardInterrupt once somebody asked."""
        if self._asked:
            raise KeyboardInterrupt

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt
