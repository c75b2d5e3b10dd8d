"""worker, scheduler, flower: the long-running parts of a shared fleet, one command each."""

import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

import click

from orchestrator.cli.common import open_database
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.settings import child_environment, load_settings


def _exec(*arguments: str, **environment: str) -> None:
    """Become another program: signals and exit code need no passing on then."""
    os.execve(sys.executable, [sys.executable, *arguments], child_environment(**environment))  # noqa: S606


@click.group("worker")
def worker_command() -> None:
    """Run a worker: cloud jobs of an account one at a time, or GPU jobs of a pool in parallel.

    BAKEOFF_BROKER_URL and BAKEOFF_DATABASE_URL say where the fleet is. TERM or Ctrl-C ends the running agents and
    gives their jobs back.
    """


@worker_command.command("cloud")
@click.option("--account", required=True, help="The account, as the fleet file names it.")
def cloud_command(account: str) -> None:
    """Run the jobs of an account."""
    _exec("-m", "workers.main", "cloud", "--account", account)


@worker_command.command("gpu")
@click.option("--pool", required=True, help="The pool, as the fleet file names it.")
@click.option("--slots", type=click.IntRange(min=1), help="Jobs at a time here; default: the pool's slots.")
def gpu_command(pool: str, slots: int | None) -> None:
    """Run the jobs of a pool."""
    _exec("-m", "workers.main", "gpu", "--pool", pool, *(["--slots", str(slots)] if slots else []))


@click.command("scheduler")
def scheduler_command() -> int:
    """Run the scheduler of a shared fleet, until TERM or Ctrl-C."""
    from orchestrator.broker import celery_app
    from orchestrator.daemon import Scheduler

    settings = load_settings()
    if settings.broker_url is None:
        raise Unavailable("BAKEOFF_BROKER_URL is not set: a scheduler needs the broker of its workers")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Scheduler(settings, open_database(settings), celery_app(settings)).run(stop)
    return ExitCode.OK


@click.command("flower")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--user", default="bakeoff", show_default=True)
def flower_command(port: int, address: str, user: str) -> None:
    """Start Flower on the fleet's broker. Everybody has to log in; nothing can be changed from there.

    The password is BAKEOFF_FLOWER_PASSWORD; without it one is made and printed.
    """
    settings = load_settings()
    url = settings.broker_url or _embedded_url(settings.home)
    password = settings.flower_password or secrets.token_urlsafe(12)
    click.echo(f"Flower: http://{address}:{port}  user {user}", err=True)
    if settings.flower_password is None:
        click.echo(f"password (for this start only): {password}", err=True)
    _exec(
        "-m",
        "orchestrator.flower",
        str(port),
        address,
        BAKEOFF_BROKER_URL=url,
        BAKEOFF_FLOWER_LOGIN=f"{user}:{password}",
    )


def _embedded_url(home: Path) -> str:
    from orchestrator.embedded import running_broker_url

    url = running_broker_url(home)
    if url is None:
        raise Unavailable("no broker: set BAKEOFF_BROKER_URL, or start `bakeoff run` first and Flower beside it")
    return url
