"""Any other server with OpenAI's list of models: it tells its models, some also their context size."""

from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from workers.gateway.jsonvalues import JsonObject, text
from workers.models.answers import MISSING, Answers, names, objects, size

PATHS: tuple[str, ...] = ("/v1/models",)

# SGLang, LM Studio, OpenRouter, Groq. OpenAI's own list has no such field.
_CONTEXT_FIELDS = ("max_model_len", "max_context_length", "context_length", "context_window")


def recognises(answers: Answers) -> bool:
    """Whether there is such a list, or a lock before it."""
    answer = answers.get("/v1/models", MISSING)
    return answer.status in (401, 403) or isinstance(answer.fields().get("data"), list)


def read(answers: Answers) -> ServerReport:
    """What it tells."""
    answer = answers.get("/v1/models", MISSING)
    if not answer.ok:
        detail = f"/v1/models answers HTTP {answer.status}: the pool's key is missing or wrong"
        return ServerReport(health=Health.UNKNOWN, detail=detail)
    models = tuple(
        ServedModel(names=names(one, "id"), context_tokens=_context(one))
        for one in objects(answer.fields(), "data")
        if text(one, "id")
    )
    return ServerReport(health=Health.HEALTHY, kind="openai", models=models)


def _context(one: JsonObject) -> int | None:
    return next((found for field in _CONTEXT_FIELDS if (found := size(one, field)) is not None), None)
