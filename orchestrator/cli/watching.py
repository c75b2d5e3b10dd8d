"""Showing a running experiment: a live picture on a terminal, lines elsewhere, JSON lines on request."""

import sys
import threading
from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.errors import StorageError
from orchestrator.domain.states import FINAL_JOB_STATES
from orchestrator.reports.eta import Foreteller
from orchestrator.reports.live import LiveView, render
from orchestrator.reports.live_lines import plain_lines
from orchestrator.reports.live_rows import live_view
from orchestrator.storage.engine import Database

_LOOK_SECONDS = 0.5
# Rest so many times as long as a look takes.
_REST = 5.0


def follow(
    database: Database, experiment: str, *, as_json: bool, on_look: Callable[[], None] = lambda: None
) -> LiveView:
    """Show until every job has ended; returns the last view. `on_look` is called between two looks."""
    if as_json or not sys.stdout.isatty():
        return _lines(database, experiment, as_json, on_look)
    console = Console()
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(view: LiveView) -> None:
            live.update(render(view, height=console.height), refresh=True)

        return _loop(database, experiment, show, on_look)


def _lines(database: Database, experiment: str, as_json: bool, on_look: Callable[[], None]) -> LiveView:
    previous: LiveView | None = None

    def show(view: LiveView) -> None:
        nonlocal previous
        for line in plain_lines(previous, view):
            click.echo(line, err=as_json)
        previous = view

    return _loop(database, experiment, show, on_look)


def _loop(
    database: Database, experiment: str, show: Callable[[LiveView], None], on_look: Callable[[], None]
) -> LiveView:
    pause, foreteller = threading.Event(), Foreteller(database, experiment)
    while True:
        on_look()
        began = boot_seconds()
        try:
            view = live_view(database, experiment, utc_now(), foreteller)
        except StorageError as error:
            click.echo(f"the database does not answer, trying again: {error}", err=True)
            pause.wait(2.0)
            continue
        show(view)
        if all(job.state in FINAL_JOB_STATES for job in view.jobs):
            return view
        # A matrix of ten thousand jobs takes seconds to read: watching it must not eat the machine that runs it.
        pause.wait(max(_LOOK_SECONDS, _REST * (boot_seconds() - began)))
