"""The only reader of the environment: where state lives and how the queue is timed."""

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.errors import Fault, InvalidInput, Unavailable


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one process. Times in seconds, sizes in MiB.

    `lease_ttl`: silence after which a reaper may expire an attempt. `lease_margin`: how much earlier the holder
    kills its own tree. A database outage longer than ttl - margin ends running attempts (safety over progress).
    """

    home: Path
    database_url: str
    broker_url: str | None
    heartbeat_seconds: float
    lease_ttl_seconds: float
    lease_margin_seconds: float
    tick_seconds: float
    rehint_seconds: float
    visibility_timeout_seconds: float
    machine: str
    flower_password: str | None
    web_password: str | None = None
    # What a machine must have left for a worker to take another job; a load of 0 is not looked at.
    min_free_disk_mib: float = 512.0
    min_free_memory_mib: float = 256.0
    max_load_per_core: float = 0.0
    # Trees of jobs that ended so long ago are removed by idle workers; 0: never.
    gc_after_hours: float = 0.0
    # Certificate authority of a broker behind TLS; None = those that the system trusts.
    broker_ca: Path | None = None
    # A broker without a password, which everybody in its network could write to, is accepted.
    allow_open_broker: bool = False
    # Where the model traffic of every attempt is recorded; None = nowhere.
    cassettes: Path | None = None
    # One JSON object per line of a log, instead of text.
    log_json: bool = False
    # Of the login to `bakeoff metrics`.
    metrics_password: str | None = None

    @property
    def artifacts(self) -> Path:
        """Content-addressed files."""
        return self.home / "artifacts"

    @property
    def mirrors(self) -> Path:
        """Bare mirrors of target repositories."""
        return self.home / "mirrors"

    @property
    def spool(self) -> Path:
        """Telemetry that is not yet in the database."""
        return self.home / "spool"

    @property
    def runs(self) -> Path:
        """Working trees and logs of attempts."""
        return self.home / "runs"


def load_settings(environ: dict[str, str] | None = None) -> Settings:
    """Settings from BAKEOFF_* variables; every one has a default that fits one machine.

    Raises InvalidInput that names every variable that is no time, and a lease that its holder could not keep.
    """
    env = dict(os.environ) if environ is None else environ
    home = Path(env.get("BAKEOFF_HOME") or ".bakeoff").expanduser().resolve()

    faults: list[Fault] = []

    def number(name: str, default: float, accepted: str = "seconds", *, zero: bool = False) -> float:
        text = env.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 < value < math.inf or (zero and value == 0)):
            what = "is no time" if accepted == "seconds" else "is no such number"
            faults.append(Fault(file="environment", field=name, message=what, found=text, accepted=accepted))
        return value

    settings = Settings(
        home=home,
        database_url=env.get("BAKEOFF_DATABASE_URL") or f"sqlite:///{home / 'bakeoff.db'}",
        broker_url=env.get("BAKEOFF_BROKER_URL") or None,
        heartbeat_seconds=number("BAKEOFF_HEARTBEAT_SECONDS", 5.0),
        lease_ttl_seconds=number("BAKEOFF_LEASE_TTL_SECONDS", 120.0),
        lease_margin_seconds=number("BAKEOFF_LEASE_MARGIN_SECONDS", 10.0),
        tick_seconds=number("BAKEOFF_TICK_SECONDS", 0.1),
        rehint_seconds=number("BAKEOFF_REHINT_SECONDS", 10.0),
        visibility_timeout_seconds=number("BAKEOFF_VISIBILITY_TIMEOUT_SECONDS", 3600),
        machine=env.get("BAKEOFF_MACHINE") or os.uname().nodename,
        flower_password=env.get("BAKEOFF_FLOWER_PASSWORD") or None,
        web_password=env.get("BAKEOFF_WEB_PASSWORD") or None,
        min_free_disk_mib=number("BAKEOFF_MIN_FREE_DISK_MIB", 512.0, "MiB, or 0", zero=True),
        min_free_memory_mib=number("BAKEOFF_MIN_FREE_MEMORY_MIB", 256.0, "MiB, or 0", zero=True),
        max_load_per_core=number("BAKEOFF_MAX_LOAD_PER_CORE", 0.0, "load per core, or 0", zero=True),
        gc_after_hours=number("BAKEOFF_GC_AFTER_HOURS", 0.0, "hours, or 0", zero=True),
        broker_ca=Path(env["BAKEOFF_BROKER_CA"]).expanduser() if env.get("BAKEOFF_BROKER_CA") else None,
        allow_open_broker=env.get("BAKEOFF_ALLOW_OPEN_BROKER") == "1",
        log_json=env.get("BAKEOFF_LOG_JSON") == "1",
        metrics_password=env.get("BAKEOFF_METRICS_PASSWORD") or None,
        cassettes=Path(env["BAKEOFF_CASSETTES"]).expanduser().resolve() if env.get("BAKEOFF_CASSETTES") else None,
    )
    if settings.heartbeat_seconds >= settings.lease_ttl_seconds - settings.lease_margin_seconds:
        faults.append(
            Fault(
                file="environment",
                field="BAKEOFF_HEARTBEAT_SECONDS",
                message="every lease would run out before it is renewed",
                found=f"{settings.heartbeat_seconds:g}",
                accepted="less than BAKEOFF_LEASE_TTL_SECONDS - BAKEOFF_LEASE_MARGIN_SECONDS",
            )
        )
    if faults:
        raise InvalidInput(faults)
    return settings


# What an agent may see of this machine. Never more: the environment holds database URLs and other people's keys.
_HOST_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


def host_environment(home: Path) -> dict[str, str]:
    """The allow-listed part of the environment, with the agents that the project installed first on PATH."""
    env = {name: os.environ[name] for name in _HOST_VARIABLES if name in os.environ}
    here = Path(__file__).resolve().parent.parent
    folders = (home / "agents", here / "ops" / "agents")
    own = [folder / part for folder in folders for part in ("node_modules/.bin", "bin")]
    paths = [str(path) for path in own if path.is_dir()]
    paths.append(str(Path(sys.executable).parent))
    env["PATH"] = os.pathsep.join([*paths, env.get("PATH", "/usr/local/bin:/usr/bin:/bin")])
    return env


def child_environment(**changes: str) -> dict[str, str]:
    """The whole environment for a child process of ours (never for an agent), and for our git, with changes."""
    return {**os.environ, **changes}


def read_secret(reference: str) -> str:
    """The secret behind `env:NAME` or `file:PATH`. Raises Unavailable that names the reference, not the value."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name)
        if not value:
            raise Unavailable(f"the secret {reference} is not set: export {name} for the process that uses it")
        return value
    try:
        return Path(name).expanduser().read_text().strip()
    except OSError as error:
        raise Unavailable(f"the secret {reference} cannot be read: {error.strerror}") from None


def flower_login() -> str:
    """`user:password` that `bakeoff flower` handed to its server."""
    return os.environ["BAKEOFF_FLOWER_LOGIN"]
