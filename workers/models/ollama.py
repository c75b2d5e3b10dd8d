"""Ollama.

It tells the context size of what is loaded, but neither its load nor how many requests it takes at a time
(`OLLAMA_NUM_PARALLEL`). Fields: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from workers.gateway.jsonvalues import text
from workers.models.answers import MISSING, Answers, names, objects, size

PATHS: tuple[str, ...] = ("/api/version", "/api/tags", "/api/ps")


def recognises(answers: Answers) -> bool:
    """Whether an Ollama server gave these answers."""
    version = text(answers.get("/api/version", MISSING).fields(), "version")
    return version is not None and isinstance(answers.get("/api/tags", MISSING).fields().get("models"), list)


def read(answers: Answers) -> ServerReport:
    """What they tell."""
    loaded = {
        name: size(one, "context_length")
        for one in objects(answers.get("/api/ps", MISSING).fields(), "models")
        for name in names(one, "name", "model")
    }
    models = []
    for one in objects(answers.get("/api/tags", MISSING).fields(), "models"):
        known = names(one, "name", "model")
        if known:
            # `name` stands for `name:latest`.
            short = (name.removesuffix(":latest") for name in known)
            context = loaded.get(known[0])
            models.append(ServedModel(names=tuple(dict.fromkeys((*known, *short))), context_tokens=context))
    return ServerReport(
        health=Health.HEALTHY,
        kind="ollama",
        version=text(answers.get("/api/version", MISSING).fields(), "version"),
        models=tuple(models),
    )
