"""A job's models with the context sizes that their servers really have: every limit in percent is one of these."""

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.storage.pools import PoolView


class Reduced(NamedTuple):
    """A model whose server gives one request less context than the fleet file says (tokens)."""

    model: str
    stated: int
    live: int


def fit(spec: JobSpec, views: Sequence[PoolView], machine: str) -> tuple[JobSpec, tuple[Reduced, ...]]:
    """The job with each context window at most its server's, and what that changed."""
    by_resource = {f"pool:{view.server.name}": view for view in views}
    found: dict[str, Reduced] = {}
    models: dict[str, ModelSpec] = {}
    for role, model in spec.models.items():
        view = by_resource.get(model.resource)
        live = _live_context(model, view, machine) if view is not None else None
        if live is not None and live < model.context_window:
            found[model.alias] = Reduced(model.alias, model.context_window, live)
            model = model.model_copy(update={"context_window": live})
        models[role] = model
    return (spec.model_copy(update={"models": models}) if found else spec), tuple(found.values())


def _live_context(model: ModelSpec, view: PoolView, machine: str) -> int | None:
    """As this machine saw it last, else as the last machine that looked."""
    serving = [one for one in view.seen if one.report.serves]
    if not serving:
        return None
    newest = max(serving, key=lambda one: (one.machine == machine, one.seen_at))
    return newest.report.context_of(model.name, *model.served_names)
