"""pause, resume, drain, cancel, requeue, prioritize, retune: what people do to jobs, accounts, pools and machines."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from orchestrator.cli.common import NUMBER, PRIORITY, as_json, chosen_experiment, emit, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode, NotFound
from orchestrator.domain.experiment import normal_limit
from orchestrator.domain.limits import Limits
from orchestrator.storage import breakers, control, drains, machines, retune
from orchestrator.storage.control import Selection
from orchestrator.storage.engine import Database

F = TypeVar("F", bound=Callable[..., Any])


class Choice:
    """What the options of a command name: jobs, or whole accounts, pools and machines."""

    def __init__(
        self,
        database: Database,
        *,
        experiment: str | None,
        profile: str | None,
        target: str | None,
        jobs: tuple[int, ...],
        account: str | None,
        pool: str | None,
        machine: str | None,
    ) -> None:
        """Raises NotFound for a name that nothing has: a typing error must not look like a success."""
        resources = [f"account:{account}"] if account else []
        resources += [f"pool:{pool}"] if pool else []
        _require_known(database, resources, machine)
        self.scopes = [*resources, *([f"machine:{machine}"] if machine else [])]
        anywhere = experiment is None and (jobs or self.scopes)
        # Nothing but accounts, pools and machines: then these themselves are meant, and not only their jobs.
        self.whole_scopes = bool(self.scopes) and not (experiment or profile or target or jobs)
        # Whether a person speaks for an account, and so for the limits for whose reset its jobs are parked.
        self.whole_account = self.whole_scopes and account is not None
        # Breakers are of whole accounts, pools and machines, or of one profile of one experiment.
        self.breakers = self.scopes if self.whole_scopes else []
        if profile and not (self.scopes or target or jobs):
            self.breakers = [f"profile:{chosen_experiment(database, experiment)}/{profile}"]
        self.selection = Selection(
            experiment=None if anywhere else chosen_experiment(database, experiment),
            profile=profile,
            target=target,
            job_ids=jobs or None,
            resources=resources,
            machine=machine,
        )


def _require_known(database: Database, resources: list[str], machine: str | None) -> None:
    known = machines.resources(database)
    for resource in resources:
        if resource not in known:
            raise NotFound(f"no {resource} in {database!r}; there are: {', '.join(sorted(known)) or 'none'}")
    if machine is not None and machine not in (names := machines.known_machines(database)):
        raise NotFound(f"no machine {machine!r} has worked on {database!r}; there are: {', '.join(names) or 'none'}")


def selection_options(command: F) -> F:
    """Which jobs: an experiment, narrowed by profile, target, job ids, resource or machine."""
    for option in (
        click.argument("experiment", required=False),
        click.option("--profile", help="Only this profile's jobs."),
        click.option("--target", help="Only this target's jobs."),
        click.option("--job", "jobs", type=NUMBER, multiple=True, help="Only this job id; may be repeated."),
        click.option("--account", help="Only jobs that need this account; of every experiment if none is named."),
        click.option("--pool", help="Only jobs that need this pool; of every experiment if none is named."),
        click.option("--machine", help="Only jobs that run (or last ran) there; of every experiment likewise."),
    ):
        command = option(command)
    return command


def _say(as_json: bool, counts: Mapping[str, int], text: str) -> int:
    if as_json:
        emit(counts)
    else:
        click.echo(text)
    return ExitCode.OK


@click.command("pause")
@selection_options
@click.option("--reason", default="paused on request", show_default=True)
@as_json
def pause_command(reason: str, as_json: bool, **options: Any) -> int:
    """Pause the jobs of EXPERIMENT (default: the newest): hold back what waits, end what runs, its work committed.

    To let running jobs end by themselves use `drain`. `resume` puts them back.
    """
    database = open_database()
    held, asked = control.pause(database, Choice(database, **options).selection, reason)
    counts = {"paused": held, "asked_to_end": asked}
    return _say(as_json, counts, f"{held} waiting jobs paused, {asked} running jobs asked to end.")


@click.command("drain")
@selection_options
@click.option("--reason", default="drained on request", show_default=True)
@as_json
def drain_command(reason: str, as_json: bool, **options: Any) -> int:
    """Let what runs end, and start nothing new: of EXPERIMENT (default: the newest), or on a whole account, pool or
    machine. `resume` with the same options undoes it.

    \b
    Examples:
      bakeoff drain --machine redbox     before its maintenance
      bakeoff drain --account max        keep the subscription for people
      bakeoff drain my-experiment --profile opus
    """
    database = open_database()
    choice = Choice(database, **options)
    if choice.whole_scopes:
        count = drains.drain(database, choice.scopes, reason, utc_now())
        text = f"{', '.join(choice.scopes)}: nothing new starts there; what runs goes on to its end."
        return _say(as_json, {"drained": count}, text)
    held = control.hold(database, choice.selection, reason)
    return _say(as_json, {"paused": held}, f"{held} waiting jobs paused; what runs goes on to its end.")


@click.command("resume")
@selection_options
@as_json
def resume_command(as_json: bool, **options: Any) -> int:
    """Undo `pause` and `drain`: the paused jobs of EXPERIMENT (default: the newest) are ready again, and a named
    account, pool or machine takes new work. Where failures had stopped it, or a profile, it goes on at once, and so
    do the jobs that are parked until a limit of a named account resets.
    """
    database = open_database()
    choice = Choice(database, **options)
    lifted = drains.lift(database, choice.scopes) if choice.whole_scopes else 0
    now = utc_now()
    closed = breakers.reset(database, choice.breakers, now)
    count = control.resume(database, choice.selection, now, parked=choice.whole_account)
    parts = [f"{count} jobs go on"]
    parts += [f"{lifted} drains lifted"] if choice.whole_scopes else []
    parts += [f"{closed} breakers closed"] if choice.breakers else []
    counts = {"resumed": count, "drains_lifted": lifted, "breakers_closed": closed}
    return _say(as_json, counts, "; ".join(parts) + ".")


@click.command("cancel")
@selection_options
@click.option("--reason", default="cancelled on request", show_default=True)
@as_json
def cancel_command(reason: str, as_json: bool, **options: Any) -> int:
    """Cancel the jobs of EXPERIMENT (default: the newest). What runs is ended by its worker within seconds."""
    database = open_database()
    ended, asked = control.cancel(database, Choice(database, **options).selection, reason, utc_now())
    counts = {"cancelled": ended, "asked_to_end": asked}
    return _say(as_json, counts, f"{ended} waiting jobs cancelled, {asked} running jobs asked to end.")


@click.command("requeue")
@selection_options
@as_json
def requeue_command(as_json: bool, **options: Any) -> int:
    """Give the failed, cancelled and invalid jobs of EXPERIMENT (default: the newest) another try."""
    database = open_database()
    count = control.requeue(database, Choice(database, **options).selection)
    return _say(as_json, {"requeued": count}, f"{count} jobs are ready again.")


@click.command("prioritize")
@selection_options
@click.option("--priority", type=PRIORITY, required=True, help="Higher starts first; files say 0 by default.")
@as_json
def prioritize_command(priority: int, as_json: bool, **options: Any) -> int:
    """Give the jobs of EXPERIMENT (default: the newest) that have not ended another priority.

    What runs goes on; jobs of the same priority take turns by experiment.
    """
    database = open_database()
    count = control.prioritize(database, Choice(database, **options).selection, priority)
    return _say(as_json, {"prioritized": count}, f"{count} jobs have priority {priority} now.")


# Counted by the database when an attempt ends, from the cell alone; `requeue` gives more tries.
_FIXED = "max_infra_attempts"


def _changes(_ctx: click.Context, _param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, float | int | None]:
    """`wall_timeout=3h` as a name and its value. Raises BadParameter, which names what is accepted."""
    found: dict[str, float | int | None] = {}
    for pair in pairs:
        name, sign, text = (part.strip() for part in pair.partition("="))
        known = [one for one in Limits.model_fields if one != _FIXED]
        if not sign or name not in known:
            raise click.BadParameter(f"{pair!r} is not LIMIT=VALUE; limits are {', '.join(known)}")
        try:
            found[name] = _value(name, text)
        except ValueError as error:
            told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise click.BadParameter(f"{name}: {told} (found {text!r})") from None
    return found


def _value(name: str, text: str) -> float | int | None:
    if text in ("unlimited", "none"):
        value = normal_limit(name, None)
    else:
        try:
            value = normal_limit(name, json.loads(text))
        except json.JSONDecodeError:
            value = normal_limit(name, text)
    assert value is None or isinstance(value, int | float)  # every limit is a number, once it is normal
    return value


@click.command("retune")
@selection_options
@click.option("--set", "changes", multiple=True, required=True, callback=_changes, metavar="LIMIT=VALUE")
@as_json
def retune_command(changes: dict[str, float | int | None], as_json: bool, **options: Any) -> int:
    """Change limits of the jobs of EXPERIMENT (default: the newest) that have not ended; what runs goes on.

    Their results stand apart from those under the limits of the file: other limits are not the same experiment.

    \b
    Examples:
      bakeoff retune --job 17 --set wall_timeout=3h
      bakeoff retune my-experiment --profile opus --set max_tokens=unlimited --set idle_timeout=10m
    """
    database = open_database()
    done = retune.retune(database, Choice(database, **options).selection, changes)
    text = f"{done.waiting} waiting and {done.running} running jobs have other limits now."
    return _say(as_json, done._asdict(), text)
