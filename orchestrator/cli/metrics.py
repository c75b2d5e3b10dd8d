"""metrics: figures of the whole fleet for Prometheus."""

import signal
import threading

import click

from orchestrator.cli.common import open_database
from orchestrator.domain.errors import ExitCode, Unavailable
from orchestrator.settings import load_settings

_HERE = ("127.0.0.1", "::1", "localhost")


@click.command("metrics")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
def metrics_command(port: int, address: str) -> int:
    """Serve /metrics of the results database, until TERM or Ctrl-C. One for the whole fleet; it only reads.

    With BAKEOFF_METRICS_PASSWORD everybody has to log in as `bakeoff`; an address that others reach needs it.
    """
    from orchestrator.logs import log_to
    from orchestrator.metrics_server import USER, MetricsServer

    settings = load_settings()
    if address not in _HERE and settings.metrics_password is None:
        raise Unavailable(f"others reach {address}: set BAKEOFF_METRICS_PASSWORD, or listen on 127.0.0.1")
    log_to(None, as_json=settings.log_json)
    database = open_database(settings)
    try:
        server = MetricsServer(database, address, port, settings.metrics_password)
    except OSError as error:
        raise Unavailable(f"cannot listen on {address}:{port}: {error.strerror}; choose another --port") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.stop).start())
    login = f"  user {USER}" if settings.metrics_password else ""
    click.echo(f"metrics: http://{address}:{server.port}/metrics{login}", err=True)
    server.run()
    return ExitCode.OK
