"""The only reader of the environment: where state lives and how the queue is timed."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one process. Times in seconds.

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
    visibility_timeout_seconds: int
    machine: str

    @property
    def artifacts(self) -> Path:
        """Content-addressed files."""
        return self.home / "artifacts"

    @property
    def mirrors(self) -> Path:
        """Bare mirrors of target repositories."""
        return self.home / "mirrors"

    @property
    def runs(self) -> Path:
        """Working trees and logs of attempts."""
        return self.home / "runs"


def load_settings(environ: dict[str, str] | None = None) -> Settings:
    """Settings from BAKEOFF_* variables; every one has a default that fits one machine."""
    env = dict(os.environ) if environ is None else environ
    home = Path(env.get("BAKEOFF_HOME") or ".bakeoff").expanduser().resolve()

    def number(name: str, default: float) -> float:
        return float(env.get(name) or default)

    return Settings(
        home=home,
        database_url=env.get("BAKEOFF_DATABASE_URL") or f"sqlite:///{home / 'bakeoff.db'}",
        broker_url=env.get("BAKEOFF_BROKER_URL") or None,
        heartbeat_seconds=number("BAKEOFF_HEARTBEAT_SECONDS", 5.0),
        lease_ttl_seconds=number("BAKEOFF_LEASE_TTL_SECONDS", 120.0),
        lease_margin_seconds=number("BAKEOFF_LEASE_MARGIN_SECONDS", 10.0),
        tick_seconds=number("BAKEOFF_TICK_SECONDS", 0.1),
        rehint_seconds=number("BAKEOFF_REHINT_SECONDS", 10.0),
        visibility_timeout_seconds=int(number("BAKEOFF_VISIBILITY_TIMEOUT_SECONDS", 3600)),
        machine=env.get("BAKEOFF_MACHINE") or os.uname().nodename,
    )
