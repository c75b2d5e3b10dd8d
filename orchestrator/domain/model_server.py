"""What a local model server told about itself, and what follows for its pool: open slots, and why it is closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from orchestrator.domain.base import Model


class Health(StrEnum):
    """Whether a server serves. UNKNOWN: something answers there, but does not say."""

    HEALTHY = "healthy"
    LOADING = "loading"
    DOWN = "down"
    UNKNOWN = "unknown"


# A server that answers without saying how it is may well serve: only one that cannot stops its pool.
SERVING = frozenset({Health.HEALTHY, Health.UNKNOWN})


class ServerQuestion(Model):
    """Where a server is, and the name of its secret."""

    base_url: str
    key: str | None = None


class ServedModel(Model):
    """A model by the names under which the server knows it, and the tokens that one request may have."""

    names: tuple[str, ...] = Field(min_length=1)
    context_tokens: int | None = None


class ServerReport(Model):
    """One look at a model server. What it does not tell is None."""

    health: Health
    detail: str = ""
    kind: Literal["llama.cpp", "vllm", "ollama", "openai"] | None = None
    version: str | None = None
    slots: int | None = Field(None, description="Requests it serves at a time.")
    busy: int | None = Field(None, description="Requests it is serving.")
    waiting: int | None = Field(None, description="Requests it has accepted and not begun.")
    models: tuple[ServedModel, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether requests may be sent there."""
        return self.health in SERVING

    def context_of(self, *names: str) -> int | None:
        """The context size of the model with one of these names.

        A llama.cpp server with a single model answers with it whatever name is asked for.
        """
        for model in self.models:
            if set(names) & set(model.names):
                return model.context_tokens
        return self.models[0].context_tokens if self.kind == "llama.cpp" and len(self.models) == 1 else None

    def in_words(self) -> str:
        """One line for people."""
        program = " ".join(filter(None, (self.kind or "an unknown server", self.version)))
        if not self.serves:
            return f"{self.health}: {self.detail or program}"
        parts = [f"{self.health}, {program}"]
        if self.slots is not None:
            parts.append(f"{self.slots} slots" if self.busy is None else f"{self.busy} of {self.slots} slots busy")
        elif self.busy is not None:
            parts.append(f"{self.busy} requests running")
        if self.waiting:
            parts.append(f"{self.waiting} requests waiting")
        for model in self.models[:_MOST_MODELS]:
            window = "unknown context" if model.context_tokens is None else f"{model.context_tokens} tokens"
            parts.append(f"{model.names[0]} ({window})")
        if len(self.models) > _MOST_MODELS:
            parts.append(f"{len(self.models) - _MOST_MODELS} more models")
        return ", ".join(parts) + (f": {self.detail}" if self.detail else "")


def context_warning(alias: str, stated: int, live: int | None) -> str:
    """What to tell people when a server gives a request less context than the fleet file says; else empty."""
    if live is None or live >= stated:
        return ""
    return (
        f"model {alias} has context_window = {stated}, but its server gives a request {live} tokens, and limits are "
        "judged by these: start the server with more (llama.cpp's --ctx-size is shared out among its slots), or "
        "correct the fleet file"
    )


# More would fill a screen: an Ollama server may have dozens of models installed.
_MOST_MODELS = 4


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A machine's newest look at the server of a pool. `since` is when its health became what it is."""

    machine: str
    report: ServerReport
    since: datetime
    seen_at: datetime


def is_per_machine(base_url: str) -> bool:
    """Whether every machine reaches a server of its own under this URL: it names the machine itself."""
    host = base_url.split("/", 3)[2].rsplit("@", 1)[-1]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host in ("localhost", "::1") or host.startswith("127.")


def live_slots(most: int | None, seen: Sequence[Observation], *, per_machine: bool) -> int:
    """How many slots a pool has open now; 0 when no machine finds a server that serves.

    Args:
        most: the fleet file's `slots`; None takes what the servers tell.
        seen: the observations that are still fresh. Without any, `most` holds, or 1.
        per_machine: each machine sees another server, so their slots add up. Otherwise all see the same one, and
            the newest look counts.
    """
    serving = sorted((one for one in seen if one.report.serves), key=lambda one: one.seen_at)
    if not serving:
        return 0 if seen else most or 1
    told = [one.report.slots for one in (serving if per_machine else serving[-1:])]
    if None in told and most is not None:
        return most
    live = sum(1 if slots is None else slots for slots in told)
    return live if most is None else min(most, live)


def why_closed(pool: str, base_url: str, seen: Sequence[Observation]) -> str:
    """Why a pool has no open slot, in words; empty when a server serves or nobody has looked."""
    if not seen or any(one.report.serves for one in seen):
        return ""
    # The one that is nearest to serving.
    one = min(seen, key=lambda one: (one.report.health is not Health.LOADING, one.since))
    does = "is loading its model" if one.report.health is Health.LOADING else "does not answer"
    return f"pool {pool}: its server {base_url} {does} since {one.since:%Y-%m-%d %H:%M:%S} UTC"
