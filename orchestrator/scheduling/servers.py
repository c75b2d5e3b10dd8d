"""Asks the machine, in a process of its own, what the model servers of a fleet file's pools say."""

import subprocess
import sys

from pydantic import TypeAdapter

from orchestrator.domain.errors import BakeoffError, Unavailable
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.model_server import ServerQuestion, ServerReport, context_warning
from orchestrator.settings import child_environment

# Each look takes 10 s at most, 16 go at a time.
_LOOK_SECONDS = 120.0


def look_at_servers(fleet: Fleet) -> dict[str, ServerReport]:
    """The report of every pool's server, by pool. Raises Unavailable when that takes too long."""
    questions = [ServerQuestion(base_url=pool.base_url, key=pool.key) for pool in fleet.pools.values()]
    if not questions:
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.models"],
            input=TypeAdapter(list[ServerQuestion]).dump_json(questions).decode(),
            capture_output=True,
            text=True,
            timeout=_LOOK_SECONDS,
            check=False,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"looking at the model servers took longer than {_LOOK_SECONDS:g} s") from None
    if done.returncode != 0:
        raise BakeoffError(f"looking at the model servers failed:\n{done.stderr[-4000:]}")
    reports = TypeAdapter(list[ServerReport]).validate_json(done.stdout)
    return dict(zip(fleet.pools, reports, strict=True))


def context_warnings(fleet: Fleet, reports: dict[str, ServerReport]) -> list[str]:
    """One line for each model of a pool whose server gives it less context than the file says."""
    found = []
    for alias, model in fleet.models.items():
        report = reports.get(model.pool or "")
        live = report.context_of(model.name, *model.served_names) if report is not None else None
        found.append(context_warning(alias, model.context_window, live))
    return [text for text in found if text]
