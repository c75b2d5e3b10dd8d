"""Asks the machine, in a process of its own, what the model servers of a fleet file's pools say."""

from pydantic import TypeAdapter

from orchestrator.domain.fleet import Fleet
from orchestrator.domain.model_server import ServerQuestion, ServerReport, context_warning
from orchestrator.scheduling.asking import ask_worker

# Each look takes 10 s at most, 16 go at a time.
_LOOK_SECONDS = 120.0


def look_at_servers(fleet: Fleet) -> dict[str, ServerReport]:
    """The report of every pool's server, by pool. Raises Unavailable when that takes too long."""
    questions = [ServerQuestion(base_url=pool.base_url, key=pool.key) for pool in fleet.pools.values()]
    if not questions:
        return {}
    answer = ask_worker(
        "workers.models",
        TypeAdapter(list[ServerQuestion]).dump_json(questions).decode(),
        what="looking at the model servers",
        timeout_seconds=_LOOK_SECONDS,
    )
    reports = TypeAdapter(list[ServerReport]).validate_json(answer)
    return dict(zip(fleet.pools, reports, strict=True))


def context_warnings(fleet: Fleet, reports: dict[str, ServerReport]) -> list[str]:
    """One line for each model of a pool whose server gives it less context than the file says."""
    found = []
    for alias, model in fleet.models.items():
        report = reports.get(model.pool or "")
        live = report.context_of(model.name, *model.served_names) if report is not None else None
        found.append(context_warning(alias, model.context_window, live))
    return [text for text in found if text]
