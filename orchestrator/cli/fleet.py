"""worker, scheduler, flower: the long-running parts of a shared fleet, one command each."""

import os
import signal
import sys
import threading

import click

from orchestrator.cli.common import open_database
from orchestrator.cli.passwords import kept_password
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.settings import child_environment, load_settings

_PASSWORD_FILE = "flower.password"  # noqa: S105 - a file's name


def _exec(*arguments: str, **environment: str) -> None:
    """Become another program: signals and exit code need no passing on then."""
    os.execve(sys.executable, [sys.executable, *arguments], child_environment(**environment))  # noqa: S606


def _slots(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """`auto`, or a count from 1."""
    if value == "auto" or (value.isascii() and value.isdecimal() and int(value) > 0):
        return value
    raise click.BadParameter(f"{value!r} is neither 'auto' nor a number from 1")


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
@click.option(
    "--slots",
    callback=_slots,
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Jobs at a time here; auto: as many as the pool's model server serves, also when that changes.",
)
def gpu_command(pool: str, slots: str) -> None:
    """Run the jobs of a pool, and look at its model server."""
    _exec("-m", "workers.main", "gpu", "--pool", pool, "--slots", slots)


@click.command("scheduler")
def scheduler_command() -> int:
    """Run the scheduler of a shared fleet, until TERM or Ctrl-C.

    Any number of them may run, on any machines: one acts, the others stand by and one of them takes over within
    seconds when it dies.
    """
    from orchestrator.broker import celery_app
    from orchestrator.daemon import Scheduler
    from orchestrator.logs import log_to
    from orchestrator.storage.leader import Leadership

    settings = load_settings()
    if settings.broker_url is None:
        raise Unavailable("BAKEOFF_BROKER_URL is not set: a scheduler needs the broker of its workers")
    log_to(None, as_json=settings.log_json)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = open_database(settings, upgrade=True)
    Scheduler(settings, database, celery_app(settings), Leadership(database, settings.machine)).run(stop)
    return ExitCode.OK


@click.command("flower")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--user", default="bakeoff", show_default=True)
def flower_command(port: int, address: str, user: str) -> None:
    """Start Flower on the fleet's broker, or beside a `bakeoff run` in the same BAKEOFF_HOME.

    Everybody has to log in; nothing can be changed from there. The password is BAKEOFF_FLOWER_PASSWORD; without it
    one is made and kept in BAKEOFF_HOME/flower.password, which only you can read.
    """
    from orchestrator.embedded import running_broker_url

    settings = load_settings()
    if settings.broker_url is None and running_broker_url(settings.home) is None:
        raise Unavailable(
            f"no broker: set BAKEOFF_BROKER_URL, or start `bakeoff run` first; none runs in {settings.home}"
        )
    login = f"{user}:{settings.flower_password or kept_password(settings.home / _PASSWORD_FILE)}"
    if ":" in user or not login.isascii():
        raise click.UsageError("Flower's user has no colon, and user and password are ASCII")
    click.echo(f"Flower: http://{address}:{port}  user {user}", err=True)
    if settings.flower_password is None:
        click.echo(f"password: cat {settings.home / _PASSWORD_FILE}", err=True)
    if address not in ("127.0.0.1", "::1", "localhost"):
        click.echo(f"not encrypted: let {address} be reached only through a proxy with TLS", err=True)
    _exec("-m", "orchestrator.flower", str(port), address, BAKEOFF_FLOWER_LOGIN=login)
