"""notify: who is told of what, and a test message."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from orchestrator.cli.common import as_json, emit, open_database
from orchestrator.domain.channels import Channel, is_secret_name
from orchestrator.domain.errors import BakeoffError, ExitCode, NotFound
from orchestrator.settings import load_settings


class _Tried(NamedTuple):
    """How a test message fared; `error` None: it was taken."""

    channel: str
    error: str | None


@click.command("notify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--test", is_flag=True, help="Send a test message now.")
@click.option("--channel", "chosen", multiple=True, metavar="NAME", help="Only this channel; may be repeated.")
@as_json
def notify_command(file: Path | None, test: bool, chosen: tuple[str, ...], as_json: bool) -> int:
    """List the channels of the fleet file that was submitted last, or of experiment FILE's; --test tries them.

    Secrets are read where this runs; the scheduler needs them where it runs.
    """
    found = _channels(file)
    if missing := sorted(set(chosen) - set(found)):
        raise NotFound(f"no channel {missing[0]!r}; there are: {', '.join(found) or 'none'}")
    picked = {name: channel for name, channel in found.items() if not chosen or name in chosen}
    if test:
        if not picked:
            raise NotFound("no channel to try: the fleet file has no part [notify.NAME], or it was not submitted yet")
        return _test(picked, as_json)
    if as_json:
        emit({name: channel.model_dump(mode="json") for name, channel in picked.items()})
        return ExitCode.OK
    for name, channel in picked.items():
        click.echo(f"{name}: {_where(channel)}; {', '.join(channel.events)}")
    if not picked:
        click.echo("nobody is told of anything: the fleet file names them in [notify.NAME]", err=True)
    return ExitCode.OK


def _channels(file: Path | None) -> Mapping[str, Channel]:
    if file is not None:
        from orchestrator.files import load_experiment

        return load_experiment(file).fleet.notify or {}
    from orchestrator.storage.notices import channels

    return channels(open_database())


def _where(channel: Channel) -> str:
    if channel.url is None:
        return f"mail to {', '.join(channel.to)} by {':'.join(map(str, channel.server))}"
    # An address that stands in the file is no secret, but its query may hold one by mistake.
    return f"{channel.format} to {channel.url if is_secret_name(channel.url) else channel.url.partition('?')[0]}"


def _test(channels: Mapping[str, Channel], as_json: bool) -> int:
    tried = [_Tried(name, _error(channel)) for name, channel in channels.items()]
    if as_json:
        emit([one._asdict() for one in tried])
    else:
        for one in tried:
            click.echo(f"ok   {one.channel}: taken" if one.error is None else f"MISS {one.channel}: {one.error}")
    return ExitCode.OK if all(one.error is None for one in tried) else ExitCode.UNAVAILABLE


def _error(channel: Channel) -> str | None:
    from orchestrator.clock import utc_now
    from orchestrator.delivery import deliver
    from orchestrator.domain.notices import NoticeKind
    from orchestrator.storage.notices import Message

    message = Message(
        id=secrets.token_hex(16),
        kind=NoticeKind.TEST,
        subject="test:",
        at=utc_now(),
        title="a test message",
        text=f"Sent by `bakeoff notify --test` on {load_settings().machine}.",
        next_step="Nothing has to be done.",
        times=1,
    )
    try:
        deliver(channel, message)
    except BakeoffError as error:
        return str(error)
    return None
