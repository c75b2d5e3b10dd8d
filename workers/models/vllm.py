"""vLLM's OpenAI-compatible server.

It tells its load and each model's longest request, but not how many requests it takes at a time (`max_num_seqs`).
Fields: https://docs.vllm.ai/en/latest/usage/metrics.html, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from workers.gateway.jsonvalues import text
from workers.models.answers import MISSING, Answers, gauge, names, objects, size

PATHS: tuple[str, ...] = ("/health", "/version", "/v1/models", "/metrics")


def recognises(answers: Answers) -> bool:
    """Whether a vLLM server gave these answers."""
    listed = objects(answers.get("/v1/models", MISSING).fields(), "data")
    metrics = answers.get("/metrics", MISSING)
    return any(text(model, "owned_by") == "vllm" for model in listed) or (metrics.ok and "\nvllm:" in metrics.body)


def read(answers: Answers) -> ServerReport:
    """What they tell."""
    health, metrics = answers.get("/health", MISSING), answers.get("/metrics", MISSING)
    state, detail = Health.UNKNOWN, health.fault or f"/health answers HTTP {health.status}"
    if health.ok:
        state, detail = Health.HEALTHY, ""
    elif health.status is not None and health.status >= 500:
        state = Health.DOWN  # the server lives, its engine does not
    return ServerReport(
        health=state,
        detail=detail,
        kind="vllm",
        version=text(answers.get("/version", MISSING).fields(), "version"),
        busy=gauge(metrics, "vllm:num_requests_running"),
        waiting=gauge(metrics, "vllm:num_requests_waiting"),
        models=tuple(
            ServedModel(names=names(one, "id", "root"), context_tokens=size(one, "max_model_len"))
            for one in objects(answers.get("/v1/models", MISSING).fields(), "data")
            if text(one, "id")
        ),
    )
