"""llama.cpp's `llama-server`, with one model or as a router of several.

Fields: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from workers.gateway.jsonvalues import JsonObject, child, count, items, text
from workers.models.answers import MISSING, Answer, Answers, gauge, names, objects, size

PATHS: tuple[str, ...] = ("/health", "/props", "/slots", "/v1/models", "/metrics")


def recognises(answers: Answers) -> bool:
    """Whether a llama.cpp server gave these answers; while it loads only its name and a typed error tell."""
    props = answers.get("/props", MISSING).fields()
    if "default_generation_settings" in props or "total_slots" in props:
        return True
    if any(text(model, "owned_by") == "llamacpp" for model in _listed(answers)):
        return True
    health = answers.get("/health", MISSING)
    return _loading(health) or (health.status is not None and health.server == "llama.cpp")


def read(answers: Answers) -> ServerReport:
    """What they tell."""
    props = answers.get("/props", MISSING).fields()
    health, detail = _health(answers.get("/health", MISSING))
    version = text(props, "build_info")
    if text(props, "role") == "router":
        # Each of its models has slots of its own, and is loaded when it is asked for.
        models = tuple(_model(one, size(child(one, "meta"), "n_ctx")) for one in _listed(answers))
        return ServerReport(health=health, detail=detail, kind="llama.cpp", version=version, models=models)
    slots = _slots(answers.get("/slots", MISSING))
    metrics = answers.get("/metrics", MISSING)
    # A slot's own size, since the server's whole context is shared out among its slots.
    context = size(slots[0], "n_ctx") if slots else None
    context = context or size(child(props, "default_generation_settings"), "n_ctx")
    processing = gauge(metrics, "llamacpp:requests_processing")
    return ServerReport(
        health=health,
        detail=detail,
        kind="llama.cpp",
        version=version,
        slots=len(slots) or size(props, "total_slots"),
        busy=sum(slot.get("is_processing") is True for slot in slots) if slots else processing,
        waiting=gauge(metrics, "llamacpp:requests_deferred"),
        models=tuple(_model(one, context) for one in _listed(answers)),
    )


def _listed(answers: Answers) -> list[JsonObject]:
    models = objects(answers.get("/v1/models", MISSING).fields(), "data")
    return [one for one in models if text(one, "id")]


def _loading(health: Answer) -> bool:
    body = health.json()
    error = child(body, "error") if isinstance(body, dict) else {}
    return health.status == 503 and text(error, "type") == "unavailable_error" and count(error, "code") == 503


def _health(health: Answer) -> tuple[Health, str]:
    if health.ok:
        return Health.HEALTHY, ""
    if _loading(health):
        return Health.LOADING, "it is loading its model"
    if health.status is None:
        return Health.UNKNOWN, f"/health: {health.fault}"
    return Health.UNKNOWN, f"/health answers HTTP {health.status}"


def _slots(answer: Answer) -> list[JsonObject]:
    value = answer.json() if answer.ok else None
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _model(one: JsonObject, context: int | None) -> ServedModel:
    aliases = [alias for alias in items(one, "aliases") if isinstance(alias, str) and alias]
    known = tuple(dict.fromkeys((*names(one, "id"), *aliases)))
    return ServedModel(names=known, context_tokens=context)
