"""The stages of a harness as rows of their own, and what is left of the harness's figures beside them."""

from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.events import InnerStageEnded
from orchestrator.domain.harness import INNER_STAGES, inner_ordinal, stage_outcome
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.usage import TokenUsage, add_known, cost_usd_micros
from workers.spool import Recorder

_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")


class InnerRows:
    """Writes one row for each stage that a harness tells of, as it tells."""

    def __init__(self, recorder: Recorder, spec: JobSpec, ordinal: int) -> None:
        self._recorder, self._spec, self._ordinal = recorder, spec, ordinal
        self._count = 0
        self._usage = TokenUsage()
        self._listed: int | None = 0
        self._stated: int | None = 0

    def write(self, told: InnerStageEnded, now: datetime) -> None:
        """The row of a stage that ended about `now`."""
        if told.number >= INNER_STAGES:
            return
        role, model = self._model(told)
        outcome = stage_outcome(told)
        prices = model.prices.to_prices() if model.prices else None
        listed = cost_usd_micros(told.usage, prices)
        self._count += 1
        self._usage += told.usage
        self._listed = None if listed is None or self._listed is None else self._listed + listed
        self._stated = add_known(self._stated, told.cost_usd_micros)
        self._recorder.stage(
            inner_ordinal(self._ordinal, told.number),
            {
                "stage": told.stage,
                "role": role,
                "task": told.task,
                "agent": self._spec.agent,
                "session_id": told.session_id,
                "resumed": False,
                "model_asked": model.name,
                "model_served": told.model,
                "resource": model.resource,
                "started_at": now - timedelta(seconds=told.seconds or 0.0),
                "ended_at": now,
                "working_seconds": told.seconds,
                "input_tokens": told.usage.input,
                "output_tokens": told.usage.output,
                "cache_read_tokens": told.usage.cache_read,
                "cache_write_tokens": told.usage.cache_write,
                "reasoning_tokens": told.usage.reasoning,
                "stream_total_tokens": told.usage.total,
                "cost_usd_micros": listed,
                "stated_cost_usd_micros": told.cost_usd_micros,
                "context_peak_tokens": told.context_tokens,
                "context_window": model.context_window,
                "outcome": outcome,
                "detail": " ".join(word for word in (told.word, told.kill_reason) if word) or None,
                "kill_reason": f"{outcome}: {told.kill_reason}" if told.kill_reason else None,
            },
        )

    def rest(self, figures: dict[str, Any]) -> dict[str, Any]:
        """The harness's own figures without what stands in the rows, so that a sum over rows counts nothing twice."""
        if not self._count:
            return figures
        rest = dict(figures)
        for kind in _KINDS:
            rest[f"{kind}_tokens"] = _less(figures[f"{kind}_tokens"], getattr(self._usage, kind))
        rest["cost_usd_micros"] = _less(figures["cost_usd_micros"], self._listed)
        rest["stated_cost_usd_micros"] = _less(figures["stated_cost_usd_micros"], self._stated)
        if not figures["requests"]:
            rest["requests"] = None  # it need not go through the gateway
        return rest

    def _model(self, told: InnerStageEnded) -> tuple[str, ModelSpec]:
        """The role and model of a stage: by the model's name where it is one of the job's, else by the stage's."""
        role = "build" if told.stage == "build" else "reasoning"
        for other in (role, *self._spec.models):
            model = self._spec.models[other]
            if told.model and told.model.endswith((model.name, *model.served_names)):
                return role, model
        return role, self._spec.models[role]


def _less(whole: int | None, part: int | None) -> int | None:
    return whole if whole is None or part is None else max(0, whole - part)
