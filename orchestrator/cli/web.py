"""web: the live page, for browsers."""

import asyncio
import logging
from urllib.parse import urlsplit

import click

from orchestrator.cli.passwords import kept_password
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.settings import load_settings

_PASSWORD_FILE = "web.password"  # noqa: S105 - a file's name
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("web")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--user", default="bakeoff", show_default=True)
@click.option("--url", metavar="URL", help="Where a proxy shows the page, such as https://bakeoff.example.org.")
def web_command(port: int, address: str, user: str, url: str | None) -> int:
    """Show every experiment's matrix live in the browser, from the database alone.

    Everybody has to log in; nothing can be changed from there. The password is BAKEOFF_WEB_PASSWORD; without it one
    is made and kept in BAKEOFF_HOME/web.password, which only you can read. Runs until TERM or Ctrl-C.
    """
    from orchestrator.storage.engine import Database
    from orchestrator.web.access import Brake, Login
    from orchestrator.web.gate import Door
    from orchestrator.web.server import make_app, serve

    settings = load_settings()
    outside = urlsplit(url or "")
    if url is not None and (outside.scheme not in ("http", "https") or not outside.hostname):
        raise click.BadParameter(f"{url!r} is no URL like https://bakeoff.example.org", param_hint="--url")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    password = settings.web_password or kept_password(settings.home / _PASSWORD_FILE)
    door = Door(
        login=Login(user, password),
        brake=Brake(),
        names=frozenset(name for name in (address, outside.hostname, settings.machine) if name),
        https=outside.scheme == "https",
    )
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"live page: {url or f'http://{shown}:{port}'}  user {user}", err=True)
    if settings.web_password is None:
        click.echo(f"password: cat {settings.home / _PASSWORD_FILE}", err=True)
    if address not in _LOOPBACK and not door.https:
        click.echo(f"not encrypted: let {address} be reached only through a proxy with TLS", err=True)
    app = make_app(settings, Database(settings.database_url), door)
    try:
        asyncio.run(serve(app, address, port))
    except OSError as error:
        raise Unavailable(f"cannot listen on {address} port {port}: {error.strerror}") from None
    return ExitCode.OK
